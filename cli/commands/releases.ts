// releases, rollback, deployment list|create|show|pause|resume|cancel.
import { listReleases } from "#api/apps.ts";
import type { Client } from "#api/client.ts";
import {
  cancelDeployment,
  createDeployment,
  type Deployment,
  getDeployment,
  hasEnded,
  listDeployments,
  pauseDeployment,
  resumeDeployment,
  rollbackApp,
} from "#api/deployments.ts";
import { Fault } from "#api/fault.ts";
import { appName } from "../apps/app.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { deployedWords, followDeployment } from "../deploy/deployment.ts";
import { PAUSE_AFTER, pauseAfter, STAGING, stagingOf } from "../deploy/staging.ts";
import { logLine } from "../jobs/log-line.ts";
import { age, answer, answerList } from "../output/answer.ts";
import { printFacts } from "../output/table.ts";
import type { Command, Invocation } from "../parse/command.ts";

export const releaseCommands: readonly Command[] = [
  {
    words: "releases",
    summary: "List an app's releases, newest first",
    more: "The last 10 are kept, and older ones while they run; `goes next` marks what the next clean-up takes away.",
    run: (call) =>
      withCluster(call, async (client) => {
        const releases = await listAll(client, listReleases, {
          params: { app: await appName(call) },
          signal: call.cli.signal,
        });
        answerList(call.cli, releases, {
          titles: ["RELEASE", "ID", "AGE", "BY", "", "DESCRIPTION"],
          row: (release) => [
            `v${release.version}`,
            release.id,
            age(release.createdAt),
            release.createdBy,
            release.current ? "(current)" : release.collectable ? "(goes next)" : "",
            release.description,
          ],
          none: "no releases yet; deploy an image: flynn deploy",
        });
      }),
  },
  {
    words: "release show",
    summary: "Show a release: what it runs, its processes, the names of its variables",
    args: [{ name: "RELEASE", required: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const app = await appName(call);
        const word = call.args[0]!;
        const items = await listAll(client, listReleases, { params: { app }, signal: cli.signal });
        const release = items.find(({ id, version }) => id === word || `v${version}` === word || `${version}` === word);
        if (release === undefined)
          throw new Fault("not-found", `app ${app} has no release ${word}; see: flynn -a ${app} releases`);
        answer(cli, release, () => {
          cli.print(`=== v${release.version} of ${app}`);
          printFacts(cli, [
            ["Description", release.description],
            ["Created", `${release.createdAt} (${age(release.createdAt)} ago) by ${release.createdBy}`],
            ["Commit", release.commit],
            ["Image", release.artifactId ?? "none yet"],
            ["Processes", Object.keys(release.processes).join(", ")],
            ["Variables", release.envNames.join(", ")],
            ["Serves", release.current ? "now" : "no"],
            ["ID", release.id],
          ]);
        });
      }),
  },
  {
    words: "rollback",
    summary: "Deploy an earlier release again: the one before, or the one named",
    more: [
      "It brings back the image, variables and processes of that release, as a deployment like any other. It does not undo",
      "what a release phase did (such as migrations), data, resources, routes, domains or scale. The last 10 releases are",
      "kept; see `flynn releases`.",
    ].join("\n"),
    args: [{ name: "RELEASE" }],
    flags: [{ name: "detach", help: "Do not wait for the deployment" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const app = await appName(call);
        const [release] = call.args;
        const body = release === undefined ? {} : { release };
        const items = await listAll(client, listReleases, { params: { app }, signal: cli.signal });
        const before = items.find(({ current }) => current);
        const created = await client.call(rollbackApp, { params: { app }, body, signal: cli.signal });
        cli.say(`rolling ${app} back to v${created.toVersion}: its image, variables and processes`);
        cli.say("not undone: data and resources, what release phases did (such as migrations), routes, scale");
        if (before !== undefined) cli.say(`to undo this: flynn -a ${app} rollback v${before.version}`);
        if (call.on("detach"))
          return answer(cli, created, () =>
            cli.print(`Deploying v${created.toVersion} of ${app} (deployment ${created.id})`),
          );
        const done = await followDeployment({ client, cli, app, id: created.id });
        answer(cli, done, () => cli.print(`Deployed v${done.toVersion} of ${app}`));
      }),
  },
  {
    words: "deployment list",
    summary: "List an app's deployments, newest first",
    run: (call) =>
      withCluster(call, async (client) => {
        const deployments = await listAll(client, listDeployments, {
          params: { app: await appName(call) },
          signal: call.cli.signal,
        });
        answerList(call.cli, deployments, {
          titles: ["ID", "RELEASE", "STATE", "AGE", "TOOK", "REASON"],
          row: (one) => [one.id, `v${one.toVersion}`, one.state, age(one.createdAt), took(one), one.reason || one.step],
          none: "no deployments yet; deploy an image: flynn deploy",
        });
      }),
  },
  {
    words: "deployment create",
    summary: "Deploy a release that is there, all of it or in stages",
    args: [{ name: "RELEASE", required: true }],
    flags: [...STAGING, { name: "detach", help: "Do not wait for the deployment" }],
    more: `  flynn deployment create v7 --canary 5%      one new job beside the old ones, with 5 % of the requests
  flynn deployment resume                     the rest follows`,
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const app = await appName(call);
        const body = { release: call.args[0]!, ...stagingOf(call) };
        const created = await client.call(createDeployment, { params: { app }, body, signal: cli.signal });
        await watched(call, client, app, created);
      }),
  },
  {
    words: "deployment pause",
    summary: "Pause a deployment between two steps: the one under way unless named",
    args: [{ name: "ID" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const params = await underWay(call, client);
        const deployment = await client.call(pauseDeployment, { params, body: {}, signal: cli.signal });
        answer(cli, deployment, () =>
          cli.print(`v${deployment.toVersion} pauses; go on with: flynn -a ${params.app} deployment resume`),
        );
      }),
  },
  {
    words: "deployment resume",
    summary: "Go on with a paused deployment: the one under way unless named",
    more: "With --pause-after it goes on to the next pause, and routes keep their canary; else the canary ends.",
    args: [{ name: "ID" }],
    flags: [PAUSE_AFTER, { name: "detach", help: "Do not wait for the deployment" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const next = pauseAfter(call);
        const params = await underWay(call, client);
        const body = next === undefined ? {} : { pauseAfter: next };
        const deployment = await client.call(resumeDeployment, { params, body, signal: call.cli.signal });
        await watched(call, client, params.app, deployment);
      }),
  },
  {
    words: "deployment show",
    summary: "Show a deployment: the one under way or the newest, unless named",
    args: [{ name: "ID" }],
    flags: [{ name: "follow", short: "f", help: "Follow it to its end" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const { app, id } = await namedOrLatest(call, client);
        if (call.on("follow")) await followDeployment({ client, cli, app, id });
        const deployment = await client.call(getDeployment, { params: { app, id }, signal: cli.signal });
        answer(cli, deployment, () => {
          printFacts(cli, [
            ["ID", deployment.id],
            ["Release", `v${deployment.toVersion}`],
            ["State", deployment.state],
            ["Step", deployment.step],
            ["Release phase", deployment.releaseJobId],
            ["Reason", deployment.reason],
            ["Strategy", deployment.strategy],
            ["Created", `${deployment.createdAt} (${age(deployment.createdAt)} ago)`],
            ["Took", took(deployment)],
            ...Object.entries(deployment.processes).map(
              ([name, { wanted, healthy, oldLeft }]) =>
                [name, `${healthy} of ${wanted} healthy${oldLeft > 0 ? `, ${oldLeft} old left` : ""}`] as const,
            ),
          ]);
          const form = { plainText: cli.terminal.out, colour: cli.colour.out };
          for (const line of deployment.logTail) cli.print(logLine(line, form));
        });
      }),
  },
  {
    words: "deployment cancel",
    summary: "Cancel a deployment, the one under way unless named; the old release goes on serving",
    args: [{ name: "ID" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const params = await underWay(call, client);
        const deployment = await client.call(cancelDeployment, { params, body: {}, signal: cli.signal });
        answer(cli, deployment, () => cli.print(`Cancelling the deployment of v${deployment.toVersion}`));
      }),
  },
];

