// log: an app's lines from every host, in time order.
import { Fault } from "#api/fault.ts";
import { appLog, type LogLine } from "#api/logs.ts";
import { appName } from "../app.ts";
import type { Command, Invocation } from "../command.ts";
import { withCluster } from "../connect.ts";
import { moment } from "../duration.ts";
import { followLog } from "../follow-log.ts";
import { logLine } from "../log-line.ts";

const LINES_MOST = 10_000;

export const logCommands: readonly Command[] = [
  {
    words: "log",
    summary: "Print an app's log lines; -f follows them",
    more: "With --json, one JSON object a line. On a terminal, escape sequences that apps print are left out.",
    flags: [
      { name: "follow", short: "f", help: "Go on with lines as they come" },
      { name: "lines", short: "n", value: "N", help: "Newest lines to begin with, 100 unless said" },
      { name: "type", short: "t", value: "TYPE", help: "Only lines of this process" },
      { name: "job", short: "j", value: "JOB", help: "Only lines of this job" },
      {
        name: "source",
        short: "s",
        value: "SOURCE",
        help: "app: what apps print. system: what the platform says of jobs",
      },
      { name: "since", value: "TIME", help: "Only lines since then: 10m, or 2026-01-31T12:00:00Z" },
    ],
    run: log,
  },
];

async function log(call: Invocation): Promise<void> {
  const { cli } = call;
  const query = logQuery(call);
  await withCluster(call, async (client) => {
    const params = { app: await appName(call) };
    const form = { plainText: cli.terminal.out, colour: cli.colour.out };
    const print = (line: LogLine) => cli.print(cli.json ? JSON.stringify(line) : logLine(line, form));
    if (!call.on("follow")) {
      const { items } = await client.call(appLog, { params, query, signal: cli.signal });
      for (const line of items) print(line);
      return;
    }
    const onBreak = () => cli.say("the connection broke; trying again");
    for await (const line of followLog({ client, app: params.app, query, signal: cli.signal, onBreak })) print(line);
  });
}

function logQuery({ text }: Invocation) {
  const lines = text("lines");
  if (lines !== undefined && !(/^\d{1,5}$/.test(lines) && Number(lines) <= LINES_MOST))
    throw new Fault("invalid", `-n ${lines}: a number of lines, 0 to ${LINES_MOST}`);
  const source = text("source");
  if (source !== undefined && source !== "app" && source !== "system")
    throw new Fault("invalid", `-s ${source}: a source is app or system`);
  const since = moment("--since", text("since"));
  const [process, jobId] = [text("type"), text("job")];
  return {
    ...(lines === undefined ? {} : { lines: Number(lines) }),
    ...(process === undefined ? {} : { process }),
    ...(jobId === undefined ? {} : { jobId }),
    ...(source === undefined ? {} : { source: source as "app" | "system" }),
    ...(since === undefined ? {} : { since }),
  };
}
