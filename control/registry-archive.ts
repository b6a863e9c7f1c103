// Takes an image archive in: unpacked once if it is packed as a whole, every layer in it looked through as it streams by, and kept as
// a plain tar, so that what reads it afterwards has nothing left to unpack on this disk, and hosts no more than was counted here.
import { open, rm } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress, type Gunzip, type ZstdDecompress } from "node:zlib";
import { Fault, isFault } from "#api/fault.ts";
import { isTarHeader, type TarEntry, type TarWalk, tarWalk } from "#lib/tar-walk.ts";
import { formatSize } from "#lib/units.ts";
import { atMost, bombFault, isBomb, type UnpackLimits } from "./disk/bounds.ts";
import { imageLayers, type Weight } from "./image-layers.ts";

export interface ImageLimits extends UnpackLimits {
  /** As sent. */
  sentBytes: number;
  /** Of all layers together, and of the archive itself, unpacked. */
  unpackedBytes: number;
  /** Of the archive and of all its layers. */
  entries: number;
}
export const IMAGE_LIMITS: ImageLimits = {
  sentBytes: 20 * 1024 ** 3,
  unpackedBytes: 60 * 1024 ** 3,
  entries: 3_000_000,
  ratio: 200,
  freeBytes: 256 * 1024 ** 2,
};

export interface TakenImage {
  /** As sent. */
  sizeBytes: number;
  /** Of the archive, or of the image, a layer counted as often as the image names it: whichever is more. */
  unpackedBytes: number;
  entries: number;
}

const WHAT = "the archive";
const NO_IMAGE = "the archive is not a sound `docker save` image: it";
const LAYER = "a layer of the image";
const BLOCK = 512;

/** Faults: `invalid`, `too-large`, `no-capacity`, that of the sender's stream. Nothing is left at `file` then. */
export async function takeImageArchive(
  sent: Readable,
  options: { file: string; signal: AbortSignal; limits?: ImageLimits },
): Promise<TakenImage> {
  const { file, signal, limits = IMAGE_LIMITS } = options;
  const tooLong = () =>
    new Fault("too-large", `${WHAT} is larger than ${formatSize(limits.sentBytes)}, the most that is taken`);
  const received = atMost(limits.sentBytes, tooLong);
  const count = counting(limits, received.passed);
  const flow = pipeline(sent, received.stream, { signal });
  flow.catch(() => undefined); // the reader of the stream hears it
  const handle = await open(file, "wx", 0o600);
  try {
    const entries = entryReader(count);
    for await (const bytes of plainOf(received.stream)) {
      await entries.write(bytes);
      await handle.writeFile(bytes);
    }
    await flow;
    if (received.passed() === 0) throw new Fault("invalid", "the upload is empty");
    await entries.end();
    return { sizeBytes: received.passed(), ...count.totals() };
  } catch (cause) {
    sent.destroy();
    await rm(file, { force: true });
    throw faultOf(cause);
  } finally {
    await handle.close();
  }
}

export interface BlobCount {
  /** Faults `invalid`, `too-large`. */
  write(bytes: Buffer): Promise<void>;
  end(): Promise<void>;
  totals(): { unpackedBytes: number; entries: number };
}

/** Looks through one blob of an image by itself, a layer or not, as through those of an archive. */
export function blobCount(limits: ImageLimits = IMAGE_LIMITS): BlobCount {
  let sentBytes = 0;
  const count = counting(limits, () => sentBytes);
  const reader = layerReader(count);
  const orFault = (cause: unknown): never => {
    throw faultOf(cause);
  };
  return {
    async write(bytes) {
      sentBytes += bytes.length;
      if (sentBytes > limits.sentBytes)
        throw new Fault("too-large", `${LAYER} is larger than ${formatSize(limits.sentBytes)}, the most that is taken`);
      await reader.write(bytes).catch(orFault);
    },
    end: () => reader.end().catch(orFault),
    totals: count.totals,
  };
}

