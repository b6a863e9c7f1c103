// deploy: a source, an image from the local Docker or an archive of either into the cluster, watched until it is live.
import { resolve } from "node:path";
import { type App, createRelease, getApp, listReleases, type ProcessType } from "#api/apps.ts";
import type { Client } from "#api/client.ts";
import { getDeployment } from "#api/deployments.ts";
import { Fault, isFault } from "#api/fault.ts";
import { DEFAULT_HEALTH } from "#api/jobs.ts";
import { appName } from "../apps/app.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { archiveKind } from "../deploy/archive-kind.ts";
import { checkEnd, followBuild, sendSource } from "../deploy/build.ts";
import { deployedWords, followDeployment } from "../deploy/deployment.ts";
import { archiveFile, checkFile, type ImageSource, localImage, uploadImage } from "../deploy/image-upload.ts";
import { sourceArchive } from "../deploy/source-tree.ts";
import { STAGING, stagingOf } from "../deploy/staging.ts";
import { envChanges } from "../env/changes.ts";
import { answer } from "../output/answer.ts";
import type { Command, Invocation } from "../parse/command.ts";

export const deployCommands: readonly Command[] = [
  {
    words: "deploy",
    summary: "Deploy this directory, an archive or an image; what is source is built first",
    more: [
      "  flynn deploy                                  the working tree here, built as a push would be; `flynn deploy DIR`: there",
      "  flynn deploy --archive src.tar.gz             a source archive, built the same way",
      "  flynn deploy --image hello:latest             an image of the local Docker",
      "  flynn deploy --archive hello.tar              a `docker save` archive (- is stdin; with --source a source)",
      "  flynn deploy --image hello --port 3000 -- node server.js --verbose",
      "  flynn deploy . --canary 5%                    one new job beside the old ones, with 5 % of the requests",
      "",
      "Build and deployment run on the cluster: Ctrl-C here ends the watching, not them.",
    ].join("\n"),
    args: [{ name: "DIR", offers: "files" }],
    flags: [
      { name: "image", value: "NAME", help: "Image of the local Docker (DOCKER_HOST=unix://... is honoured)" },
      { name: "archive", value: "FILE", help: "Archive: of a source (tar, tar.gz), or made by `docker save`" },
      { name: "source", help: "The archive is a source, whatever it looks like" },
      {
        name: "port",
        value: "N",
        help: "Port that web listens on, given to it as $PORT; kept when left out, at first 8080",
      },
      { name: "env", short: "e", value: "K=V", help: "Variable to set with this release", repeat: true },
      {
        name: "health-path",
        value: "PATH",
        help: "web is healthy when GET PATH answers 200-399; else when its port opens",
      },
      ...STAGING,
      { name: "detach", help: "Do not wait for the deployment" },
    ],
    tail: "CMD...",
    run: deploy,
  },
];

async function deploy(call: Invocation): Promise<void> {
  const image = call.text("image");
  const archive = call.text("archive");
  const given = [image, archive, call.args[0]].filter((each) => each !== undefined);
  if (given.length > 1)
    throw new Fault(
      "invalid",
      `deploy one thing, not ${given.join(" and ")}: a directory (flynn deploy .), --archive FILE (a source, or made by \`docker save\`) or --image NAME (of the local Docker)`,
    );
  const directory = given.length === 0 ? "." : call.args[0];
  if (given.length === 0) call.cli.say(`deploying the working tree in ${call.cli.cwd}`);
  if (call.on("source") && archive === undefined) throw new Fault("invalid", "--source says what an --archive is");
  const wish: ImageWish = {
    port: portOf(call.text("port")),
    env: envChanges(call.texts("env")),
    healthPath: call.text("health-path"),
    command: call.tail,
  };
  await withCluster(call, async (client) => {
    const app = await existingApp(client, call);
    if (image !== undefined) return deployImage(call, client, app, wish, () => localImage(image, call.cli));
    if (directory === undefined && !(await isSource(call, archive!)))
      return deployImage(call, client, app, wish, () => archiveFile(archive!));
    checkSourceFlags(call);
    return deploySource(call, client, app, directory);
  });
}

/** From stdin nothing can be looked at before it is sent: an image, as ever, unless said otherwise. */
async function isSource(call: Invocation, archive: string): Promise<boolean> {
  if (call.on("source") || archive === "-") return call.on("source");
  await checkFile(archive);
  return (await archiveKind(archive)) === "source";
}

