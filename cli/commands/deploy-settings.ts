// deploy settings|set|unset: how an app deploys, and what makes a job of each process healthy.
import { createRelease, getApp, listReleases, updateApp } from "#api/apps.ts";
import type { Client } from "#api/client.ts";
import { appName } from "../apps/app.ts";
import { changeTwice } from "../apps/change-app.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { APP_SETTINGS, deployChanges, deployWords, PROCESS_SETTINGS } from "../deploy/deploy-settings.ts";
import { followDeployment } from "../deploy/deployment.ts";
import { answer } from "../output/answer.ts";
import type { Command, Invocation } from "../parse/command.ts";

const DETACH = { name: "detach", help: "Do not wait for the deployment" };
const helpOf = (settings: Record<string, { help: string }>, prefix: string) =>
  Object.entries(settings).map(([name, { help }]) => `  ${`${prefix}${name}`.padEnd(22)}  ${help}`);

export const deploySettingCommands: readonly Command[] = [
  {
    words: "deploy settings",
    summary: "Show how an app deploys: strategy, times, health checks",
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const now = await standing(client, call);
        answer(cli, { app: now.app, processes: now.processes }, () => {
          for (const word of deployWords(now.app, now.processes)) cli.print(word);
        });
      }),
  },
  {
    words: "deploy set",
    summary: "Say how an app deploys, and what makes its jobs healthy",
    more: [
      "  flynn deploy set strategy=in-batches batch-size=2 timeout=5m",
      "  flynn deploy set web.health=/up web.health-status=200 web.stop-timeout=1m",
      "",
      ...helpOf(APP_SETTINGS, ""),
      ...helpOf(PROCESS_SETTINGS, "TYPE."),
      "",
      "What is of a process (TYPE.) is part of a release: changing it makes a new one, deployed when the app runs.",
    ].join("\n"),
    args: [{ name: "NAME=VALUE", required: true, rest: true }],
    flags: [DETACH],
    run: (call) => change(call, false),
  },
  {
    words: "deploy unset",
    summary: "Give deploy settings their defaults again",
    args: [{ name: "NAME", required: true, rest: true }],
    flags: [DETACH],
    run: (call) => change(call, true),
  },
];

async function standing(client: Client, call: Invocation) {
  const input = { params: { app: await appName(call) }, signal: call.cli.signal };
  const app = await client.call(getApp, input);
  // Changes are made to the newest release, from which the next is made.
  const items = await listAll(client, listReleases, input);
  const release = items.find(({ current }) => current) ?? items[0];
  return { app, release, processes: release?.processes ?? {} };
}

async function once(client: Client, call: Invocation, unset: boolean) {
  const { signal } = call.cli;
  const now = await standing(client, call);
  const params = { app: now.app.id };
  const changes = deployChanges(now, call.args, unset);
  const app =
    Object.keys(changes.app).length === 0
      ? now.app
      : await client.call(updateApp, { params, body: changes.app, signal });
  if (Object.keys(changes.processes).length === 0) return { app };
  // Made and deployed in one: between two calls somebody else's change could be deployed, and undone by this one.
  const basis = now.release?.current ? { basedOn: now.release.id, deploy: now.release.artifactId !== undefined } : {};
  const body = { processChanges: changes.processes, ...basis };
  return { app, release: await client.call(createRelease, { params, body, signal }) };
}

function change(call: Invocation, unset: boolean): Promise<void> {
  const { cli } = call;
  return withCluster(call, async (client) => {
    // What is of the app goes field by field; a health check is written whole, so only onto what it was made from.
    const { app, release } = await changeTwice(
      () => once(client, call, unset),
      "another deployment of the app is on its way; nothing of its processes was changed: try again when it is over",
    );
    if (release === undefined)
      return answer(cli, app, () => cli.print(`${app.name} deploys with ${deployWords(app, {}).join(" ")}`));
    const { deploymentId: id, ...made } = release;
    if (id === undefined) return answer(cli, made, () => cli.print(`Created release v${made.version}`));
    answer(cli, { app, release: made, deploymentId: id }, () => cli.print(`Created release v${made.version}`));
    if (!call.on("detach")) await followDeployment({ client, cli, app: app.name, id });
  });
}