/** The archive's own bytes, whether it was packed as a whole or not. */
async function* plainOf(received: Readable): AsyncGenerator<Buffer> {
  const chunks = received[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let head = Buffer.alloc(0);
  let given = 0;
  async function* all(): AsyncGenerator<Buffer> {
    given = head.length;
    if (head.length > 0) yield head;
    for (let next = await chunks.next(); !next.done; next = await chunks.next()) {
      given += next.value.length;
      yield next.value;
    }
  }
  while (head.length < BLOCK) {
    const next = await chunks.next();
    if (next.done) break;
    head = Buffer.concat([head, next.value]);
  }
  const unpack = unpackerOf(head, WHAT);
  if (unpack === undefined) return yield* all();
  pipeline(all, unpack).catch((error: unknown) => unpack.destroy(error as Error));
  yield* unpack as unknown as AsyncIterable<Buffer>;
  if (unpack.bytesWritten !== given) throw more(WHAT);
}

/** Other readers go on where ours ends: a second frame of zstd is unpacked by hosts, and not counted here. */
const more = (what: string) =>
  new Fault("invalid", `${what} goes on behind the end of what it is packed in: send it plain, or gzipped`);

/** The way to unpack what begins so; undefined for what is not packed. Fault `invalid` for what is packed in a way nobody here unpacks. */
function unpackerOf(head: Buffer, what: string): Unpack | undefined {
  const hex = head.toString("hex", 0, 6);
  if (hex.startsWith("1f8b")) return createGunzip();
  if (hex.startsWith("28b52ffd") || /^5.2a4d18/.test(hex)) return createZstdDecompress();
  if (hex.startsWith("425a68") || hex === "fd377a585a00")
    throw new Fault(
      "invalid",
      `${what} is packed with ${hex === "fd377a585a00" ? "xz" : "bzip2"}: send it plain, or gzipped`,
    );
  return undefined;
}

type Unpack = Gunzip | ZstdDecompress;

interface Sink {
  write(bytes: Buffer): Promise<void>;
  end(): Promise<void>;
}

/** What readers of manifests read at most. */
const MANIFEST_MOST_BYTES = 4 << 20;

/** Reads the archive's entries; each is looked into as a layer when it is one, and as a manifest when it may be. */
function entryReader(count: Counting): Sink {
  const parts: (Buffer | TarEntry)[] = [];
  const walk = tarWalk((why) => new Fault("invalid", `${NO_IMAGE} ${why}`), {
    entry(entry) {
      count.entry(entry.sizeBytes);
      parts.push(entry);
    },
    content: (bytes) => void parts.push(bytes),
  });
  const layers = imageLayers();
  let entry: TarEntry | undefined;
  let layer: Sink | undefined;
  let text: Buffer[] | undefined;
  let before = count.totals();
  const endEntry = async (): Promise<void> => {
    await layer?.end();
    if (text !== undefined) layers.manifest(Buffer.concat(text).toString("utf8"));
    const { unpackedBytes, entries } = count.totals();
    const weight = { bytes: unpackedBytes - before.unpackedBytes, entries: entries - before.entries };
    if (entry !== undefined && entry.name !== "") layers.piece(entry.name, entry.isLink ? "link" : weight);
    layer = undefined;
    text = undefined;
  };
  return {
    async write(bytes) {
      walk.feed(bytes);
      for (const part of parts.splice(0)) {
        if (!Buffer.isBuffer(part)) {
          await endEntry();
          entry = part;
          before = count.totals();
          continue;
        }
        if (layer === undefined && mayBeManifest(part, entry!)) text = [];
        text?.push(part);
        layer ??= layerReader(count);
        await layer.write(part);
      }
    },
    async end() {
      walk.end();
      await endEntry();
      count.image(layers.weight());
    },
  };
}

const mayBeManifest = (head: Buffer, { sizeBytes }: TarEntry): boolean =>
  sizeBytes <= MANIFEST_MOST_BYTES && /^[ \t\r\n]*($|[{[])/.test(head.toString("latin1", 0, MANIFEST_MOST_BYTES));

/** Content of one entry: a layer, packed or not, or something else, which counts by its bytes. */
function layerReader(count: Counting): Sink {
  let head: Buffer | undefined = Buffer.alloc(0);
  let sink: Sink | undefined;
  const begin = async (): Promise<void> => {
    const bytes = head!;
    head = undefined;
    const unpack = unpackerOf(bytes, LAYER);
    sink = unpack === undefined ? tarReader(count) : unpacked(unpack, tarReader(count));
    await sink.write(bytes);
  };
  return {
    async write(bytes) {
      if (head === undefined) return sink!.write(bytes);
      head = Buffer.concat([head, bytes]);
      if (head.length >= BLOCK) await begin();
    },
    async end() {
      if (head !== undefined) await begin();
      await sink!.end();
    },
  };
}

function unpacked(unpack: Unpack, into: Sink): Sink {
  const reading = (async () => {
    for await (const bytes of unpack as unknown as AsyncIterable<Buffer>) await into.write(bytes);
    await into.end();
  })();
  let failed = false;
  let given = 0;
  reading.catch(() => {
    failed = true;
    unpack.destroy();
  });
  return {
    async write(bytes) {
      given += bytes.length;
      if (unpack.readableEnded) throw more(LAYER);
      if (!failed && !unpack.write(bytes))
        await Promise.race([reading, new Promise<void>((resolve) => unpack.once("drain", resolve))]);
      if (failed) await reading;
    },
    async end() {
      unpack.end();
      await reading;
      if (unpack.bytesWritten !== given) throw more(LAYER);
    },
  };
}

/** A plain layer's entries; what does not begin as a tar archive does is no layer, and only its bytes count. */
function tarReader(count: Counting): Sink {
  let first: Buffer | undefined = Buffer.alloc(0);
  let walk: TarWalk | undefined;
  return {
    async write(bytes) {
      count.unpacked(bytes.length);
      if (first === undefined) return walk?.feed(bytes);
      first = Buffer.concat([first, bytes]);
      if (first.length < BLOCK) return;
      const whole = first;
      first = undefined;
      if (!isTarHeader(whole.subarray(0, BLOCK))) return;
      walk = tarWalk((why) => new Fault("invalid", `${LAYER} ${why}`), {
        entry: ({ sizeBytes }) => count.entry(sizeBytes),
      });
      walk.feed(whole);
    },
    async end() {
      walk?.end();
    },
  };
}

interface Counting {
  entry(sizeBytes: number): void;
  unpacked(bytes: number): void;
  /** The image as hosts unpack it, known at the end. */
  image(weight: Weight): void;
  totals(): { unpackedBytes: number; entries: number };
}

function counting(limits: ImageLimits, sentBytes: () => number): Counting {
  let unpackedBytes = 0;
  let entries = 0;
  const tooMuch = () => new Fault("too-large", `the image is larger than ${formatSize(limits.unpackedBytes)} unpacked`);
  const check = (): void => {
    if (entries > limits.entries)
      throw new Fault("too-large", `the image has more than ${limits.entries} files, the most there may be`);
    if (unpackedBytes > limits.unpackedBytes) throw tooMuch();
    if (isBomb(limits, sentBytes(), unpackedBytes)) throw bombFault("the image", limits);
  };
  return {
    entry(sizeBytes) {
      entries++;
      check();
      if (sizeBytes > limits.unpackedBytes) throw tooMuch();
    },
    unpacked(bytes) {
      unpackedBytes += bytes;
      check();
    },
    image(weight) {
      unpackedBytes = Math.max(unpackedBytes, weight.bytes);
      entries = Math.max(entries, weight.entries);
      check();
    },
    totals: () => ({ unpackedBytes, entries }),
  };
}

function faultOf(cause: unknown): Fault {
  if (isFault(cause)) return cause;
  const { code = "" } = (cause ?? {}) as NodeJS.ErrnoException;
  if (code === "ENOSPC") return new Fault("no-capacity", "the disk is full; nothing of the upload was kept", { cause });
  if (/^(Z_|ERR_ZSTD|ZSTD_|ERR_ZLIB|ERR_BUFFER_TOO_LARGE)/.test(code))
    return new Fault("invalid", `${WHAT}, or a layer in it, is not soundly packed`, { cause });
  return new Fault("invalid", "the upload broke off; nothing was kept", { cause });
}
