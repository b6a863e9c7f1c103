// LevelDB itself: opening it, verifying what it holds, staging records into a batch, building one anew.
import { rm } from "node:fs/promises";
import { Level } from "level";
import { Fault } from "#api/fault.ts";
import { type Frame, frameTexts, parseFrame } from "./frame.ts";
import {
  addRow,
  HEAD_ROW,
  type Head,
  headRow,
  LOG_ROWS,
  logKey,
  parseHead,
  parseViewRow,
  removeRow,
  VIEW_ROWS,
  viewKey,
  viewRow,
} from "./level-rows.ts";
import { type LogRecord, type ViewEntry, viewChanges } from "./log.ts";
import { decodeRecord } from "./record.ts";
import { damagedTable } from "./table-check.ts";

export type Database = Level<string, string>;
export type Batch = ReturnType<Database["batch"]>;

const READ_CHUNK = 1000;
const BUILD_CHUNK = 2000;
const WRITE_BUFFER_BYTES = 32 << 20;

/** What LevelDB holds and, for each view key, the checksum of its row. */
export interface LevelState {
  head: Head;
  checks: Map<string, number>;
}

export interface Inspection {
  state: LevelState;
  entries: ViewEntry[];
  /** What does not verify; undefined when everything does. */
  damage: string | undefined;
}

/** Opens the database; LevelDB's error as `damage` text when its files are broken, a Fault when the surroundings are. */
export async function openDatabase(path: string, create = false): Promise<Database | { damage: string }> {
  const damage = create ? undefined : await damagedTable(path);
  if (damage !== undefined) return { damage };
  const db: Database = new Level(path, {
    createIfMissing: create,
    errorIfExists: create,
    writeBufferSize: WRITE_BUFFER_BYTES,
  });
  try {
    await db.open();
    return db;
  } catch (error) {
    const cause = ((error as Error).cause ?? error) as Error & { code?: string };
    if (cause.code === "LEVEL_LOCKED")
      throw new Fault("conflict", `state directory ${path} is in use by another process`, { cause });
    const surroundings = /No space left|Permission denied|Read-only file system|Too many open files|Disk quota/.exec(
      cause.message,
    );
    if (surroundings)
      throw new Fault("unavailable", `open state in ${path}: ${surroundings[0].toLowerCase()}`, { cause });
    return { damage: cause.message };
  }
}

export function readHead(db: Database): Head | undefined {
  const row = db.getSync(HEAD_ROW);
  return row === undefined ? undefined : parseHead(row);
}

/** Reads everything once: the chain over the retained records, each view row, and the digest over all of them. */
export async function inspect(db: Database, head: Head): Promise<Inspection> {
  const found: Inspection = { state: { head, checks: new Map() }, entries: [], damage: undefined };
  try {
    found.damage = (await inspectChain(db, head)) ?? (await inspectView(db, found));
  } catch (error) {
    found.damage = (error as Error).message;
  }
  return found;
}

async function inspectChain(db: Database, head: Head): Promise<string | undefined> {
  let seq = head.baseSeq - 1;
  let hash = head.baseHash;
  for await (const [key, bytes] of frameRows(db, head.baseSeq)) {
    const frame = parseFrame(bytes);
    const next = seq + 1;
    if (frame === undefined) return `the records from ${next} on do not match their hash`;
    if (logKey(frame.lastSeq) !== key) return `the row ${key} holds records ${frame.firstSeq} to ${frame.lastSeq}`;
    if (frame.firstSeq !== next) return `record ${next} is missing; the next one there is ${frame.firstSeq}`;
    if (frame.before !== hash) return `record ${next} does not go on from the one before it in the hash chain`;
    seq = frame.lastSeq;
    hash = frame.hash;
  }
  if (seq !== head.seq) return `the head says record ${head.seq}, the records end at ${seq}`;
  return hash === head.hash ? undefined : `record ${seq} is not the one the head names`;
}

async function inspectView(db: Database, found: Inspection): Promise<string | undefined> {
  const { head, checks } = found.state;
  const digest = { count: 0, sum: 0 };
  for await (const [rowKey, row] of viewRows(db)) {
    const key = rowKey.slice(2);
    const parsed = parseViewRow(key, row);
    if (parsed === undefined) return `the view entry ${JSON.stringify(key)} does not match its checksum`;
    addRow(digest, parsed.check);
    checks.set(key, parsed.check);
    found.entries.push({ key, value: JSON.parse(parsed.valueText), version: parsed.version });
  }
  if (digest.count !== head.view.count) return `the view has ${digest.count} entries instead of ${head.view.count}`;
  return digest.sum === head.view.sum ? undefined : "the view holds entries that are not the newest";
}

