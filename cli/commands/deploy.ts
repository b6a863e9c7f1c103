// deploy: an image from the local Docker or a `docker save` archive into the cluster, and the deployment watched to its end.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { type Readable, Transform } from "node:stream";
import { createRelease, getApp, listReleases, type ProcessType } from "#api/apps.ts";
import { type Artifact, createArtifact } from "#api/artifacts.ts";
import type { Client } from "#api/client.ts";
import { createDeployment } from "#api/deployments.ts";
import { Fault, isFault } from "#api/fault.ts";
import { DEFAULT_HEALTH } from "#api/jobs.ts";
import { appName } from "../app.ts";
import type { Command, Invocation } from "../command.ts";
import { withCluster } from "../connect.ts";
import { followDeployment } from "../deployment.ts";
import { envChanges } from "../env-changes.ts";
import { saveImage } from "../local-docker.ts";
import { answer } from "../output/answer.ts";
import { progress } from "../output/progress.ts";

/** Silence of the server after the last byte: it copies the image into its registry then. */
const STORE_MS = 30 * 60_000;

interface Source {
  archive: Readable;
  name: string;
  sizeBytes: number;
}

export const deployCommands: readonly Command[] = [
  {
    words: "deploy",
    summary: "Deploy an image: upload it, make a release, replace the running jobs one by one",
    more: [
      "  flynn deploy --image hello:latest             an image of the local Docker",
      "  flynn deploy --archive hello.tar              a `docker save` archive (- is stdin)",
      "  flynn deploy --image hello --port 3000 -- node server.js --verbose",
      "",
      "The deployment runs on the cluster: Ctrl-C here ends the watching, not the deployment.",
    ].join("\n"),
    flags: [
      { name: "image", value: "NAME", help: "Image of the local Docker (DOCKER_HOST=unix://... is honoured)" },
      { name: "archive", value: "FILE", help: "Archive made by `docker save`" },
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
      { name: "detach", help: "Do not wait for the deployment" },
    ],
    tail: "CMD...",
    run: deploy,
  },
];

async function deploy(call: Invocation): Promise<void> {
  const { cli } = call;
  const image = call.text("image");
  const archive = call.text("archive");
  if ((image === undefined) === (archive === undefined))
    throw new Fault(
      "invalid",
      "say what to deploy: --image NAME (of the local Docker) or --archive FILE (made by `docker save`)",
    );
  const port = portOf(call.text("port"));
  const env = envChanges(call.texts("env"));
  const wish = { port, healthPath: call.text("health-path"), command: call.tail };
  await withCluster(call, async (client) => {
    const name = await appName(call);
    const app = await client.call(getApp, { params: { app: name }, signal: cli.signal }).catch((error: unknown) => {
      throw isFault(error, "not-found")
        ? new Fault("not-found", `no app ${name}; create it first: flynn create ${name}`)
        : error;
    });
    const processes = await webProcess(client, app.id, wish, cli.signal);
    const source =
      image === undefined
        ? await archiveSource(archive!)
        : { name: image, ...(await saveImage(image, cli.env, cli.signal)) };
    const artifact = await upload(client, app.id, source, call);
    cli.say(`uploaded ${artifact.digest.slice(0, 19)} (${artifact.architecture})`);
    const release = await client.call(createRelease, {
      params: { app: app.id },
      body: {
        artifactId: artifact.id,
        ...(processes ? { processes } : {}),
        ...(call.texts("env").length > 0 ? { env } : {}),
      },
      signal: cli.signal,
    });
    const created = await client.call(createDeployment, {
      params: { app: app.id },
      body: { release: release.id },
      signal: cli.signal,
    });
    if (call.on("detach"))
      return answer(cli, created, () =>
        cli.print(`Deploying v${release.version} of ${app.name} (deployment ${created.id})`),
      );
    const done = await followDeployment({ client, cli, app: app.name, id: created.id });
    answer(cli, done, () => cli.print(`Deployed v${release.version} of ${app.name}`));
  });
}

async function archiveSource(file: string): Promise<Source> {
  if (file === "-") return { archive: process.stdin, name: "stdin", sizeBytes: 0 };
  const found = await stat(file).catch((cause: unknown) => {
    throw new Fault("invalid", `read archive ${file}`, { cause });
  });
  if (!found.isFile()) throw new Fault("invalid", `archive ${file} is not a file`);
  return { archive: createReadStream(file), name: file.replaceAll(/[^\x20-\x7e]/g, "?"), sizeBytes: found.size };
}

async function upload(
  client: Client,
  app: string,
  { archive, name, sizeBytes }: Source,
  { cli }: Invocation,
): Promise<Artifact> {
  const shown = progress(cli);
  let doneBytes = 0;
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      doneBytes += chunk.length;
      shown.bytes(`uploading ${name}`, doneBytes, Math.max(sizeBytes, doneBytes) === doneBytes ? undefined : sizeBytes);
      done(null, chunk);
    },
    flush(done) {
      shown.step("the cluster puts it into its registry");
      done();
    },
  });
  archive.on("error", (error) => counted.destroy(error));
  try {
    return await client.call(createArtifact, {
      query: { app, source: name.slice(-200) },
      upload: archive.pipe(counted),
      timeoutMs: STORE_MS,
      signal: cli.signal,
    });
  } finally {
    shown.end();
    archive.destroy();
  }
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
  const { items } = await client.call(listReleases, { params: { app }, query: { limit: 1000 }, signal });
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
