// log: an app's lines from every host and of the platform, in time order.
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { listJobs } from "#api/jobs.ts";
import { appLog, type LogLine, LogSource } from "#api/logs.ts";
import { appName } from "../apps/app.ts";
import { withCluster } from "../clusters/connect.ts";
import { followLog } from "../jobs/follow-log.ts";
import { chooseJob } from "../jobs/job-names.ts";
import { logLine } from "../jobs/log-line.ts";
import type { Command, Invocation } from "../parse/command.ts";
import { moment } from "../parse/duration.ts";

const LINES_MOST = 10_000;
const WHOLE_ID = /^job-[0-9a-z]{16}$/;
const SOURCES = (LogSource as unknown as { enum: readonly LogSource[] }).enum;

export const logCommands: readonly Command[] = [
  {
    words: "log",
    summary: "Print an app's log lines; -f follows them",
    more: [
      "Lines of every host and of the platform, in time order. `app[web.job-1]:` is what a job printed, `flynn[web.job-1]:` what the",
      "platform says of it, `flynn[router]:` a request, `flynn[deploy]:` a release or deployment, `flynn[build]:` a build.",
      "With --json, one JSON object a line. On a terminal, escape sequences that apps print are left out.",
      "A host that does not answer is named on stderr: its lines are missing.",
      "",
      "  flynn log -f -t web                follow all web jobs",
      "  flynn log -n 500 -s router         the last 500 requests",
      "  flynn log --since 1h --until 30m   half an hour of the past",
    ].join("\n"),
    flags: [
      { name: "follow", short: "f", help: "Go on with lines as they come" },
      { name: "lines", short: "n", value: "N", help: "Newest lines to begin with, 100 unless said" },
      { name: "type", short: "t", value: "TYPE", help: "Only lines of this process" },
      {
        name: "job",
        short: "j",
        value: "JOB",
        help: "Only lines of this job: web.1, its id, or the beginning of its id",
      },
      { name: "source", short: "s", value: "SOURCE", help: `Only lines of one source: ${SOURCES.join(", ")}` },
      { name: "since", value: "TIME", help: "Only lines since then: 10m, or 2026-01-31T12:00:00Z" },
      { name: "until", value: "TIME", help: "Only lines until then, in the same forms" },
      { name: "raw", short: "r", help: "The lines alone, without time and job" },
    ],
    run: log,
  },
];

async function log(call: Invocation): Promise<void> {
  const { cli } = call;
  const wanted = logQuery(call);
  await withCluster(call, async (client) => {
    const params = { app: await appName(call) };
    const job = call.text("job");
    const query = job === undefined ? wanted : { ...wanted, jobId: await jobIdOf(client, params.app, job, cli.signal) };
    const form = { plainText: cli.terminal.out, colour: cli.colour.out, raw: call.on("raw") };
    const print = (line: LogLine) => cli.print(cli.json ? JSON.stringify(line) : logLine(line, form));
    const onSilent = (hosts: readonly string[]) => {
      if (hosts.length > 0) cli.say(`no answer from ${hosts.join(", ")}: log lines kept there are missing here`);
    };
    if (!call.on("follow")) {
      const { items, silent } = await client.call(appLog, { params, query, signal: cli.signal });
      for (const line of items) print(line);
      return onSilent(silent ?? []); // an older control says nothing of it
    }
    const onBreak = () => cli.say("the connection broke; trying again");
    const { app } = params;
    for await (const line of followLog({ client, app, query, signal: cli.signal, onBreak, onSilent })) print(line);
  });
}

/** A whole id as it is: lines outlive what is known of their job. `web.1` is one that runs, the beginning of an id any. */
async function jobIdOf(client: Client, app: string, word: string, signal: AbortSignal): Promise<string> {
  if (WHOLE_ID.test(word)) return word;
  const { items } = await client.call(listJobs, { params: { app }, query: { all: true }, signal });
  return chooseJob(word.includes(".") ? items.filter(({ endedAt }) => endedAt === undefined) : items, word).id;
}

function logQuery(call: Invocation) {
  const { text } = call;
  const lines = text("lines");
  if (lines !== undefined && !(/^\d{1,5}$/.test(lines) && Number(lines) <= LINES_MOST))
    throw new Fault("invalid", `-n ${lines}: a number of lines, 0 to ${LINES_MOST}`);
  const source = SOURCES.find((known) => known === text("source"));
  if (source === undefined && text("source") !== undefined)
    throw new Fault("invalid", `-s ${text("source")}: a source is one of ${SOURCES.join(", ")}`);
  const since = moment("--since", text("since"));
  const until = moment("--until", text("until"));
  if (until !== undefined && call.on("follow"))
    throw new Fault("invalid", "--until and -f: what follows has no end; leave one of them out");
  const process = text("type");
  return {
    ...(lines === undefined ? {} : { lines: Number(lines) }),
    ...(process === undefined ? {} : { process }),
    ...(source === undefined ? {} : { source }),
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
  };
}
