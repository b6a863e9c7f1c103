// time limit: 300 s
// A job that prints as fast as it can beside a quiet one on the same host: the quiet one's lines arrive meanwhile and all of them, the
// flood is cut and says where, its last words are there, no line comes twice, and hostd stays small. Once more with hostd killed in it.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import type { LogLine } from "#api/logs.ts";
import { until } from "#lib/time.ts";
import type { Running } from "./process.ts";
import { ask, type Cluster, deploy, leavesNothing, release, startCluster } from "./survival/cluster.ts";

const CLI = [process.execPath, fileURLToPath(new URL("../../cli/main.ts", import.meta.url))];
const flood = suite<Cluster>("flood");

flood.before(async (context) => {
  Object.assign(context, await startCluster({ count: 1 }));
  await addWorker(context, "quiet", "n=0; while :; do n=$((n+1)); echo tick $n; usleep 50000; done");
  await addWorker(context, "flood", "while :; do sleep 3600; done");
});
flood.after(({ scope }: Partial<Cluster>) => scope?.close());

/** It prints until it is told to end, says how much it printed, and then why it ended. */
const PRINTS = `trap 'over=1' USR1
n=0
while [ -z "$over" ]; do n=$((n+1)); echo "flood $n of words that nobody reads, and some more of them to fill a line"; done
echo "it was $n lines"
echo "last words: out of fuel"
exit 3`;
/** Far more than may be kept, and than is held anywhere on the way. */
const DROPPED_LEAST = 150_000;
/** Of a flood's end; capture.ts keeps fifty. */
const LAST_LEAST = 40;
/** hostd with its buffers full; a flood held in memory, at some hundred bytes a line more than its text, is far beyond. */
const MEMORY_MOST_BYTES = 384 << 20;

async function addWorker(cluster: Cluster, name: string, script: string): Promise<void> {
  const { appliance } = cluster;
  await ask(appliance, "POST", "/v1/apps", { name });
  const web = { port: null, memoryBytes: 64 << 20 };
  const version = await release(cluster, name, "hello", { command: ["/bin/sh", "-c", script] }, web);
  assert.is((await deploy(appliance, name, version)).state, "complete");
}

const jobs = async ({ appliance }: Cluster, app: string, query = "") =>
  (await ask<{ items: Job[] }>(appliance, "GET", `/v1/apps/${app}/jobs${query}`)).items;
const read = async ({ appliance }: Cluster, app: string, query = "&source=app"): Promise<LogLine[]> =>
  (await ask<{ items: LogLine[] }>(appliance, "GET", `/v1/apps/${app}/log?lines=10000${query}`)).items;
const peakOf = async (pid: number): Promise<number> =>
  Number(/VmHWM:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, "utf8"))![1]) * 1_024;

const ticksOf = (lines: readonly LogLine[]): number[] => lines.map(({ line }) => Number(/^tick (\d+)$/.exec(line)![1]));
const numberOf = ({ line }: LogLine): number | undefined => Number(/^flood (\d+) /.exec(line)?.[1]) || undefined;
const droppedOf = ({ line, source }: LogLine): number | undefined =>
  source === "system" && /^\.\.\. .*lines (?:dropped|may be missing)/.test(line)
    ? Number(/^\.\.\. (\d+) lines/.exec(line)?.[1]) || 0
    : undefined;

/** Whoever follows the log, as a person does; lines that were told so far. */
async function follower(cluster: Cluster, jobId: string) {
  const { appliance, scope } = cluster;
  const env = { ...process.env, FLYNN_HOME: join(scope.folder, "home"), NO_COLOR: "1" };
  const argv = [...CLI, "-a", "flood", "log", "-f", "-n", "10000", "-j", jobId, "--json"];
  const running: Running = await appliance.lan.spawn(argv, { name: "flood-follow", env });
  const told = () => {
    const lines = running.output().split("\n").slice(0, -1);
    return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as LogLine);
  };
  return { told, end: () => running.kill("SIGINT") };
}

/** All that was told, once the flood's last words were. */
async function toItsEnd({ told, end }: Awaited<ReturnType<typeof follower>>): Promise<LogLine[]> {
  await until(() => told().some(({ line }) => line === "last words: out of fuel"), {
    what: "the last words being told",
    timeoutMs: 60_000,
    everyMs: 500,
  });
  const all = told();
  await end();
  return all;
}

async function begin(cluster: Cluster): Promise<string> {
  const command = ["/bin/sh", "-c", PRINTS];
  const { id } = await ask<Job>(cluster.appliance, "POST", "/v1/apps/flood/jobs", {
    command,
    attach: false,
    tty: false,
  });
  await until(async () => (await read(cluster, "flood", `&jobId=${id}`)).some((line) => numberOf(line) !== undefined), {
    what: "the flood's beginning",
    timeoutMs: 60_000,
  });
  return id;
}

