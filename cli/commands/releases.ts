// releases, rollback, deployment list|show|cancel.
import { listReleases } from "#api/apps.ts";
import { cancelDeployment, type Deployment, getDeployment, listDeployments, rollbackApp } from "#api/deployments.ts";
import { appName } from "../apps/app.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { followDeployment } from "../deploy/deployment.ts";
import { logLine } from "../jobs/log-line.ts";
import { age, answer, answerList } from "../output/answer.ts";
import { printFacts } from "../output/table.ts";
import type { Command } from "../parse/command.ts";

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
    words: "deployment show",
    summary: "Show a deployment; -f follows it to its end",
    args: [{ name: "ID", required: true }],
    flags: [{ name: "follow", short: "f", help: "Wait for its end" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const app = await appName(call);
        const id = call.args[0]!;
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
    summary: "Cancel a deployment; the old release goes on serving",
    args: [{ name: "ID", required: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const params = { app: await appName(call), id: call.args[0]! };
        const deployment = await client.call(cancelDeployment, { params, body: {}, signal: cli.signal });
        answer(cli, deployment, () => cli.print(`Cancelling the deployment of v${deployment.toVersion}`));
      }),
  },
];

const took = ({ startedAt, finishedAt }: Deployment): string =>
  startedAt === undefined || finishedAt === undefined ? "" : age(startedAt, Date.parse(finishedAt));
