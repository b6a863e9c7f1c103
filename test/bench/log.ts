// The log against bare `level`: the same records, the same batch sizes, sync on, in interleaved rounds of one run; a figure
// is the median of its rounds. The peers write a row per record and one per view entry, as many bytes as ours. `level`
// serialises a batch, writes it and waits, one in flight as our log has on disk; `overlapped` is the same from two
// callers, so that one batch is serialised while the other is written; `readyRows` gets finished strings: the ceiling; `twoSyncs` is
// `level` with as many bytes appended to a plain file at the same time, synced as well: what the second copy costs anybody.
// Ours also chains, checks and writes its journal. A Cpu ratio compares processor time per record, which other
// programs on the machine disturb less. Then the commit path through the store, and opening after a million records.
import { constants } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Level } from "level";
import { silentLog } from "#lib/log.ts";
import { GENESIS } from "../../control/store/frame.ts";
import { logKey, viewKey } from "../../control/store/level-rows.ts";
import type { Log, LogRecord } from "../../control/store/log.ts";
import { openLevelLog } from "../../control/store/log-level.ts";
import { encodeRecord } from "../../control/store/record.ts";
import { openStore } from "../../control/store/store.ts";

export const name = "log";

export interface LogBenchOptions {
  rounds?: number;
  /** Records per round and batch size. */
  records?: number;
  reopenRecords?: number;
  log?: (line: string) => void;
}

interface BenchResult {
  figures: Record<string, number>;
  ratios: Record<string, number>;
  notes: string[];
}

const KEYS = 20_000;
const GROUPS = [1, 100, 1000] as const;
const IN_FLIGHT = 2;
const SIDES = ["ours", "level", "overlapped", "readyRows", "twoSyncs"] as const;
type Side = (typeof SIDES)[number];

interface Sample {
  perSecond: number;
  /** User and system time of the whole process, LevelDB's threads included, per record. */
  cpuMicros: number;
}