/** Builds are made of the source alone: what an image is given by flags is said by Procfile, app.json and `flynn env`. */
function checkSourceFlags(call: Invocation): void {
  const flag = ["port", "env", "health-path"].find((name) => call.text(name) !== undefined);
  if (flag === undefined && call.tail.length === 0) return;
  throw new Fault(
    "invalid",
    `${flag === undefined ? "a command" : `--${flag}`} is for images; for a source, write it into the Procfile or app.json, or use \`flynn env set\``,
  );
}

async function deploySource(call: Invocation, client: Client, app: App, directory: string | undefined): Promise<void> {
  const { cli } = call;
  const { archive, commit, sizeBytes } =
    directory === undefined
      ? { ...(await archiveFile(call.text("archive")!)), commit: undefined }
      : {
          sizeBytes: undefined,
          ...(await sourceArchive({ directory: resolve(cli.cwd, directory), env: cli.env, signal: cli.signal })),
        };
  const staging = stagingOf(call);
  const sent = await sendSource({ client, cli, app: app.name, source: archive, sizeBytes, commit, staging });
  if (call.on("detach"))
    return answer(cli, sent, () => cli.print(`Build ${sent.number} of ${app.name} is queued (${sent.id})`));
  const build = await followBuild({ client, cli, app: app.name, id: sent.id, line: cli.say });
  if (cli.json) cli.print(JSON.stringify(build, null, 2));
  checkEnd(build);
  if (!cli.json && staging.pauseAfter === undefined) cli.print(`Deployed v${build.version} of ${app.name}`);
}

async function existingApp(client: Client, call: Invocation): Promise<App> {
  const name = await appName(call);
  return client.call(getApp, { params: { app: name }, signal: call.cli.signal }).catch((error: unknown) => {
    throw isFault(error, "not-found")
      ? new Fault("not-found", `no app ${name}; create it first: flynn create ${name}`)
      : error;
  });
}

interface ImageWish extends WebWish {
  env: Record<string, string>;
}

async function deployImage(
  call: Invocation,
  client: Client,
  app: App,
  { env, ...web }: ImageWish,
  open: () => Promise<ImageSource>,
): Promise<void> {
  const { cli } = call;
  const processes = await webProcess(client, app.id, web, cli.signal);
  const artifact = await uploadImage(client, app.id, await open(), call.cli);
  cli.say(`uploaded ${artifact.digest.slice(0, 19)} (${artifact.architecture})`);
  const { version, deploymentId: id } = await client.call(createRelease, {
    params: { app: app.id },
    body: {
      artifactId: artifact.id,
      deploy: true,
      ...stagingOf(call),
      ...(processes ? { processes } : {}),
      ...(Object.keys(env).length > 0 ? { env } : {}),
    },
    signal: cli.signal,
  });
  if (id === undefined) throw new Fault("internal", `v${version} of ${app.name} was made, and not deployed`);
  if (call.on("detach")) {
    const created = await client.call(getDeployment, { params: { app: app.id, id }, signal: cli.signal });
    return answer(cli, created, () => cli.print(`Deploying v${version} of ${app.name} (deployment ${id})`));
  }
  const done = await followDeployment({ client, cli, app: app.name, id });
  answer(cli, done, () => cli.print(deployedWords(done, app.name)));
}

interface WebWish {
  port: number | undefined;
  healthPath: string | undefined;
  command: readonly string[];
}

/** All processes with web changed as wished, or undefined when nothing is: the server then keeps what there is. */
async function webProcess(
  client: Client,
  app: string,
  wish: WebWish,
  signal: AbortSignal,
): Promise<Record<string, ProcessType> | undefined> {
  const { port, healthPath, command } = wish;
  if (port === undefined && healthPath === undefined && command.length === 0) return undefined;
  const items = await listAll(client, listReleases, { params: { app }, signal });
  const before = (items.find(({ current }) => current) ?? items[0])?.processes ?? {};
  const web = before["web"] ?? { port: 8080 };
  return {
    ...before,
    web: {
      ...web,
      ...(port === undefined ? {} : { port }),
      ...(command.length === 0 ? {} : { command: [...command] }),
      ...(healthPath === undefined
        ? {}
        : { health: { ...DEFAULT_HEALTH, ...web.health, type: "http" as const, path: healthPath } }),
    },
  };
}

function portOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) throw new Fault("invalid", `--port ${text}: a port is a number from 1 to 65535`);
  return port;
}