/** The flood is told to end; resolves with what its log has at the end, and how much it printed. */
async function end(cluster: Cluster, id: string): Promise<{ kept: LogLine[]; printed: number }> {
  const { status, body } = await cluster.hosts[0]!.docker("POST", `/containers/flynn-${id}/kill?signal=USR1`);
  assert.is(status, 204, body);
  const kept = await until(
    async () => {
      const lines = await read(cluster, "flood", `&jobId=${id}`);
      return lines.some(({ line }) => line === "last words: out of fuel") ? lines : undefined;
    },
    { what: "the flood's last words", timeoutMs: 90_000, everyMs: 300 },
  );
  return { kept, printed: Number(kept.map(({ line }) => /^it was (\d+) lines$/.exec(line)?.[1]).find(Boolean)) };
}

/** Every line once and in order, and nothing missing that is not said to be missing, there where it is. */
function holdsTogether(lines: readonly LogLine[], what: string): { told: number; dropped: number } {
  let [newest, told, dropped, isGapSaid] = [0, 0, 0, false];
  for (const line of lines) {
    const lost = droppedOf(line);
    if (lost !== undefined) {
      isGapSaid = true;
      dropped += lost;
    }
    const number = numberOf(line);
    if (number === undefined) continue;
    assert.ok(number > newest, `${what}: line ${number} after line ${newest}`);
    if (told > 0 && number > newest + 1)
      assert.ok(isGapSaid, `${what}: nothing says that ${newest} to ${number} are missing`);
    [newest, told, isGapSaid] = [number, told + 1, false];
  }
  return { told, dropped };
}

function hasItsEnd(lines: readonly LogLine[], printed: number, what: string): void {
  const last = lines
    .map(numberOf)
    .filter((number) => number !== undefined)
    .slice(-LAST_LEAST);
  const wanted = Array.from({ length: LAST_LEAST }, (_, n) => printed - LAST_LEAST + 1 + n);
  assert.equal(last, wanted, `${what}: the flood's last lines`);
}

flood(
  "a flood costs the quiet job beside it no line, keeps its own last words, is told once, and hostd stays small",
  async (cluster) => {
    const { pid } = cluster.hosts[0]!.hostd;
    const id = await begin(cluster);
    const following = await follower(cluster, id);
    const [job] = (await jobs(cluster, "flood")).filter((one) => one.id === id);
    assert.is(job!.hostId, (await jobs(cluster, "quiet"))[0]!.hostId, "they share a host");
    const before = ticksOf(await read(cluster, "quiet")).at(-1)!;
    const dropped = () => following.told().reduce((sum, line) => sum + (droppedOf(line) ?? 0), 0);
    const peaks: number[] = [];
    for (const part of [1, 2, 3]) {
      await writeFile(`/proc/${pid}/clear_refs`, "5"); // proc(5): VmHWM begins anew
      await until(() => dropped() >= part * DROPPED_LEAST, { what: "a flood", timeoutMs: 120_000, everyMs: 500 });
      peaks.push(await peakOf(pid));
    }
    await until(async () => ticksOf(await read(cluster, "quiet")).at(-1)! > before + 20, {
      what: "the quiet job's lines while the flood goes on",
      timeoutMs: 30_000,
    });
    const { kept, printed } = await end(cluster, id);
    const all = await toItsEnd(following);
    const { told, dropped: lost } = holdsTogether(all, "followed");
    holdsTogether(kept, "kept");
    hasItsEnd(all, printed, "followed");
    hasItsEnd(kept, printed, "kept");
    const isCounted = all.every((line) => droppedOf(line) !== 0); // what the engine passed over nobody can count
    assert.ok(
      isCounted ? told + lost === printed : told + lost < printed,
      `${told} told, ${lost} dropped of ${printed}`,
    );
    const ticks = ticksOf(await read(cluster, "quiet"));
    assert.equal(
      ticks,
      Array.from({ length: ticks.length }, (_, n) => n + 1),
      "every line of the quiet job, once and in order",
    );
    assert.is(cluster.hosts[0]!.hostd.pid, pid);
    const shown = peaks.map((bytes) => bytes >> 20).join(", ");
    console.log(`${printed} lines, ${told} told; hostd at most ${shown} MiB`);
    assert.ok(Math.max(...peaks) < MEMORY_MOST_BYTES, `hostd had ${shown} MiB`);
  },
);

flood(
  "hostd killed in a flood tells no line twice, says what is missing, and the last words are there",
  async (cluster) => {
    const [host] = cluster.hosts;
    const id = await begin(cluster);
    const following = await follower(cluster, id);
    const newest = () => following.told().findLast((line) => numberOf(line) !== undefined);
    const reached = () => numberOf(newest() ?? ({ line: "" } as LogLine)) ?? 0;
    await until(() => reached() > 50_000, { what: "a flood", timeoutMs: 120_000, everyMs: 500 });
    await host!.hostd.kill("SIGKILL");
    const atKill = reached();
    await host!.startHostd();
    await until(() => reached() > atKill + 50_000, { what: "the flood going on", timeoutMs: 120_000, everyMs: 500 });
    const { kept, printed } = await end(cluster, id);
    const all = await toItsEnd(following);
    holdsTogether(all, "followed");
    holdsTogether(kept, "kept");
    hasItsEnd(kept, printed, "kept");
    const ticks = ticksOf(await read(cluster, "quiet"));
    assert.equal(
      ticks,
      Array.from({ length: ticks.length }, (_, n) => n + 1),
      "every line of the quiet job, once and in order",
    );
  },
);

flood("nothing is left", ({ scope }) => leavesNothing(scope));

flood.run();
