// Takes a source archive in: gunzipped if need be, each entry checked as it streams by, written again as a plain tar with
// nothing in it but names, kinds, x bits and bytes. What is refused leaves nothing behind and is seen by no host.
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { rename, rm, stat } from "node:fs/promises";
import { PassThrough, type Readable, Transform, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import * as tar from "tar-stream";
import { Fault, isFault } from "#api/fault.ts";
import { joined } from "#lib/time.ts";
import { formatSize } from "#lib/units.ts";
import { atMost, type Counted, noBomb, type UnpackLimits } from "../disk/bounds.ts";
import { isLfsPointer, LFS_POINTER_MOST_BYTES, READ_FILES, type Scanned } from "./facts.ts";
import { keepPace, type Pace } from "./pace.ts";
import { type RawEntry, type SourceTree, sourceTree, type TreeEntry } from "./source-tree.ts";
import { span } from "./words.ts";

export interface SourceLimits extends UnpackLimits {
  /** Bytes as sent. */
  sentBytes: number;
  /** Bytes of the tar archive once unpacked. */
  treeBytes: number;
  entries: number;
  timeoutMs: number;
}
export const SOURCE_LIMITS: SourceLimits = {
  sentBytes: 2 * 1024 ** 3,
  treeBytes: 4 * 1024 ** 3,
  entries: 200_000,
  ratio: 100,
  freeBytes: 64 * 1024 ** 2,
  timeoutMs: 900_000,
};

export interface Intake extends Scanned {
  sha256: string;
  sizeBytes: number;
}

export interface IntakeOptions {
  /** Where the plain tar goes. */
  file: string;
  signal: AbortSignal;
  limits?: SourceLimits;
  /** What it was packed in before it came here; left out: as it is sent. */
  packedBytes?: number;
  /** How slowly it may come; left out: as slowly as the whole time allows. */
  pace?: Pace;
  /** A single folder that holds everything is taken for the root. */
  unwrap?: boolean;
}

const SMALL_BYTES = 64 * 1024;
const BLOCK = 512;

/** Faults: `invalid` (not sound, or broke off), `too-large`, `timeout`, `no-capacity`. */
export async function takeSource(archive: Readable, options: IntakeOptions): Promise<Intake> {
  const { file, signal, limits = SOURCE_LIMITS, packedBytes, pace, unwrap = false } = options;
  const late = AbortSignal.timeout(limits.timeoutMs);
  const both = joined(signal, late);
  try {
    const plain = await openPlain(archive, { limits, packedBytes, pace, signal: both.signal });
    const taken = await rewrite(plain, { file, limits, signal: both.signal });
    const folder = unwrap ? onlyFolder(taken.tree) : undefined;
    if (folder === undefined) return intake(taken, file);
    const wrapped = `${file}.wrapped`;
    await rename(file, wrapped);
    try {
      const inner = await rewrite(createReadStream(wrapped), { file, limits, signal: both.signal, folder });
      inner.notes.push(...taken.notes, `The archive's one folder, ${folder}/, is taken for the root`);
      return await intake(inner, file);
    } finally {
      await rm(wrapped, { force: true });
    }
  } catch (cause) {
    archive.destroy();
    await rm(file, { force: true });
    throw late.aborted
      ? new Fault("timeout", `the source did not come in within ${span(limits.timeoutMs)}`, { cause })
      : faultOf(cause);
  } finally {
    both.release();
  }
}

interface Rewritten {
  tree: SourceTree;
  texts: Record<string, string>;
  lfsPointers: string[];
  entries: number;
  sha256: string;
  notes: string[];
}

interface RewriteOptions {
  file: string;
  limits: SourceLimits;
  signal: AbortSignal;
  /** Taken off every path. */
  folder?: string;
}

async function rewrite(plain: Readable, { file, limits, signal, folder }: RewriteOptions): Promise<Rewritten> {
  const tree = sourceTree();
  const texts: Record<string, string> = {};
  const lfsPointers: string[] = [];
  const hash = createHash("sha256");
  const pack = tar.pack();
  const extract = tar.extract();
  const failed = new AbortController();
  const { signal: ended, release } = joined(signal, failed.signal);
  let entries = 0;
  let treeBytes = 0;

  const written = pipeline(pack, hashing(hash), createWriteStream(file, { mode: 0o600 }), { signal: ended });
  const read = pipeline(plain, extract as unknown as Writable, { signal: ended });
  written.catch((error: unknown) => failed.abort(error));
  read.catch((error: unknown) => failed.abort(error));
  try {
    for await (const entry of extract) {
      if (++entries > limits.entries)
        throw new Fault("too-large", `the source has more than ${limits.entries} files, the most there may be`);
      const raw = entry.header as RawEntry;
      treeBytes += BLOCK + (raw.size ?? 0);
      if (treeBytes > limits.treeBytes)
        throw new Fault(
          "too-large",
          `the source is larger than ${formatSize(limits.treeBytes)} unpacked; to raise that: flynn up --app-source-limit 8GiB`,
        );
      const admitted = tree.admit(folder === undefined ? raw : without(folder, raw));
      if (admitted === undefined) entry.resume();
      else await put(pack, admitted, entry as unknown as Readable, entry.header.mtime, { texts, lfsPointers });
      ended.throwIfAborted();
    }
    await read;
    pack.finalize();
    await written;
  } catch (error) {
    // What began it: a stream that failed is the cause of the others' ends.
    const cause = failed.signal.aborted && !isFault(error) ? failed.signal.reason : error;
    failed.abort(cause);
    pack.destroy();
    extract.destroy();
    plain.destroy();
    await Promise.allSettled([written, read]);
    throw cause;
  } finally {
    release();
  }
  const left = [...tree.leftOut];
  const notes = left.slice(0, NOTES_MOST).map((what) => `${what} is left out`);
  if (left.length > NOTES_MOST) notes.push(`${left.length - NOTES_MOST} more like these are left out`);
  return { tree, texts, lfsPointers, entries: [...tree.paths()].length, sha256: hash.digest("hex"), notes };
}

/** Of what was left out so many are named. */
const NOTES_MOST = 10;

interface Findings {
  texts: Record<string, string>;
  lfsPointers: string[];
}

async function put(
  pack: tar.Pack,
  { path, kind, mode, sizeBytes, target }: TreeEntry,
  content: Readable,
  mtime: Date | undefined,
  { texts, lfsPointers }: Findings,
): Promise<void> {
  const header = { name: path, type: kind, mode, uid: 0, gid: 0, mtime: soundTime(mtime), size: sizeBytes };
  if (kind !== "file") {
    content.resume();
    pack.entry({ ...header, ...(target === undefined ? {} : { linkname: target }) });
    return;
  }
  const most = Object.hasOwn(READ_FILES, path) ? READ_FILES[path]! : undefined;
  if (most !== undefined && sizeBytes > most)
    throw new Fault("too-large", `${path} is larger than ${formatSize(most)}`);
  if (sizeBytes <= SMALL_BYTES) {
    const chunks: Buffer[] = [];
    for await (const chunk of content) chunks.push(chunk as Buffer);
    const bytes = Buffer.concat(chunks);
    if (most !== undefined) texts[path] = bytes.toString("utf8");
    if (bytes.length <= LFS_POINTER_MOST_BYTES && isLfsPointer(bytes.toString("latin1"))) lfsPointers.push(path);
    await new Promise<void>((resolve, reject) =>
      pack.entry(header, bytes, (error) => (error ? reject(error) : resolve())),
    );
    return;
  }
  await new Promise<void>((resolve, reject) => {
    const sink = pack.entry(header, (error) => (error ? reject(error) : resolve()));
    content.once("error", reject);
    pipeline(content, sink).catch(reject);
  });
}

/** Clocks before 1970 and after 2242 do not fit into every tar. */
function soundTime(mtime: Date | undefined): Date {
  const ms = mtime?.getTime() ?? 0;
  return new Date(Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 2 ** 31 * 1_000 - 1_000) : 0);
}

