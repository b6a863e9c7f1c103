// A build's source on this host's disk: fetched from control, never more than announced, and what its digest says.
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type BuildSpec, hostBuildSource } from "#api/builds.ts";
import type { Client } from "#api/client.ts";
import { isFault } from "#api/fault.ts";
import { retry } from "#lib/retry.ts";
import { BuildFailure } from "./failure.ts";

export interface FetchSource {
  client: Pick<Client, "download">;
  hostId: string;
  build: Pick<BuildSpec, "id" | "source">;
  path: string;
  signal: AbortSignal;
  attempts?: number;
}

export async function fetchSource(options: FetchSource): Promise<void> {
  const { client, hostId, build, path, signal, attempts = 8 } = options;
  const { sizeBytes, sha256 } = build.source;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const once = async (): Promise<void> => {
    const params = { id: hostId, build: build.id };
    const body = await client.download(hostBuildSource, { params, signal, timeoutMs: 60_000 });
    const hash = createHash("sha256");
    let received = 0;
    const check = new Transform({
      transform(chunk: Buffer, _, done) {
        received += chunk.length;
        hash.update(chunk);
        done(received > sizeBytes ? new BuildFailure("the source is larger than control said") : null, chunk);
      },
    });
    await pipeline(body, check, createWriteStream(path, { mode: 0o600 }), { signal });
    if (received !== sizeBytes || hash.digest("hex") !== sha256.replace(/^sha256:/, ""))
      throw new Error(`the source arrived damaged (${received} of ${sizeBytes} bytes)`);
  };
  const mayHelp = (error: unknown): boolean => {
    if (error instanceof BuildFailure || (error as NodeJS.ErrnoException).code === "ENOSPC") return false;
    return !isFault(error) || error.retry || isFault(error, "internal");
  };
  try {
    await retry(once, { attempts, maxMs: 10_000, signal, retryable: mayHelp });
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof BuildFailure) throw cause;
    throw new Error("fetch the source", { cause });
  }
}

export const removeSpool = (path: string): Promise<void> => rm(path, { recursive: true, force: true });
