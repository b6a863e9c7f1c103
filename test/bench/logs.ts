// Log lines end to end: frames as dockerd sends them, parsed, kept on three hosts' disks, and read from there by control in time
// order over mutual TLS, all in this one process. The peer does what `docker logs` must do at the least, without a daemon, TLS or
// a second copy: it reads the same lines from a json-file log and parses them.
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { keys } from "../../control/keys.ts";
import { parseLogFrames } from "../../hostd/engine/log-frames.ts";
import { captureLogs } from "../../hostd/logs/capture.ts";
import { logRig } from "../control/logs/rig.ts";
import { rig } from "../control/rig.ts";
import { container, job } from "../hostd/jobs.ts";
import type { BenchOptions, BenchResult } from "./run.ts";

export const name = "logs";

const HOSTS = ["h1", "h2", "h3"];
const APP = { id: job().appId, name: "hello" };
const CHUNK_LINES = 200;
const UNLIMITED = { linesPerSecond: 1e9, bytesPerSecond: 1e12, burstSeconds: 1 };
const text = (n: number) =>
  `at=info method=GET path="/some/where/${n}" status=200 took=12ms user=${n % 997} ${"x".repeat(40)}`;
const stamp = (n: number) => new Date(Date.UTC(2026, 0, 1) + n).toISOString();

export async function run({ quick = false, signal, log }: BenchOptions): Promise<BenchResult> {
  const perHost = quick ? 2_000 : 40_000;
  const total = perHost * HOSTS.length;
  const keptPerSecond = await keeping(perHost, signal);
  log(`kept: ${Math.round(keptPerSecond)} lines/s`);
  const read = await reading(perHost, signal);
  log(`read and merged: ${Math.round(read.perSecond)} lines/s`);
  const peerPerSecond = await peer(total);
  return {
    figures: {
      keptLinesPerSecond: keptPerSecond,
      endToEndLinesPerSecond: read.perSecond,
      lostLines: total - read.lines,
      peerLinesPerSecond: peerPerSecond,
      residentAtMostBytes: read.residentBytes,
    },
    ratios: { jsonFile: read.perSecond / peerPerSecond },
    notes: [`${total} lines of ${text(1).length} bytes, ${HOSTS.length} hosts; a job's rate limit is off here`],
  };
}

/** A container's log as dockerd sends it. */
async function* frames(host: number, count: number): AsyncGenerator<Buffer> {
  for (let n = 0; n < count; n += CHUNK_LINES) {
    const chunk: Buffer[] = [];
    for (let k = n; k < Math.min(count, n + CHUNK_LINES); k++) {
      const body = Buffer.from(`${stamp(k * HOSTS.length + host)} ${text(k)}\n`);
      const header = Buffer.alloc(8);
      header[0] = 1;
      header.writeUInt32BE(body.length, 4);
      chunk.push(header, body);
    }
    yield Buffer.concat(chunk);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

interface Hosts {
  rig: Awaited<ReturnType<typeof rig>>;
  logs: Awaited<ReturnType<typeof logRig>>;
}

async function withHosts<T>(body: (hosts: Hosts) => Promise<T>): Promise<T> {
  const control = await rig({ loops: false });
  const mutations = [{ key: keys.app(APP.id), value: APP }];
  await control.control.context.store.commit({ actor: "bench", mutations });
  const logs = await logRig(control, HOSTS);
  try {
    return await body({ rig: control, logs });
  } finally {
    await logs.close();
    await control.close();
  }
}

/** Keeps each host's lines to their end. */
async function capture({ logs }: Hosts, count: number, outer: AbortSignal): Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([outer, stop.signal]);
  await Promise.all(
    logs.hosts.map(async ({ store }, host) => {
      const ended = Promise.withResolvers<void>();
      const engine = { log: () => parseLogFrames(frames(host, count)) };
      const onError = (error: unknown) => ended.reject(error);
      const captured = captureLogs({ engine, store, signal, onEnd: ended.resolve, onError, rate: UNLIMITED });
      captured.sync([container(job(), { status: "exited", exitCode: 0 })]);
      await ended.promise;
      await (await store.open(APP.id)).ready();
    }),
  );
  stop.abort();
}

const keeping = (count: number, signal: AbortSignal): Promise<number> =>
  withHosts(async (hosts) => {
    const startedMs = performance.now();
    await capture(hosts, count, signal);
    return (count * HOSTS.length) / ((performance.now() - startedMs) / 1_000);
  });

function reading(count: number, outer: AbortSignal) {
  return withHosts(async (hosts) => {
    const stop = new AbortController();
    const signal = AbortSignal.any([outer, stop.signal]);
    const wanted = new Set(HOSTS.map((_, host) => `${stamp((count - 1) * HOSTS.length + host).slice(0, -1)}000Z`));
    const current = Promise.withResolvers<void>();
    let [lines, residentBytes] = [0, 0];
    const following = (async () => {
      for await (const { event, data } of hosts.logs.logs.follow(APP, { lines: 0 }, signal)) {
        if (event === "current") current.resolve();
        if (event !== "item" || data?.source !== "app") continue;
        if (++lines % 5_000 === 0) residentBytes = Math.max(residentBytes, process.memoryUsage.rss());
        if (wanted.delete(data.at) && wanted.size === 0) return;
      }
    })();
    await current.promise;
    const startedMs = performance.now();
    await Promise.all([capture(hosts, count, signal), following]);
    const seconds = (performance.now() - startedMs) / 1_000;
    stop.abort();
    return { lines, residentBytes, perSecond: lines / seconds };
  });
}

async function peer(count: number): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "logs-bench-"));
  try {
    const file = join(folder, "container-json.log");
    const rows = Array.from({ length: count }, (_, n) =>
      JSON.stringify({ log: `${text(n)}\n`, stream: "stdout", time: stamp(n) }),
    );
    await writeFile(file, `${rows.join("\n")}\n`);
    const startedMs = performance.now();
    let read = 0;
    const reader = createInterface({ input: createReadStream(file) });
    reader.on("line", (row) => {
      if ((JSON.parse(row) as { log: string }).log !== "") read++;
    });
    await once(reader, "close");
    return read / ((performance.now() - startedMs) / 1_000);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