function without(folder: string, raw: RawEntry): RawEntry {
  const strip = (name: string) => (name === folder || name === `${folder}/` ? "." : name.slice(folder.length + 1));
  // Both come from our own first pass: normal paths, hard links by their path in the tree.
  return { ...raw, name: strip(raw.name), ...(raw.type === "link" ? { linkname: strip(raw.linkname ?? "") } : {}) };
}

/** The one top-level folder that holds everything, unless the archive said `./` and so where its root is. */
function onlyFolder(tree: SourceTree): string | undefined {
  if (tree.rooted) return undefined;
  let folder: string | undefined;
  let inside = false;
  for (const path of tree.paths()) {
    const [top] = path.split("/", 1) as [string];
    if (folder !== undefined && folder !== top) return undefined;
    folder = top;
    inside ||= path.length > top.length;
  }
  return inside && folder !== undefined && tree.kindOf(folder) === "directory" ? folder : undefined;
}

async function intake({ tree, ...rest }: Rewritten, file: string): Promise<Intake> {
  const { size: sizeBytes } = await stat(file);
  return { ...rest, sizeBytes, kindOf: tree.kindOf, paths: tree.paths };
}

/** The archive as plain tar bytes, bounded as sent and as unpacked. */
async function openPlain(
  archive: Readable,
  {
    limits,
    packedBytes,
    pace,
    signal,
  }: Pick<IntakeOptions, "packedBytes" | "pace" | "signal"> & { limits: SourceLimits },
): Promise<Readable> {
  const received = bounded(limits.sentBytes, "the archive is");
  const sent = archive.pipe(received.stream);
  sent.on("error", () => undefined); // who reads is told, also one that begins to only later
  archive.once("error", (error) => sent.destroy(error));
  if (pace) keepPace(archive, received.stream, { pace, onSlow: (fault) => sent.destroy(fault) });
  const onAbort = () => sent.destroy(signal.reason as Error);
  signal.addEventListener("abort", onAbort, { once: true });
  sent.once("close", () => signal.removeEventListener("abort", onAbort));
  const first = await firstBytes(sent, 512);
  if (first.length === 0) throw new Fault("invalid", "the source is empty: no archive was sent");
  const whole = new PassThrough();
  whole.on("error", () => undefined);
  whole.write(first);
  sent.once("error", (error) => whole.destroy(error));
  sent.pipe(whole);
  if (first[0] !== 0x1f || first[1] !== 0x8b) {
    if (first.subarray(0, 2).toString("latin1") === "PK")
      throw new Fault("invalid", "the source is a zip archive; send a tar archive, gzipped or not");
    return packedBytes === undefined ? whole : unbombed(whole, limits, () => packedBytes);
  }
  // tar-stream ignores what follows the end of an archive: both sides are bounded for what hides there.
  const room = limits.treeBytes + 64 * 1024 ** 2;
  const unpacked = bounded(room, "the source is", "unpacked").stream;
  pipeline(whole, createGunzip(), unpacked).catch((error: unknown) => unpacked.destroy(error as Error));
  return unbombed(unpacked, limits, () => packedBytes ?? received.passed());
}

