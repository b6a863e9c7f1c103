// Looks through an image's layers as they stream by on their way to Docker: a plain tar archive or a gzipped one and nothing else,
// by its bytes, as Docker goes by them; how many bytes and files it unpacks to, as often as the image names it.
import { createGunzip } from "node:zlib";
import { Fault } from "#api/fault.ts";
import { tarWalk } from "#lib/tar-walk.ts";
import { formatSize } from "#lib/units.ts";

export interface LayerLimits {
  /** Unpacked, all layers together. */
  bytes: number;
  entries: number;
  /** Bytes unpacked for each that came, once there are more than `freeBytes`. */
  ratio: number;
  freeBytes: number;
}
export const LAYER_LIMITS: Omit<LayerLimits, "bytes"> = { entries: 3_000_000, ratio: 200, freeBytes: 256 * 1024 ** 2 };

/** What the smallest file takes on a disk. */
const FILE_LEAST_BYTES = 4_096;
const BLOCK = 512;
const WHAT = "a layer of the image";

export interface LayerCount {
  /** The same bytes; throws before the last of them when there is too much in it. `times`: how often the image names it. */
  passed(body: AsyncIterable<Buffer>, times: number): AsyncGenerator<Buffer>;
}

export function layerCount(limits: LayerLimits): LayerCount {
  let bytes = 0;
  let entries = 0;
  let packedBytes = 0;
  const spend = (more: number): void => {
    bytes += more;
    if (bytes > limits.bytes) throw new Fault("invalid", `it is larger than ${formatSize(limits.bytes)}`);
    if (bytes > limits.freeBytes && bytes > limits.ratio * packedBytes)
      throw new Fault("invalid", `it unpacks to more than ${limits.ratio} times what it was packed in`);
  };
  const plain = (times: number): Sink => {
    const walk = tarWalk((why) => new Fault("invalid", `${WHAT} ${why}`), {
      entry() {
        entries += times;
        if (entries > limits.entries) throw new Fault("invalid", `it has more than ${limits.entries} files`);
        spend((FILE_LEAST_BYTES - BLOCK) * times);
      },
    });
    return {
      write(chunk) {
        spend(chunk.length * times);
        walk.feed(chunk);
      },
      end: () => walk.end(),
    };
  };
  return {
    async *passed(body, times) {
      let sink: Sink | undefined;
      try {
        for await (const chunk of withHead(body)) {
          packedBytes += chunk.length;
          sink ??= isGzip(chunk) ? gunzipped(plain(times)) : plain(times);
          await sink.write(chunk);
          yield chunk;
        }
        if (sink === undefined) throw new Fault("invalid", `${WHAT} is empty`);
        await sink.end();
      } finally {
        sink?.close?.();
      }
    },
  };
}

interface Sink {
  write(bytes: Buffer): Promise<void> | void;
  end(): Promise<void> | void;
  close?(): void;
}

function gunzipped(into: Sink): Sink {
  const gunzip = createGunzip();
  let failed = false;
  let given = 0;
  const reading = (async () => {
    for await (const part of gunzip) await into.write(part as Buffer);
    await into.end();
  })();
  reading.catch(() => {
    failed = true;
    gunzip.destroy();
  });
  const more = () => new Fault("invalid", `${WHAT} goes on behind the end of what it is packed in`);
  return {
    async write(bytes) {
      given += bytes.length;
      if (gunzip.readableEnded) throw more();
      if (!failed && !gunzip.write(bytes))
        await Promise.race([reading, new Promise<void>((resolve) => gunzip.once("drain", resolve))]);
      if (failed) await reading;
    },
    async end() {
      gunzip.end();
      await reading;
      if (gunzip.bytesWritten !== given) throw more();
    },
    close: () => void gunzip.destroy(),
  };
}

/** RFC 8878: zstd's own frames and those to be skipped; Docker takes both for zstd. */
const OTHERS: readonly (readonly [name: string, magic: RegExp])[] = [
  ["bzip2", /^425a68/],
  ["xz", /^fd377a585a00/],
  ["zstd", /^(28b52ffd|5.2a4d18)/],
];

function isGzip(head: Buffer): boolean {
  const hex = head.toString("hex", 0, 6);
  const other = OTHERS.find(([, magic]) => magic.test(hex));
  if (other) throw new Fault("invalid", `${WHAT} is packed with ${other[0]}, which is not taken: only gzip is`);
  return hex.startsWith("1f8b");
}

/** The same bytes, the first piece long enough to be known by. */
async function* withHead(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let head: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of body) {
    if (head === undefined) {
      yield chunk;
      continue;
    }
    head = Buffer.concat([head, chunk]);
    if (head.length < BLOCK) continue;
    yield head;
    head = undefined;
  }
  if (head?.length) yield head;
}
