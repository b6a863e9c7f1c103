// Takes in the layer that a buildpack build made: a gzipped tar, checked as it streams by. It may only add to app/; both of its
// hashes (as sent, and unpacked: the diff_id of the OCI image spec) are taken on the way.
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { rm } from "node:fs/promises";
import { type Readable, Transform, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import * as tar from "tar-stream";
import { Fault, isFault } from "#api/fault.ts";
import { joined } from "#lib/time.ts";
import { formatSize } from "#lib/units.ts";
import { noBomb, type UnpackLimits } from "../disk/bounds.ts";
import type { Product } from "./record.ts";
import type { RawEntry } from "./source-tree.ts";

export interface SlugLimits extends UnpackLimits {
  sentBytes: number;
  unpackedBytes: number;
  entries: number;
}
export const SLUG_LIMITS: SlugLimits = {
  sentBytes: 2 * 1024 ** 3,
  unpackedBytes: 8 * 1024 ** 3,
  entries: 1_000_000,
  ratio: 200,
  freeBytes: 256 * 1024 ** 2,
};

/** Faults: `invalid` (no sound slug), `too-large`, `no-capacity`. Nothing is left at `file` then. */
export async function takeSlug(
  sent: Readable,
  { file, signal, limits = SLUG_LIMITS }: { file: string; signal: AbortSignal; limits?: SlugLimits },
): Promise<Extract<Product, { type: "slug" }>> {
  const asSent = counted(limits.sentBytes, "the slug is");
  const unpacked = counted(limits.unpackedBytes, "the slug unpacked is");
  const gunzip = createGunzip();
  const extract = tar.extract();
  const failed = new AbortController();
  const { signal: ended, release } = joined(signal, failed.signal);
  const tee = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (gunzip.writableEnded || gunzip.destroyed) return done(null, chunk);
      if (gunzip.write(chunk)) return done(null, chunk);
      gunzip.once("drain", () => done(null, chunk));
    },
    flush(done) {
      gunzip.end();
      done();
    },
  });
  const kept = pipeline(sent, asSent.stream, tee, createWriteStream(file, { mode: 0o600 }), { signal: ended });
  const sound = noBomb("the slug", limits, asSent.size);
  const read = pipeline(gunzip, sound, unpacked.stream, extract as unknown as Writable, { signal: ended });
  for (const one of [kept, read]) one.catch((error: unknown) => failed.abort(error));
  try {
    const check = slugCheck();
    let entries = 0;
    for await (const entry of extract) {
      if (++entries > limits.entries) throw new Fault("too-large", `the slug has more than ${limits.entries} files`);
      check(entry.header as RawEntry);
      (entry as unknown as Readable).resume();
      ended.throwIfAborted();
    }
    await Promise.all([kept, read]);
    if (entries === 0) throw new Fault("invalid", "the slug is empty");
    // Registries' own readers take what follows the compressed data for damage; ours would pass over it.
    if (gunzip.bytesWritten !== asSent.size()) throw new Fault("invalid", "the slug has something behind its end");
    return {
      type: "slug",
      digest: `sha256:${asSent.digest()}`,
      diffId: `sha256:${unpacked.digest()}`,
      sizeBytes: asSent.size(),
    };
  } catch (error) {
    const cause = failed.signal.aborted && !isFault(error) ? failed.signal.reason : error;
    failed.abort(cause);
    for (const stream of [gunzip, extract, sent]) stream.destroy();
    await Promise.allSettled([kept, read]);
    await rm(file, { force: true });
    throw slugFault(cause);
  } finally {
    release();
  }
}

/** Refuses whatever would reach beyond app/ when it is laid on an image. */
function slugCheck(): (entry: RawEntry) => void {
  const links = new Set<string>();
  return ({ name, type, mode = 0, linkname }) => {
    const parts = name.split("/").filter((part) => part !== "" && part !== ".");
    const path = parts.join("/");
    const bad = (why: string) =>
      new Fault("invalid", `the slug is refused: ${JSON.stringify(name.slice(0, 200))} ${why}`);
    if (name.startsWith("/") || parts.includes("..") || parts[0] !== "app") {
      if (path === "" && type === "directory") return;
      throw bad("does not lie in app/");
    }
    if (parts.some((part) => part.startsWith(".wh."))) throw bad("would remove files of the image");
    if (!["file", "contiguous-file", "directory", "symlink", "link"].includes(type ?? ""))
      throw bad("is neither a file, a directory nor a link");
    if (type !== "directory" && (mode & 0o6000) !== 0) throw bad("has the setuid or setgid bit");
    for (let n = 1; n < parts.length; n++)
      if (links.has(parts.slice(0, n).join("/"))) throw bad("lies under a symlink");
    if (type === "symlink") {
      if (path === "app") throw bad("is a symlink");
      links.add(path);
    } else links.delete(path);
    if (type === "link") {
      const target = (linkname ?? "").split("/").filter((part) => part !== "" && part !== ".");
      if (target[0] !== "app" || target.includes("..")) throw bad("is a hard link out of app/");
    }
  };
}

function counted(mostBytes: number, what: string): { stream: Transform; digest(): string; size(): number } {
  const hash = createHash("sha256");
  let size = 0;
  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      if (size > mostBytes) return done(new Fault("too-large", `${what} larger than ${formatSize(mostBytes)}`));
      hash.update(chunk);
      done(null, chunk);
    },
  });
  return { stream, digest: () => hash.digest("hex"), size: () => size };
}

function slugFault(cause: unknown): Fault {
  if (isFault(cause)) return cause;
  const { code = "", message = "" } = (cause ?? {}) as NodeJS.ErrnoException;
  if (code === "ENOSPC") return new Fault("no-capacity", "control's disk is full; the slug was not kept", { cause });
  if (code.startsWith("Z_") || /tar header|Header exceeds|Invalid header|Unexpected end of data/.test(message))
    return new Fault("invalid", "the slug is no sound gzipped tar archive", { cause });
  return new Fault("unavailable", "the slug broke off on its way", { cause });
}