export async function run(options: LogBenchOptions = {}): Promise<BenchResult> {
  const { rounds = 3, records = 60_000, reopenRecords = 1_000_000, log = () => undefined } = options;
  const folder = await mkdtemp(join(tmpdir(), "log-bench-"));
  const figures: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  try {
    for (const group of GROUPS) {
      const count = group === 1 ? Math.min(1_000, records) : records;
      const samples = new Map(SIDES.map((side) => [side, { perSecond: [] as number[], cpuMicros: [] as number[] }]));
      for (let round = 0; round < rounds; round++) {
        for (const side of rotate(SIDES, round)) {
          const directory = join(folder, `${side}-${group}-${round}`);
          const sample = await (side === "ours" ? ours(directory, count, group) : bare(directory, count, group, side));
          samples.get(side)!.perSecond.push(sample.perSecond);
          samples.get(side)!.cpuMicros.push(sample.cpuMicros);
          await rm(directory, { recursive: true, force: true });
        }
      }
      const perSecond = (side: Side) => median(samples.get(side)!.perSecond);
      const cpuMicros = (side: Side) => median(samples.get(side)!.cpuMicros);
      for (const side of SIDES) {
        const prefix = side === "ours" ? "r" : `${side}R`;
        figures[`${prefix}ecordsPerSecondGroup${group}`] = Math.round(perSecond(side));
        figures[`${side}CpuMicrosPerRecordGroup${group}`] = round2(cpuMicros(side));
        if (side === "ours") continue;
        ratios[`${side}Group${group}`] = round2(perSecond("ours") / perSecond(side));
        ratios[`${side}CpuGroup${group}`] = round2(cpuMicros(side) / cpuMicros("ours"));
      }
      log(
        `groups of ${group}: ${SIDES.map((side) => `${side} ${Math.round(perSecond(side))}/s ${round2(cpuMicros(side))} us`).join(", ")}`,
      );
    }
    ratios["level"] = Math.min(ratios["levelGroup100"]!, ratios["levelGroup1000"]!);
    Object.assign(figures, await throughStore(join(folder, "store"), records));
    const reopen = await reopening(join(folder, "reopen"), reopenRecords, log);
    Object.assign(figures, reopen.figures);
    return { figures, ratios, notes: [...NOTES, reopen.note] };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const NOTES = [
  "ratios.level is the smaller of the two in groups, against bare level serialising the same records with one batch in flight; overlapped has two callers, as ours has",
  "readyRows is given finished strings; Cpu ratios compare processor time per record; ours writes every record twice (LevelDB and journal), both synced",
];

function recordOf(seq: number, keys = KEYS): LogRecord {
  const value = {
    state: "running",
    hostId: `host-${seq % 50}`,
    seq,
    image: "registry/app@sha256:0123456789abcdef",
    env: "x".repeat(150),
  };
  return {
    seq,
    term: 1,
    at: "2026-11-22T00:00:00.000Z",
    actor: "bench",
    mutations: [{ key: `jobs/${seq % keys}`, value }],
  };
}

/** Appends through the adapter, a call of `group` records at a time. */
async function ours(directory: string, records: number, group: number): Promise<Sample> {
  const log = await openLevelLog({ directory, logger: silentLog() });
  try {
    const calls = recordsIn(records, group);
    return await timed(records, () => inFlight(calls, group === 1 ? 1 : IN_FLIGHT, (call) => log.append(call)));
  } finally {
    await log.close();
  }
}

type Row = [key: string, value: string];

/** A row per record and a row per view entry, with as many bytes as a chain hash and a checksum have. */
function rowsOf(records: readonly LogRecord[]): Row[] {
  const rows: Row[] = [];
  for (const record of records) {
    const { text, values } = encodeRecord(record);
    rows.push([logKey(record.seq), GENESIS + text], viewRow(record, values));
  }
  return rows;
}

const viewRow = ({ seq, mutations }: LogRecord, values: readonly string[]): Row => [
  viewKey(mutations[0]!.key),
  `2147483647 ${seq} ${values[0]}`,
];

/** A synced batch per group, chained (level's fastest form); rows are serialised on the way unless they are ready before. */
async function bare(directory: string, records: number, group: number, side: Side): Promise<Sample> {
  const db = new Level<string, string>(directory, { writeBufferSize: 32 << 20 });
  await db.open();
  const file = side === "twoSyncs" ? await open(join(directory, "second"), SECOND, 0o600) : undefined;
  const write = (rows: readonly Row[]) => {
    const batch = db.batch();
    for (const [key, value] of rows) batch.put(key, value);
    batch.put("m", GENESIS + GENESIS + GENESIS);
    const second = file?.appendFile(rows.map(([key, value]) => `${key} ${value}\n`).join(""));
    return Promise.all([batch.write({ sync: true }), second]);
  };
  try {
    const calls = recordsIn(records, group);
    const ready = side === "readyRows" ? calls.map(rowsOf) : undefined;
    const window = group === 1 || side === "level" || side === "twoSyncs" ? 1 : IN_FLIGHT;
    return await timed(records, () =>
      ready === undefined ? inFlight(calls, window, (call) => write(rowsOf(call))) : inFlight(ready, window, write),
    );
  } finally {
    await Promise.all([db.close(), file?.close()]);
  }
}

/** A write returns when its bytes are on disk, as ours does. */
const SECOND = constants.O_WRONLY | constants.O_CREAT | constants.O_DSYNC | constants.O_APPEND;

function recordsIn(records: number, group: number): LogRecord[][] {
  return chunks(records, group).map(([from, to]) => span(from, to).map((seq) => recordOf(seq)));
}

async function timed(records: number, work: () => Promise<void>): Promise<Sample> {
  const before = process.cpuUsage();
  const startedMs = performance.now();
  await work();
  const perSecond = (records / (performance.now() - startedMs)) * 1000;
  const { user, system } = process.cpuUsage(before);
  return { perSecond, cpuMicros: (user + system) / records };
}

/** Commits through the store: latency of one committer and of 64, and records/s with 2,000 in flight. */
async function throughStore(directory: string, records: number): Promise<Record<string, number>> {
  const store = await openStore({ directory, log: silentLog() });
  try {
    const commit = (seq: number) => store.commit({ actor: "bench", mutations: recordOf(seq).mutations });
    const measure = async (count: number, window: number) => {
      const latencies: number[] = [];
      const startedMs = performance.now();
      await inFlight(span(1, count), window, async (seq) => {
        const beganMs = performance.now();
        await commit(seq);
        latencies.push(performance.now() - beganMs);
      });
      latencies.sort((a, b) => a - b);
      const at = (share: number) => round2(latencies[Math.floor(latencies.length * share)]!);
      return { perSecond: Math.round((count / (performance.now() - startedMs)) * 1000), p50: at(0.5), p99: at(0.99) };
    };
    const alone = await measure(1_000, 1);
    const many = await measure(20_000, 64);
    const full = await measure(records, 2_000);
    return {
      commitsPerSecond: alone.perSecond,
      commitP50Ms: alone.p50,
      commitP99Ms: alone.p99,
      commitsPerSecond64: many.perSecond,
      commitP99Ms64: many.p99,
      storeRecordsPerSecond: full.perSecond,
    };
  } finally {
    await store.close();
  }
}

async function reopening(
  directory: string,
  records: number,
  say: (line: string) => void,
): Promise<{ figures: Record<string, number>; note: string }> {
  const keys = Math.max(1, records / 10);
  let log: Log = await openLevelLog({ directory, logger: silentLog() });
  try {
    const writingMs = performance.now();
    await inFlight(chunks(records, 1000), IN_FLIGHT, ([from, to]) =>
      log.append(span(from, to).map((seq) => recordOf(seq, keys))),
    );
    const sustained = Math.round((records / (performance.now() - writingMs)) * 1000);
    say(`${records} records written, ${sustained}/s with snapshots and trimming`);
    await log.close();
    const startedMs = performance.now();
    log = await openLevelLog({ directory, logger: silentLog() });
    const reopenMs = Math.round(performance.now() - startedMs);
    const { oldestSeq, headSeq, entries } = log.report;
    await log.close();
    const storeMs = performance.now();
    const store = await openStore({ directory, log: silentLog() });
    const storeOpenMs = Math.round(performance.now() - storeMs);
    await store.close();
    const note = `reopened after ${headSeq} records: ${headSeq - oldestSeq + 1} retained and verified, ${entries} view entries verified and loaded`;
    return { figures: { sustainedRecordsPerSecond: sustained, reopenMs, storeOpenMs }, note };
  } finally {
    await log.close();
  }
}

/** Runs `work` over the items, `window` of them at a time. */
async function inFlight<T>(items: readonly T[], window: number, work: (item: T) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < items.length) await work(items[next++]!);
  };
  await Promise.all(Array.from({ length: Math.min(window, items.length) }, worker));
}

function chunks(count: number, size: number): [from: number, to: number][] {
  return Array.from({ length: Math.ceil(count / size) }, (_, i) => [i * size + 1, Math.min((i + 1) * size, count)]);
}

const span = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const round2 = (value: number): number => Math.round(value * 100) / 100;

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

function rotate<T>(items: readonly T[], by: number): T[] {
  return items.map((_, i) => items[(i + by) % items.length]!);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { figures, ratios, notes } = await run({ log: (line) => console.error(line) });
  console.table(figures);
  console.table(ratios);
  for (const note of notes) console.log(note);
}