function unbombed(plain: Readable, limits: SourceLimits, packedBytes: () => number): Readable {
  const passed = noBomb("the source", limits, packedBytes);
  pipeline(plain, passed).catch((error: unknown) => passed.destroy(error as Error));
  return passed;
}

function firstBytes(stream: Readable, count: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let ended = false;
    const look = () => {
      const chunk = (stream.read(count) ?? (ended ? stream.read() : null)) as Buffer | null;
      if (chunk === null && !ended) return;
      done();
      resolve(chunk ?? Buffer.alloc(0));
    };
    const onEnd = () => {
      ended = true;
      look();
    };
    const done = () => {
      stream.off("readable", look).off("end", onEnd).off("error", reject);
    };
    stream.on("readable", look).on("end", onEnd).on("error", reject);
  });
}

const bounded = (mostBytes: number, what: string, how = ""): Counted =>
  atMost(mostBytes, () => new Fault("too-large", `${what} larger than ${formatSize(mostBytes)} ${how}`.trim()));

function hashing(hash: ReturnType<typeof createHash>): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
}

function faultOf(cause: unknown): Fault {
  if (isFault(cause)) return cause;
  const { code = "", message = "" } = (cause ?? {}) as NodeJS.ErrnoException;
  if (code === "ENOSPC") return new Fault("no-capacity", "the disk is full; nothing of the source was kept", { cause });
  if (/^Invalid tar header|Header exceeds max size|Invalid header/.test(message))
    return new Fault("invalid", "the source is no sound tar archive (plain or gzipped)", { cause });
  if (code.startsWith("Z_") || /Unexpected end of data/.test(message))
    return new Fault("invalid", "the source archive is broken or cut off; nothing was kept", { cause });
  return new Fault("invalid", "the upload broke off; nothing was kept", { cause });
}