async function watched(call: Invocation, client: Client, app: string, { id, toVersion }: Deployment): Promise<void> {
  const { cli } = call;
  if (call.on("detach")) {
    const now = await client.call(getDeployment, { params: { app, id }, signal: cli.signal });
    return answer(cli, now, () => cli.print(`Deploying v${toVersion} of ${app} (deployment ${id})`));
  }
  const done = await followDeployment({ client, cli, app, id });
  answer(cli, done, () => cli.print(deployedWords(done, app)));
}

/** The deployment that is named, else the app's that is under way. */
async function underWay(call: Invocation, client: Client): Promise<{ app: string; id: string }> {
  const app = await appName(call);
  const [named] = call.args;
  if (named !== undefined) return { app, id: named };
  const { items } = await client.call(listDeployments, {
    params: { app },
    query: { limit: 50 },
    signal: call.cli.signal,
  });
  const found = items.findLast((one) => !hasEnded(one));
  if (found === undefined)
    throw new Fault("conflict", `no deployment of ${app} is under way; see them with: flynn -a ${app} deployment list`);
  return { app, id: found.id };
}

/** The deployment that is named, else the one under way, else the newest. */
async function namedOrLatest(call: Invocation, client: Client): Promise<{ app: string; id: string }> {
  const app = await appName(call);
  const [named] = call.args;
  if (named !== undefined) return { app, id: named };
  // Newest first.
  const all = await listAll(client, listDeployments, { params: { app }, signal: call.cli.signal });
  const found = all.findLast((one) => !hasEnded(one)) ?? all[0];
  if (found === undefined) throw new Fault("not-found", `${app} has no deployments yet; deploy an image: flynn deploy`);
  return { app, id: found.id };
}

const took = ({ startedAt, finishedAt }: Deployment): string =>
  startedAt === undefined || finishedAt === undefined ? "" : age(startedAt, Date.parse(finishedAt));
