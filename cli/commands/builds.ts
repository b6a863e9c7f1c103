// build list|show|log|cancel|set|unset|settings|builder upload|cache clear.
import { getApp } from "#api/apps.ts";
import { type Build, buildLog, cancelBuild, clearBuildCache, getBuild, listBuilds } from "#api/builds.ts";
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { appName } from "../apps/app.ts";
import { changeApp } from "../apps/change-app.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { checkEnd, followBuild } from "../deploy/build.ts";
import { changedSettings, SETTINGS, settingWords } from "../deploy/build-settings.ts";
import { imageOrFile, uploadImage } from "../deploy/image-upload.ts";
import { age, answer, answerList } from "../output/answer.ts";
import { printFacts } from "../output/table.ts";
import { plain } from "../output/text.ts";
import type { Command, Invocation } from "../parse/command.ts";

const WHICH = { name: "BUILD" };

export const buildCommands: readonly Command[] = [
  {
    words: "build list",
    summary: "List an app's builds, newest first",
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const builds = await listAll(client, listBuilds, { params: { app: await appName(call) }, signal: cli.signal });
        answerList(cli, builds, {
          titles: ["BUILD", "ID", "STATE", "KIND", "COMMIT", "RELEASE", "AGE", "TOOK", "BY", "REASON"],
          row: (build) => [
            String(build.number),
            build.id,
            build.state,
            build.kind,
            build.source.commit?.slice(0, 12),
            build.version === undefined ? "" : `v${build.version}`,
            age(build.createdAt),
            took(build),
            build.createdBy,
            build.reason,
          ],
          none: "no builds yet; push the app (git push flynn main) or send this directory: flynn deploy .",
        });
      }),
  },
  {
    words: "build show",
    summary: "Show a build: the newest one, or the one named by number or id",
    args: [WHICH],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const build = await chosen(client, call);
        answer(cli, build, () =>
          printFacts(cli, [
            ["Build", `${build.number} (${build.id})`],
            ["State", build.state],
            ["Reason", build.reason],
            ["Kind", build.kind],
            ["Detected", build.detected],
            ["Commit", build.source.commit],
            ["Source", `${build.source.type}, sha256 ${build.source.sha256.slice(0, 12)}`],
            ["Release", build.version === undefined ? undefined : `v${build.version}`],
            ["Deployment", build.deploymentId],
            ["Job", build.jobId],
            ["Created", `${build.createdAt} (${age(build.createdAt)} ago) by ${build.createdBy}`],
            ["Took", took(build)],
          ]),
        );
      }),
  },
  {
    words: "build log",
    summary: "Print a build's log, the text of its push; -f follows it",
    args: [WHICH],
    flags: [{ name: "follow", short: "f", help: "Wait for the build's end; exits non-zero when it failed" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const { app, id } = await place(client, call);
        if (call.on("follow")) {
          const lines: string[] = [];
          const line = (text: string) => (cli.json ? void lines.push(`${text}\n`) : cli.print(text));
          const build = await followBuild({ client, cli, app, id, line });
          if (cli.json) cli.print(JSON.stringify({ text: lines.join("") }, null, 2));
          return checkEnd(build);
        }
        const log = await client.call(buildLog, { params: { app, id }, signal: cli.signal });
        answer(cli, log, () => {
          for (const line of log.text.replace(/\n$/, "").split("\n")) cli.print(plain(line, { lines: true }));
        });
      }),
  },
  {
    words: "build cancel",
    summary: "Cancel a build that is not deploying yet",
    args: [WHICH],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const { app, id } = await place(client, call);
        const build = await client.call(cancelBuild, { params: { app, id }, body: {}, signal: cli.signal });
        answer(cli, build, () => cli.print(`Cancelling build ${build.number} of ${build.app}`));
      }),
  },
  {
    words: "build settings",
    summary: "Show how an app is built, as far as it is set",
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const app = await client.call(getApp, { params: { app: await appName(call) }, signal: cli.signal });
        const settings = app.build ?? {};
        answer(cli, settings, () => {
          const words = settingWords(settings);
          if (words.length === 0)
            cli.say(`nothing is set for ${app.name}: it is found out from the source; see \`flynn help build set\``);
          for (const word of words) cli.print(plain(word, { lines: true }));
        });
      }),
  },
  {
    words: "build set",
    summary: "Say how an app is built, from its next build on",
    more: [
      "  flynn build set kind=dockerfile dockerfile=deploy/Dockerfile target=web",
      "  flynn build set memory=2GiB timeout=20m arg.NODE_ENV=production",
      "",
      ...Object.entries(SETTINGS).map(([name, { help }]) => `  ${name.padEnd(10)}  ${help}`),
      "  arg.NAME    argument of the Dockerfile; it stays in the image's history: no place for a secret",
    ].join("\n"),
    args: [{ name: "NAME=VALUE", required: true, rest: true }],
    run: (call) => change(call, false),
  },
  {
    words: "build unset",
    summary: "Take build settings away, back to what the source says",
    args: [{ name: "NAME", required: true, rest: true }],
    run: (call) => change(call, true),
  },
  {
    words: "build builder upload",
    summary: "Give an app a Cloud Native Buildpacks builder, and set it",
    more: [
      "  flynn build builder upload paketobuildpacks/builder-jammy-base --run paketobuildpacks/run-jammy-base",
      "  flynn build builder upload builder.tar --name paketobuildpacks/builder-jammy-base --run run.tar",
      "",
      "An image of the local Docker, or a file made by `docker save`. The app's next build runs the builder's buildpacks",
      "and lays the result on the run image: the one given here, else the one given before, else the cluster's stack.",
      "Builders are made for a run image of their own; give that one, unless the stack is meant. Where project.toml names",
      "a builder, it is built by the one uploaded by that name. Back to the source's own way: flynn build unset builder",
      "run-image",
    ].join("\n"),
    args: [{ name: "IMAGE|FILE", required: true, offers: "files" }],
    flags: [
      { name: "run", value: "IMAGE|FILE", help: "Run image that the app is laid on" },
      { name: "name", value: "NAME", help: "What project.toml calls the builder; the image's own name when left out" },
    ],
    run: uploadBuilder,
  },
  {
    words: "build cache clear",
    summary: "Forget an app's build cache: the next build starts from nothing",
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const app = await appName(call);
        await client.call(clearBuildCache, { params: { app }, signal: cli.signal });
        answer(cli, { app }, () =>
          cli.print(`The build cache of ${app} is cleared; its next build starts from nothing.`),
        );
      }),
  },
];