/** Frames from `fromSeq` on, as far as they form one chain from `hash`; reading stops at the first that does not. */
export async function chainFrom(db: Database, fromSeq: number, hash: string): Promise<Frame[]> {
  const frames: Frame[] = [];
  let next = fromSeq;
  let before = hash;
  try {
    for await (const [, bytes] of frameRows(db, fromSeq)) {
      const frame = parseFrame(bytes);
      if (frame === undefined || frame.firstSeq !== next || frame.before !== before) break;
      frames.push(frame);
      next = frame.lastSeq + 1;
      before = frame.hash;
    }
  } catch {
    // a block that cannot be read ends the chain
  }
  return frames;
}

/** Rows of frames from the one that holds `fromSeq` on, their bytes unread. */
export function frameRows(db: Database, fromSeq: number): AsyncGenerator<[string, Buffer], void, undefined> {
  const range = { gte: logKey(fromSeq), lt: LOG_ROWS.lt, ...SCAN };
  return chunked(db.iterator<string, Buffer>({ ...range, valueEncoding: "buffer" }));
}

export function viewRows(db: Database): AsyncGenerator<[string, string], void, undefined> {
  return chunked(db.iterator({ ...VIEW_ROWS, ...SCAN }));
}

const SCAN = { fillCache: false, highWaterMarkBytes: 1 << 20 };

interface Chunks<V> {
  nextv(size: number): Promise<[string, V][]>;
  close(): Promise<void>;
}

/** Key and value in chunks, closed whatever happens. */
async function* chunked<V>(iterator: Chunks<V>): AsyncGenerator<[string, V], void, undefined> {
  try {
    for (;;) {
      const chunk = await iterator.nextv(READ_CHUNK);
      if (chunk.length === 0) return;
      yield* chunk;
    }
  } finally {
    await iterator.close();
  }
}

/** Puts what the record does to the view into the batch and moves the state on by it, all but the hash. */
export function stage(state: LevelState, batch: Batch, record: LogRecord, values: readonly string[]): void {
  const { head, checks } = state;
  const { seq, term } = record;
  const changes = viewChanges(record);
  for (let index = 0; index < changes.length; index++) {
    const { key, value } = changes[index]!;
    const old = checks.get(key);
    if (old !== undefined) removeRow(head.view, old);
    if (value === null) {
      checks.delete(key);
      batch.del(viewKey(key));
    } else {
      const { row, check } = viewRow(key, seq, values[index] ?? JSON.stringify(value));
      addRow(head.view, check);
      checks.set(key, check);
      batch.put(viewKey(key), row);
    }
  }
  head.seq = seq;
  if (term > head.term) head.term = term;
}

const AS_BYTES = { valueEncoding: "buffer" };

export function putFrame(batch: Batch, { lastSeq, bytes }: Frame): void {
  batch.put<string, Buffer>(logKey(lastSeq), bytes, AS_BYTES);
}

/** Applies frames that LevelDB lacks, durably, to the byte as they are. */
export async function forward(db: Database, state: LevelState, frames: readonly Frame[]): Promise<void> {
  for (let at = 0; at < frames.length; ) {
    const batch = db.batch();
    const fromSeq = state.head.seq;
    for (; at < frames.length && state.head.seq - fromSeq < BUILD_CHUNK; at++) {
      const frame = frames[at]!;
      for (const text of frameTexts(frame)) stage(state, batch, decodeRecord(text), []);
      putFrame(batch, frame);
      state.head.hash = frame.hash;
    }
    batch.put(HEAD_ROW, headRow(state.head));
    await batch.write({ sync: true });
  }
}

/** A new database at `path` with this view, then these records; anything there before is removed. */
export async function build(
  path: string,
  base: Head,
  entries: readonly ViewEntry[],
  frames: readonly Frame[],
): Promise<void> {
  await rm(path, { recursive: true, force: true });
  const db = await openDatabase(path, true);
  if ("damage" in db) throw new Fault("unavailable", `create state in ${path}: ${db.damage}`);
  try {
    const state: LevelState = { head: { ...base, view: { count: 0, sum: 0 } }, checks: new Map() };
    for (let at = 0; at < entries.length; at += BUILD_CHUNK) {
      const batch = db.batch();
      for (const { key, version, value } of entries.slice(at, at + BUILD_CHUNK)) {
        const { row, check } = viewRow(key, version, JSON.stringify(value));
        addRow(state.head.view, check);
        state.checks.set(key, check);
        batch.put(viewKey(key), row);
      }
      await batch.write();
    }
    await db.put(HEAD_ROW, headRow(state.head), { sync: true });
    await forward(db, state, frames);
  } finally {
    await db.close();
  }
}
