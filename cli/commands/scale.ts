// scale: how many jobs of each process, watched until they are there.
import { type Formation, getFormation, updateFormation } from "#api/apps.ts";
import type { Client } from "#api/client.ts";
import { listDeployments } from "#api/deployments.ts";
import { Fault } from "#api/fault.ts";
import { type Job, listJobs } from "#api/jobs.ts";
import { sleep } from "#lib/time.ts";
import { formatDuration } from "#lib/units.ts";
import { appName } from "../apps/app.ts";
import { formatScale, overtaken, parseScale, standing } from "../apps/scale.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { answer } from "../output/answer.ts";
import { clock, paint, stateColour } from "../output/text.ts";
import type { Cli, Command, Invocation } from "../parse/command.ts";
import { durationMs } from "../parse/duration.ts";

const WAIT_MS = 180_000;
const POLL_MS = 200;

export const scaleCommands: readonly Command[] = [
  {
    words: "scale",
    summary: "Show or set how many jobs of each process run",
    more: [
      "  flynn scale                       prints web=3 worker=1",
      "  flynn scale web=3 worker=1,zone=a worker's jobs go to hosts with the tag zone=a",
      "  flynn scale web=3,                web's tags are taken away",
      "",
      "It ends with 5 when somebody scales to other counts meanwhile. A deployment that begins meanwhile takes the counts along.",
    ].join("\n"),
    args: [{ name: "TYPE=N[,TAG=V]", rest: true }],
    flags: [
      { name: "no-wait", short: "n", help: "Do not wait until the jobs are up or gone" },
      { name: "timeout", value: "TIME", help: "Longest wait, 3m unless said" },
    ],
    run: scale,
  },
];

async function scale(call: Invocation): Promise<void> {
  const { cli } = call;
  const wish = parseScale(call.args);
  const timeoutMs = durationMs("--timeout", call.text("timeout")) ?? WAIT_MS;
  await withCluster(call, async (client) => {
    const input = { params: { app: await appName(call) }, signal: cli.signal };
    const before = await client.call(getFormation, input);
    if (call.args.length === 0) return answer(cli, before, () => cli.print(formatScale(before)));
    const startedMs = performance.now();
    const seen = new Map((await jobsOf(client, input)).map((job) => [job.id, shownState(job)]));
    const formation = await client.call(updateFormation, { ...input, body: wish });
    const print = cli.json ? cli.say : cli.print;
    const changes = Object.entries(wish).map(
      ([name, { count }]) => `${name}: ${before.processes[name]?.count ?? 0}=>${count}`,
    );
    print(`scaling ${changes.join(", ")}`);
    if (!call.on("no-wait")) {
      const asked = Object.keys(wish);
      const { moved, taken } = await arrive({ client, input, formation, asked, seen, timeoutMs, cli, print });
      if (moved) print("");
      print(taken ?? `scale completed in ${formatDuration(performance.now() - startedMs)}`);
    }
    if (cli.json) cli.print(JSON.stringify(formation, null, 2));
  });
}

interface Arrival {
  client: Client;
  input: { params: { app: string }; signal: AbortSignal };
  formation: Formation;
  asked: string[];
  /** Last state shown of each job. */
  seen: Map<string, string>;
  timeoutMs: number;
  cli: Cli;
  print: (line: string) => void;
}

/** Shows each job's changes of state until all are there, or something else came in between; `moved`: there was something to show. */
async function arrive(arrival: Arrival): Promise<{ moved: boolean; taken?: string }> {
  const { client, input, asked, seen, timeoutMs, cli, print } = arrival;
  let { formation } = arrival;
  const deadlineMs = performance.now() + timeoutMs;
  let moved = false;
  for (;;) {
    const jobs = await jobsOf(client, input);
    for (const job of jobs) {
      const state = shownState(job);
      if (!asked.includes(job.process) || seen.get(job.id) === state) continue;
      // A job that ended before we looked for the first time is history.
      if (seen.has(job.id) || job.endedAt === undefined) {
        const colour = stateColour(job.state);
        if (!moved) print("");
        moved = true;
        print(`${clock(new Date())} ==> ${job.process} ${job.id} ${paint(state, colour, cli.colour.out && !cli.json)}`);
      }
      seen.set(job.id, state);
    }
    const { done, missing } = standing(jobs, formation, asked);
    if (done) return { moved };
    cli.signal.throwIfAborted();
    const now = await client.call(getFormation, input);
    const { items } = await client.call(listDeployments, { ...input, query: { limit: 1 } });
    const between = overtaken(formation, asked, { app: input.params.app, formation: now, deployment: items[0] });
    if (between?.type === "undone") throw new Fault("conflict", between.words);
    if (between !== undefined) return { moved, taken: between.words };
    formation = now; // of another release by now, with our counts
    if (performance.now() >= deadlineMs)
      throw new Fault(
        "timeout",
        `not there after ${formatDuration(timeoutMs)}: ${missing.join("; ")}. The cluster goes on trying; see \`flynn ps\``,
      );
    await sleep(POLL_MS, cli.signal);
  }
}

const jobsOf = (client: Client, input: Arrival["input"]): Promise<Job[]> =>
  listAll(client, listJobs, { ...input, query: { all: true } });

/** `pending: no host has room` says more than `pending`. */
const shownState = ({ state, reason }: Job): string =>
  reason !== "" && (state === "pending" || state === "crashed" || state === "unhealthy")
    ? `${state}: ${reason}`
    : state;
