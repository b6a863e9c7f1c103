// git's side: remote add, redeploy, and the helper that git asks for the token.

import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { getGit, redeploy } from "#api/git.ts";
import { newId } from "#lib/ids.ts";
import { appName } from "../apps/app.ts";
import type { Cluster } from "../clusters/clusters-file.ts";
import { withCluster } from "../clusters/connect.ts";
import { checkEnd, followBuild } from "../deploy/build.ts";
import { credential } from "../git/credential.ts";
import { addRemote, REMOTE, remoteUrl } from "../git/git.ts";
import { knowHost } from "../git/known-hosts.ts";
import { answer } from "../output/answer.ts";
import type { Cli, Command, Flag } from "../parse/command.ts";

export const SSH: Flag = { name: "ssh", help: "Push over SSH, with a key added by `flynn key add`, not over HTTPS" };

/** The app's address for git; over SSH its host keys are made known first. */
export async function gitUrl(
  client: Client,
  { cli, cluster, app, ssh }: { cli: Cli; cluster: Pick<Cluster, "url">; app: string; ssh: boolean },
): Promise<string> {
  if (!ssh) return remoteUrl(cluster.url, app);
  const repository = await client.call(getGit, { params: { app }, signal: cli.signal });
  if (repository.ssh === undefined)
    throw new Fault(
      "unavailable",
      "this cluster serves git over HTTPS only: leave out --ssh (its `flynn up` runs without root, or with --no-ssh)",
    );
  const { hostname: host } = new URL(cluster.url);
  const { port, user, hostKeys } = repository.ssh;
  const file = await knowHost({ host, port, hostKeys }, cli.env);
  if (file) cli.say(`the cluster's SSH host keys were added to ${file}`);
  return `ssh://${user}@${host}:${port}/${app}.git`;
}

export const gitCommands: readonly Command[] = [
  {
    words: "remote add",
    summary: "Add the git remote `flynn` of an app to the repository here",
    more: "  flynn remote add -a hello          then: git push flynn main\n  flynn remote add -a hello --ssh    the same over SSH; see `flynn key add`",
    flags: [SSH, { name: "force", short: "f", help: "Replace a remote of that name" }],
    run: (call) =>
      withCluster(call, async (client, cluster) => {
        const { cli } = call;
        const given = call.text("app") ?? (cli.env["FLYNN_APP"] || undefined);
        if (given === undefined) throw new Fault("invalid", "which app? flynn remote add -a APP");
        const { path } = await client.call(getGit, { params: { app: given }, signal: cli.signal });
        const app = /([^/]+)\.git$/.exec(path)![1]!;
        const url = await gitUrl(client, { cli, cluster, app, ssh: call.on("ssh") });
        const added = await addRemote(url, cli.cwd, cli.env, { replace: call.on("force") });
        if (added === "none") throw new Fault("invalid", "there is no git repository here: git init makes one");
        if (added === "kept")
          throw new Fault("conflict", `this repository has a git remote ${REMOTE} already; replace it with --force`);
        answer(cli, { name: REMOTE, url }, () => cli.print(`Remote ${REMOTE} is ${url}`));
      }),
  },
  {
    words: "redeploy",
    summary: "Build and deploy again what was pushed last",
    more: "For when `git push` says `Everything up-to-date` and you want the deployment all the same: the build starts anew from the deploy branch's head, with today's buildpacks and variables.",
    flags: [{ name: "detach", help: "Do not wait for the build" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const app = await appName(call);
        const build = await client.call(redeploy, {
          params: { app },
          body: {},
          idempotencyKey: newId("redeploy"),
          signal: cli.signal,
        });
        const { commit = "" } = build.source;
        cli.say(`building ${commit.slice(0, 8)} of ${app} again, as build ${build.number}`);
        if (call.on("detach")) return answer(cli, build, () => cli.print(`Build ${build.number} is ${build.state}`));
        const line = (text: string) => (cli.json ? cli.say(text) : cli.print(text));
        const ended = await followBuild({ client, cli, app, id: build.id, line });
        if (cli.json) cli.print(JSON.stringify(ended, null, 2));
        checkEnd(ended);
      }),
  },
  {
    words: "git-credential",
    summary: "What git asks for the token of a cluster (gitcredentials(7)); `flynn cluster add` tells git of it",
    hidden: true,
    args: [{ name: "OPERATION", required: true }],
    async run({ args: [operation], cli }) {
      const asked = await cli.readStdin();
      if (operation !== "get") return; // tokens are kept and forgotten by `flynn cluster`
      const found = await credential(asked, cli.env);
      if (found !== undefined) cli.print(found);
    },
  },
];
