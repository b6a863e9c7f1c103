// env: an app's variables. A change is a new release, deployed when the app runs.
import { getEnv, updateEnv } from "#api/apps.ts";
import type { Client } from "#api/client.ts";
import type { Reply } from "#api/endpoint.ts";
import { Fault, isFault } from "#api/fault.ts";
import { appName } from "../apps/app.ts";
import { withCluster } from "../clusters/connect.ts";
import { followDeployment } from "../deploy/deployment.ts";
import { givenVariables } from "../env/changes.ts";
import { formatDotenv } from "../env/dotenv.ts";
import { differenceOf, type EnvChanges, editEnv } from "../env/edit.ts";
import { envName } from "../env/name.ts";
import { answer } from "../output/answer.ts";
import { plain } from "../output/text.ts";
import type { Cli, Command, Invocation } from "../parse/command.ts";

const DETACH = { name: "detach", help: "Do not wait for the deployment" };

/** A terminal only shows it; a pipe gets every byte. */
const shown = (cli: Cli, value: string): string => (cli.terminal.out ? plain(value, { lines: true }) : value);

export const envCommands: readonly Command[] = [
  {
    words: "env",
    summary: "Show an app's variables",
    flags: [
      { name: "shell", short: "s", help: "Quoted, as sh, `env set -` and .env files read it back" },
      { name: "names", help: "Their names alone, no value" },
    ],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        if (call.on("shell") && call.on("names"))
          throw new Fault("invalid", "--shell prints values, --names prints none: give one of them");
        const { env } = await client.call(getEnv, { params: { app: await appName(call) }, signal: cli.signal });
        if (call.on("names")) {
          const names = Object.keys(env).sort();
          answer(cli, names, () => {
            for (const name of names) cli.print(name);
          });
          return cli.say("(names alone; `flynn env` shows the values)");
        }
        answer(cli, env, () => {
          if (call.on("shell")) {
            if (Object.keys(env).length > 0) cli.print(shown(cli, formatDotenv(env).trimEnd()));
            return;
          }
          for (const [name, value] of Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1)))
            cli.print(`${name}=${shown(cli, value)}`);
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
        answer(cli, { [name]: value }, () => cli.print(shown(cli, value)));
      }),
  },
  {
    words: "env set",
    summary: "Set variables: a new release, deployed if the app runs",
    more: [
      "  flynn env set A=1 B='two words'           several at once, one release",
      "  flynn env set - < .env                    lines of NAME=VALUE from stdin; so no value is seen in `ps`",
      "  flynn env set KEY=- < key.pem             one value from stdin, its last newline left out",
      "  flynn env set --file .env A=2             from a file; words on the command line win",
      "",
      "Values in a file may be quoted as in sh and then go over several lines. All variables of an app together are at",
      "most 12 KiB, one value at most 8192 characters. Each change is a new release, deployed when the app runs.",
    ].join("\n"),
    args: [{ name: "NAME=VALUE", rest: true }],
    flags: [{ name: "file", short: "f", value: "FILE", help: "Lines of NAME=VALUE", repeat: true }, DETACH],
    async run(call) {
      const files = call.texts("file");
      if (call.args.length === 0 && files.length === 0)
        throw new Fault(
          "invalid",
          "say what to set: flynn env set NAME=VALUE..., or - for lines from stdin, or --file FILE",
        );
      const given = await givenVariables(call.cli, call.args, files);
      if (Object.keys(given).length === 0) throw new Fault("invalid", "there is no variable in what was given");
      await change(call, given);
    },
  },
  {
    words: "env edit",
    summary: "Edit all variables in your editor ($VISUAL, $EDITOR, vi)",
    more: [
      "Only what you change is sent, as one release. The file is readable by you alone and removed afterwards.",
      "When somebody else changed a variable meanwhile, nothing is sent and the file stays.",
    ].join("\n"),
    flags: [DETACH],
    run: edit,
  },
  {
    words: "env unset",
    summary: "Remove variables: a new release, deployed if the app runs",
    args: [{ name: "NAME", required: true, rest: true }],
    flags: [DETACH],
    async run(call) {
      const { cli } = call;
      const names = call.args.map(envName);
      await withCluster(call, async (client) => {
        const app = await appName(call);
        const { env } = await client.call(getEnv, { params: { app }, signal: cli.signal });
        const missing = names.filter((name) => !Object.hasOwn(env, name));
        if (missing.length > 0)
          throw new Fault("not-found", `app ${app} has no variable ${missing.join(", ")}; see \`flynn env\``);
      });
      await change(call, Object.fromEntries(names.map((name) => [name, null])));
    },
  },
];

function change(call: Invocation, env: EnvChanges): Promise<void> {
  return withCluster(call, async (client) => {
    const params = { app: await appName(call) };
    const made = await client.call(updateEnv, { params, body: { env }, signal: call.cli.signal });
    await deployed(client, call, params.app, made);
  });
}

async function deployed(client: Client, call: Invocation, app: string, made: Reply<typeof updateEnv>): Promise<void> {
  const { cli } = call;
  const { release, deploymentId, unchanged } = made;
  const version = `v${release.version}`;
  answer(cli, made, () =>
    cli.print(
      unchanged ? `Nothing changed: ${version} of ${app} has these values already` : `Created release ${version}`,
    ),
  );
  if (!unchanged && release.artifactId === undefined)
    cli.say(
      `${app} has no image yet: its first one starts with these variables (git push flynn main, or flynn deploy)`,
    );
  if (deploymentId !== undefined && !call.on("detach")) await followDeployment({ client, cli, app, id: deploymentId });
}

/** Sent only onto what the user saw. Nothing is open while the editor is: that may take its time. */
async function edit(call: Invocation): Promise<void> {
  const { cli } = call;
  const params = { app: await appName(call) };
  const input = { params, signal: cli.signal };
  const { reply, etag } = await withCluster(call, (client) => client.read(getEnv, input));
  const made = await editEnv(cli, reply.env, (changes) => {
    const names = Object.keys(changes);
    const removed = names.filter((name) => changes[name] === null);
    const set = names.filter((name) => changes[name] !== null);
    if (set.length > 0) cli.say(`set: ${set.join(", ")}`);
    if (removed.length > 0) cli.say(`removed: ${removed.join(", ")}`);
    return withCluster(call, async (client) => {
      try {
        return await client.call(updateEnv, { ...input, body: { env: changes }, ifMatch: etag });
      } catch (error) {
        if (!isFault(error, "precondition")) throw error;
        const others = Object.keys(differenceOf(reply.env, (await client.call(getEnv, input)).env));
        const which = others.length > 0 ? others.sort().join(", ") : "a deployment with others is on its way";
        throw new Fault(
          "precondition",
          `somebody changed variables of ${params.app} meanwhile (${which}), so nothing of yours was: edit them again`,
        );
      }
    });
  });
  if (made === undefined) return answer(cli, {}, () => cli.print("Nothing changed."));
  await withCluster(call, (client) => deployed(client, call, params.app, made));
}
