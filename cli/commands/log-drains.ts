// log-drain: sending lines elsewhere as they come.
import { readFile } from "node:fs/promises";
import {
  createAppLogDrain,
  createLogDrain,
  deleteAppLogDrain,
  deleteLogDrain,
  type LogDrain,
  listAppLogDrains,
  listLogDrains,
} from "#api/drains.ts";
import { Fault } from "#api/fault.ts";
import { appName, findAppName } from "../apps/app.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { answerList } from "../output/answer.ts";
import type { Command, Flag, Invocation } from "../parse/command.ts";

const ALL: Flag = { name: "all-apps", help: "Of the whole cluster, not of one app" };

export const logDrainCommands: readonly Command[] = [
  {
    words: "log-drain add",
    summary: "Send an app's log lines somewhere as they come",
    args: [{ name: "URL", required: true }],
    flags: [
      ALL,
      { name: "ca", value: "FILE", help: "CA of the target (PEM); the system's unless given" },
      { name: "gzip", help: "https: compress what is sent" },
    ],
    more: `syslog://host:port is RFC 5424 over TCP, syslog+tls://host:port the same over TLS, https://... gets a JSON array of lines
per POST. A login in the URL (https://user:password@host/...) is sent as Basic authorization and never shown again.

A line may come twice after a break. A target that is too slow or away makes the drain lag; beyond 10000 lines the oldest are
dropped, counted, and told to the target: \`flynn log-drain list\` shows it. Targets on private networks are allowed by who
runs the appliance: flynn up --drain-allow 10.0.0.0/8.

  flynn log-drain add syslog+tls://logs.example.com:6514 -a blog
  flynn log-drain add https://user:secret@logs.example.com/in --gzip --all-apps`,
    run: add,
  },
  {
    words: "log-drain list",
    summary: "List log drains with their state, lag and drops",
    flags: [ALL],
    more: "Those of one app; of all apps and of the cluster with --all-apps, or when no app is meant.",
    run: (call) =>
      withCluster(call, async (client) => {
        const { signal } = call.cli;
        const app = call.on("all-apps") ? undefined : await findAppName(call);
        const items =
          app === undefined
            ? await listAll(client, listLogDrains, { signal })
            : await listAll(client, listAppLogDrains, { params: { app }, signal });
        answerList(call.cli, items, {
          titles: ["ID", "APP", "URL", "STATE", "LAG", "SENT", "DROPPED", "ERROR"],
          row: drainRow,
          none: "no log drains; make one: flynn log-drain add URL",
        });
      }),
  },
  {
    words: "log-drain remove",
    summary: "Remove a log drain",
    args: [{ name: "ID", required: true }],
    flags: [ALL],
    run: (call) =>
      withCluster(call, async (client) => {
        const [id] = call.args as [string];
        const { signal } = call.cli;
        if (call.on("all-apps")) await client.call(deleteLogDrain, { params: { id }, signal });
        else await client.call(deleteAppLogDrain, { params: { app: await appName(call), id }, signal });
        call.cli.say(`Removed log drain ${id}`);
      }),
  },
];

const drainRow = ({ id, app, url, state, lagSeconds, sent, dropped, lastError }: LogDrain): string[] => [
  id,
  app ?? "(all)",
  url,
  state,
  `${lagSeconds}s`,
  String(sent),
  String(dropped),
  lastError ?? "",
];

async function add(call: Invocation): Promise<void> {
  const [url] = call.args as [string];
  const file = call.text("ca");
  const caPem = file === undefined ? undefined : await readCa(file);
  const body = { url, ...(caPem === undefined ? {} : { caPem }), ...(call.on("gzip") ? { gzip: true } : {}) };
  await withCluster(call, async (client) => {
    const { signal } = call.cli;
    const drain = call.on("all-apps")
      ? await client.call(createLogDrain, { body, signal })
      : await client.call(createAppLogDrain, { params: { app: await appName(call) }, body, signal });
    if (call.cli.json) call.cli.print(JSON.stringify(drain));
    else call.cli.say(`Added log drain ${drain.id} to ${drain.url}`);
  });
}

const readCa = (file: string): Promise<string> =>
  readFile(file, "utf8").catch((cause: unknown) => {
    throw new Fault("invalid", `--ca ${file} cannot be read`, { cause });
  });
