// run, exec: a command in a job of its own, or beside a running one.
import type { Client } from "#api/client.ts";
import { Fault, isFault } from "#api/fault.ts";
import { createJob, getJob, type Job, listJobs, stopJob } from "#api/jobs.ts";
import { openSession } from "#api/session.ts";
import { newId } from "#lib/ids.ts";
import { parseSize } from "#lib/units.ts";
import { appName, findAppName } from "../apps/app.ts";
import { CPU_WANTED, cpuMillis } from "../apps/cpu.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { envChanges } from "../env/changes.ts";
import { chooseJob } from "../jobs/job-names.ts";
import { runSession, wantsTerminal } from "../jobs/session.ts";
import { answer } from "../output/answer.ts";
import type { Command, Invocation } from "../parse/command.ts";
import { durationMs } from "../parse/duration.ts";

const NO_TTY = { name: "no-tty", short: "T", help: "No terminal, also when this is one" };
const ENV = { name: "env", short: "e", value: "NAME=VALUE", help: "One more variable", repeat: true };

export const runCommands: readonly Command[] = [
  {
    words: "run",
    summary: "Run a command once, in a job of its own with the app's image and variables",
    more: [
      "  flynn run bash                             a shell; its exit code is this command's",
      "  flynn run -a blog rake db:migrate --trace  from its first word on the command stands as it is",
      "  pg_dump db | flynn run psql                without a terminal, bytes go through unchanged",
      "  flynn run -d rake reindex                  in the background; its output is in `flynn log`",
      "  flynn run --process worker                 what the process worker runs, once",
      "",
      "Flags of run itself come before COMMAND; -- before it, as in `flynn run -- bash`, does no harm.",
      "The job ends when this command does: Ctrl-C on a terminal goes to the job, a closed terminal ends it.",
    ].join("\n"),
    tail: "COMMAND...",
    tailBare: true,
    flags: [
      { name: "detach", short: "d", help: "Start it and say its id; output goes to the app's log" },
      ENV,
      { name: "process", short: "p", value: "TYPE", help: "Limits of this process; and its command, if none is given" },
      { name: "release", short: "r", value: "vN", help: "Of this release, not of the current one" },
      { name: "memory", short: "m", value: "SIZE", help: "Memory limit, such as 1GiB" },
      { name: "cpu", value: "CPUS", help: "CPUs it reserves, such as 0.5 (500m is the same)" },
      { name: "timeout", value: "TIME", help: "It is ended after so long" },
      NO_TTY,
    ],
    run,
  },
  {
    words: "exec",
    summary: "Run a command in a running job",
    more: [
      "  flynn exec web.1 sh             a shell in the oldest web job",
      "  flynn exec job-0v3 env          the beginning of an id is enough, if it is the only one",
      "",
      "In an app that buildpacks made, the command gets what the app's own start-up files (.profile.d) set.",
    ].join("\n"),
    args: [{ name: "JOB", required: true }],
    tail: "COMMAND...",
    tailBare: true,
    flags: [ENV, NO_TTY],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli, tail } = call;
        if (tail.length === 0) throw new Fault("invalid", "exec needs a command: flynn exec JOB COMMAND...");
        const job = await findJob(client, call, call.args[0]!);
        const tty = wantsTerminal(cli) && !call.on("no-tty");
        const env = { ...terminalEnv(call, tty), ...envChanges(call.texts("env")) };
        const connection = await openSession(client, { kind: "exec", id: job.id }, cli.signal);
        return runSession(cli, connection, { start: { command: tail, env }, tty, doing: `entering ${job.id}` });
      }),
  },
];

async function run(call: Invocation): Promise<number | undefined> {
  const { cli } = call;
  const command = call.tail;
  const process = call.text("process");
  if (command.length === 0 && process === undefined)
    throw new Fault("invalid", "run needs a command: flynn run COMMAND..., or --process TYPE for that process's own");
  const detach = call.on("detach");
  const tty = !detach && wantsTerminal(cli) && !call.on("no-tty");
  const memoryBytes = sizeOf(call);
  const cpu = cpuOf(call);
  const timeoutMs = durationMs("--timeout", call.text("timeout"));
  const release = call.text("release");
  return withCluster(call, async (client) => {
    const app = await appName(call);
    const job = await client.call(createJob, {
      params: { app },
      body: {
        ...(command.length === 0 ? {} : { command }),
        ...(process === undefined ? {} : { process }),
        ...(release === undefined ? {} : { release }),
        ...(memoryBytes === undefined ? {} : { memoryBytes }),
        ...(cpu === undefined ? {} : { cpuMillis: cpu }),
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
        env: { ...terminalEnv(call, tty), ...envChanges(call.texts("env")) },
        attach: !detach,
        tty,
      },
      idempotencyKey: newId("run"),
      signal: cli.signal,
    });
    if (detach) {
      answer(cli, job, () => {
        cli.print(job.id);
        cli.say(`Running as ${job.id} of ${app} v${job.version}; its output: flynn -a ${app} log -j ${job.id}`);
      });
      return 0;
    }
    const params = { id: job.id };
    const doing = `starting ${command[0] ?? process} on ${app} v${job.version}`;
    try {
      const connection = await openSession(client, { kind: "attach", id: job.id }, cli.signal);
      return await runSession(cli, connection, { tty, doing });
    } catch (error) {
      // Control ends it when the connection goes; this is for when there never was one.
      await client.call(stopJob, { params, body: {}, timeoutMs: 5_000 }).catch(() => undefined);
      throw error;
    }
  });
}

/** The job a word means: by id alone without an app, else among the app's jobs. */
export async function findJob(client: Client, call: Invocation, word: string): Promise<Job> {
  const { signal } = call.cli;
  if (!word.includes("."))
    try {
      return await client.call(getJob, { params: { id: word }, signal });
    } catch (error) {
      // Not a whole id: the beginning of one, of the app's jobs; and without an app there is nothing to look among.
      if (!isFault(error, "not-found") || (await findAppName(call)) === undefined) throw error;
    }
  return chooseJob(await listAll(client, listJobs, { params: { app: await appName(call) }, signal }), word);
}

function terminalEnv({ cli }: Invocation, tty: boolean): Record<string, string> {
  const { TERM, COLORTERM } = cli.env;
  return tty ? { TERM: TERM || "xterm", ...(COLORTERM ? { COLORTERM } : {}) } : {};
}

function sizeOf(call: Invocation): number | undefined {
  const text = call.text("memory");
  if (text === undefined) return undefined;
  const bytes = parseSize(text);
  if (bytes === undefined) throw new Fault("invalid", `--memory ${text}: write a size such as 512MiB`);
  return bytes;
}

function cpuOf(call: Invocation): number | undefined {
  const text = call.text("cpu");
  if (text === undefined) return undefined;
  const millis = cpuMillis(text);
  if (millis === undefined) throw new Fault("invalid", `--cpu ${text}: write ${CPU_WANTED}`);
  return millis;
}
