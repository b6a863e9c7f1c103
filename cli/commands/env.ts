// env: an app's variables. A change is a new release, deployed when the app runs.
import { getEnv, updateEnv } from "#api/apps.ts";
import { Fault } from "#api/fault.ts";
import { appName } from "../app.ts";
import type { Command, Invocation } from "../command.ts";
import { withCluster } from "../connect.ts";
import { followDeployment } from "../deployment.ts";
import { envChanges, envName } from "../env-changes.ts";
import { answer } from "../output/answer.ts";
import { plain } from "../output/text.ts";

const DETACH = { name: "detach", help: "Do not wait for the deployment" };

export const envCommands: readonly Command[] = [
  {
    words: "env",
    summary: "Show an app's variables",
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const { env } = await client.call(getEnv, { params: { app: await appName(call) }, signal: cli.signal });
        answer(cli, env, () => {
          for (const [name, value] of Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1)))
            cli.print(`${name}=${cli.terminal.out ? plain(value, { lines: true }) : value}`);
        });
      }),
  },
  {
    words: "env get",
    summary: "Print the value of one variable",
    args: [{ name: "NAME", required: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const app = await appName(call);
        const name = call.args[0]!;
        const { env } = await client.call(getEnv, { params: { app }, signal: cli.signal });
        const value = Object.hasOwn(env, name) ? env[name] : undefined;
        if (value === undefined) throw new Fault("not-found", `app ${app} has no variable ${name}; see \`flynn env\``);
        answer(cli, { [name]: value }, () => cli.print(value));
      }),
  },
  {
    words: "env set",
    summary: "Set variables: a new release, deployed if the app runs",
    args: [{ name: "NAME=VALUE", required: true, rest: true }],
    flags: [DETACH],
    run: (call) => change(call, envChanges(call.args)),
  },
  {
    words: "env unset",
    summary: "Remove variables: a new release, deployed if the app runs",
    args: [{ name: "NAME", required: true, rest: true }],
    flags: [DETACH],
    run: (call) => change(call, Object.fromEntries(call.args.map((name) => [envName(name), null]))),
  },
];

function change(call: Invocation, env: Record<string, string | null>): Promise<void> {
  const { cli } = call;
  return withCluster(call, async (client) => {
    const app = await appName(call);
    const made = await client.call(updateEnv, { params: { app }, body: { env }, signal: cli.signal });
    answer(cli, made, () => cli.print(`Created release ${made.release.id}`));
    if (made.deploymentId !== undefined && made.release.artifactId !== undefined && !call.on("detach"))
      await followDeployment({ client, cli, app, id: made.deploymentId });
  });
}