function uploadBuilder(call: Invocation): Promise<void> {
  const { cli } = call;
  const [builder = ""] = call.args;
  const run = call.text("run");
  if (builder === "-" && run === "-") throw new Fault("invalid", "only one of the two images can come from stdin");
  return withCluster(call, async (client) => {
    const app = await client.call(getApp, { params: { app: await appName(call) }, signal: cli.signal });
    const send = async (image: string, named?: string) => {
      const source = await imageOrFile(image, cli);
      return (await uploadImage(client, app.id, { ...source, name: named ?? source.name }, cli)).id;
    };
    const named = call.text("name");
    const sent = { builder: await send(builder, named), ...(run === undefined ? {} : { runImage: await send(run) }) };
    const { build = {} } = await changeApp(client, { app: app.name, signal: cli.signal }, (before) => ({
      build: { ...before.build, ...sent },
    }));
    answer(cli, build, () => {
      const on = build.runImage === undefined ? "the cluster's stack" : `the run image ${build.runImage}`;
      cli.print(`${app.name} has the builder ${build.builder}; what it builds runs on ${on}`);
      const other = build.kind ?? "cnb";
      if (other !== "cnb") cli.print(`It is built with kind=${other} all the same, until: flynn build unset kind`);
    });
  });
}

function change(call: Invocation, unset: boolean): Promise<void> {
  const { cli } = call;
  return withCluster(call, async (client) => {
    const name = await appName(call);
    const changed = await changeApp(client, { app: name, signal: cli.signal }, (before) => {
      const build = changedSettings(before.build ?? {}, call.args, unset);
      return { build: Object.keys(build).length === 0 ? null : build };
    });
    answer(cli, changed.build ?? {}, () => {
      const words = settingWords(changed.build ?? {});
      cli.print(
        `${name} is built ${words.length === 0 ? "as its source says" : `with ${words.map((word) => plain(word)).join(" ")}`}`,
      );
    });
  });
}

async function place(client: Client, call: Invocation): Promise<{ app: string; id: string }> {
  const app = await appName(call);
  const [given] = call.args;
  return { app, id: given ?? (await newest(client, call, app)).id };
}

async function chosen(client: Client, call: Invocation): Promise<Build> {
  const app = await appName(call);
  const [id] = call.args;
  return id === undefined
    ? newest(client, call, app)
    : client.call(getBuild, { params: { app, id }, signal: call.cli.signal });
}

async function newest(client: Client, { cli }: Invocation, app: string): Promise<Build> {
  const { items } = await client.call(listBuilds, { params: { app }, query: { limit: 1 }, signal: cli.signal });
  const [build] = items;
  if (build === undefined) throw new Fault("not-found", `app ${app} has no builds yet`);
  return build;
}

const took = ({ startedAt, finishedAt }: Build): string =>
  startedAt === undefined || finishedAt === undefined ? "" : age(startedAt, Date.parse(finishedAt));
