// create, delete, apps, open, info.
import { createApp, deleteApp, getApp, getFormation, listApps, listReleases } from "#api/apps.ts";
import type { Client } from "#api/client.ts";
import { Fault, isFault } from "#api/fault.ts";
import { listJobs } from "#api/jobs.ts";
import { listRoutes, type Route } from "#api/routes.ts";
import { appName } from "../apps/app.ts";
import { routeLabel, routeUrl } from "../apps/route-label.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { addRemote, appOfUrl, REMOTE, remoteOf, removeRemote, repositoryOf } from "../git/git.ts";
import { age, answer, answerList } from "../output/answer.ts";
import { CONFIRM_FLAGS, confirm } from "../output/confirm.ts";
import { printFacts } from "../output/table.ts";
import type { Cli, Command, Invocation } from "../parse/command.ts";
import { gitUrl, SSH } from "./git.ts";

export const appCommands: readonly Command[] = [
  {
    words: "create",
    summary: "Create an app; in a git repository its remote `flynn` is added",
    more: "Then: git push flynn main. When that says `Everything up-to-date`: flynn redeploy.",
    args: [{ name: "NAME" }],
    flags: [SSH],
    run: (call) =>
      withCluster(call, async (client, cluster) => {
        const { cli } = call;
        const name = call.args[0] ?? call.text("app");
        const app = await client.call(createApp, { body: name === undefined ? {} : { name }, signal: cli.signal });
        const urls = await urlsOf(client, app.id, cli.signal).catch((error: unknown) => {
          if (isFault(error, "forbidden")) return []; // a token that makes apps and reads no routes
          throw error;
        });
        answer(cli, app, () => {
          cli.print(`Created ${app.name}`);
          for (const url of urls) cli.print(url);
        });
        const url = await gitUrl(client, { cli, cluster, app: app.name, ssh: call.on("ssh") });
        const remote = await addRemote(url, cli.cwd, cli.env);
        if (remote !== "none") cli.say(await aboutRemote({ remote, url, app: app.name }, cli));
      }),
  },
  {
    words: "delete",
    summary: "Delete an app with its releases, environment and routes; its jobs stop",
    args: [{ name: "NAME", offers: "apps" }],
    flags: CONFIRM_FLAGS,
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const { name } = await client.call(getApp, { params: { app: await toDelete(call) }, signal: cli.signal });
        const input = { params: { app: name }, signal: cli.signal };
        const [routes, jobs] = await Promise.all([
          listAll(client, listRoutes, { query: { app: name }, signal: cli.signal }),
          listAll(client, listJobs, input),
        ]);
        const lost = [`${jobs.length} running jobs stop`, "every release and variable is lost"];
        if (routes.length > 0) lost.push(`these routes end: ${routes.map(routeLabel).join(", ")}`);
        await confirm(call, name, `app ${name} is deleted for good: ${lost.join(", ")}.`);
        await client.call(deleteApp, input);
        await removeRemote(name, cli.cwd, cli.env);
        answer(cli, { name }, () => cli.print(`Deleted ${name}`));
      }),
  },
  {
    words: "apps",
    summary: "List apps",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listApps, { signal: call.cli.signal }), {
          titles: ["NAME", "ID", "AGE"],
          row: (app) => [app.name, app.id, age(app.createdAt)],
          none: "there are no apps yet; make one: flynn create NAME",
        }),
      ),
  },
  {
    words: "open",
    summary: "Print the addresses an app answers at",
    more: "One a line, for a browser or a script: xdg-open $(flynn open | head -1)",
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const { id, name } = await client.call(getApp, { params: { app: await appName(call) }, signal: cli.signal });
        const urls = await urlsOf(client, id, cli.signal);
        answer(cli, urls, () => {
          if (urls.length === 0) cli.say(`no domain leads to ${name}; give it one: flynn route add http DOMAIN`);
          for (const url of urls) cli.print(url);
        });
      }),
  },
  {
    words: "info",
    summary: "Show an app: its release, processes and routes",
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const input = { params: { app: await appName(call) }, signal: cli.signal };
        const app = await client.call(getApp, input);
        const [releases, routes, jobs, formation] = await Promise.all([
          listAll(client, listReleases, input),
          listAll(client, listRoutes, { query: { app: app.id }, signal: cli.signal }),
          listAll(client, listJobs, input),
          client.call(getFormation, input).catch((error: unknown) => {
            if (isFault(error, "conflict")) return undefined; // nothing deployed yet
            throw error;
          }),
        ]);
        const release = releases.find(({ current }) => current);
        const up = (process: string) => jobs.filter((job) => job.process === process && job.state === "up").length;
        answer(cli, { app, release, formation, routes, jobs: jobs.length }, () => {
          cli.print(`=== ${app.name}`);
          printFacts(cli, [
            ["Release", release ? `v${release.version}  ${release.description}` : "none yet: flynn deploy"],
            [
              "Processes",
              Object.entries(formation?.processes ?? {})
                .map(([name, { count }]) => `${name}: ${up(name)} of ${count} up`)
                .join(", "),
            ],
            ["Web URL", webUrls(routes).join(" ")],
            ["Strategy", app.strategy],
            ["Created", `${app.createdAt} (${age(app.createdAt)} ago)`],
            ["ID", app.id],
          ]);
        });
      }),
  },
];

/** Of an app that is named twice, and differently, nothing is deleted. */
async function toDelete(call: Invocation): Promise<string> {
  const [word] = call.args;
  const flag = call.text("app");
  if (word !== undefined && flag !== undefined && word !== flag)
    throw new Fault("invalid", `${word} or ${flag}? Name the app to delete once: flynn delete ${word}`);
  return word ?? (await appName(call));
}

/** Which remote there is now, where, and of which app: what `git push` will go to. */
async function aboutRemote(
  { remote, url, app }: { remote: "added" | "kept"; url: string; app: string },
  { cwd, env }: Pick<Cli, "cwd" | "env">,
): Promise<string> {
  const where = (await repositoryOf(cwd, env)) ?? cwd;
  if (remote === "added") return `added the git remote ${REMOTE} to ${where}: ${url}`;
  const other = ((await remoteOf(cwd, env)) ?? "").replace(/\/\/([^/@:]*):[^/@]*@/, "//$1@"); // no password on a screen
  const whose = other === url ? `of this app, ${url}` : `of app ${appOfUrl(other) ?? "elsewhere"}, ${other}`;
  const instead = other === url ? "" : `. To push to ${app} instead: flynn remote add -a ${app} --force`;
  return `the repository ${where} has a git remote ${REMOTE} already, ${whose}; it was left as it is${instead}`;
}

const urlsOf = async (client: Client, app: string, signal: AbortSignal): Promise<string[]> =>
  webUrls(await listAll(client, listRoutes, { query: { app }, signal }));

/** A domain of many names (*.example.com) is no address to go to. */
const webUrls = (routes: readonly Route[]): string[] =>
  routes.flatMap((route) => (route.type === "http" && !route.domain.startsWith("*.") ? [routeUrl(route)] : []));
