// Kernels, initrds and root images by content hash: HEAD, one Range, ETag, always a Content-Length, never a redirect and
// never chunked (UEFI HTTP boot and iPXE want it so). Memory is that of the shared chunk cache.
import { once } from "node:events";
import { open } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Artefact } from "../images.ts";
import { CHUNK_BYTES, type ChunkCache } from "./chunks.ts";
import { parseRange } from "./range.ts";

export interface Transfer {
  artefact: Artefact;
  /** Bytes handed to the connection, of those asked for. */
  sentBytes: number;
  askedBytes: number;
  durationMs: number;
  /** The whole file went out in this one request. */
  whole: boolean;
}

/** Answers the request; resolves with what was sent once the response has ended or the client has gone. */
export async function sendArtefact(
  request: IncomingMessage,
  response: ServerResponse,
  artefact: Artefact,
  chunks: ChunkCache,
): Promise<Transfer | undefined> {
  const { sha256, sizeBytes, path } = artefact;
  const etag = `"sha256-${sha256}"`;
  const headers = {
    "content-type": "application/octet-stream",
    etag,
    "accept-ranges": "bytes",
    "cache-control": "public, max-age=31536000, immutable",
  };
  if (request.headers["if-none-match"] === etag) {
    response.writeHead(304, headers).end();
    return undefined;
  }
  const ifRange = request.headers["if-range"];
  const range =
    ifRange === undefined || ifRange === etag
      ? parseRange(request.headers.range, sizeBytes)
      : parseRange(undefined, sizeBytes);
  if (range.kind === "unsatisfiable") {
    response.writeHead(416, { ...headers, "content-range": `bytes */${sizeBytes}`, "content-length": 0 }).end();
    return undefined;
  }
  const [first, last] = range.kind === "part" ? [range.first, range.last] : [0, sizeBytes - 1];
  const partial = range.kind === "part" ? { "content-range": `bytes ${first}-${last}/${sizeBytes}` } : {};
  const status = range.kind === "part" ? 206 : 200;
  const send = () => response.writeHead(status, { ...headers, ...partial, "content-length": last - first + 1 });
  if (request.method === "HEAD") {
    send().end();
    return undefined;
  }
  await using file = await open(path, "r");
  const now = await file.stat();
  if (now.size !== sizeBytes || now.mtimeMs !== artefact.mtimeMs) {
    response.writeHead(503, { "content-length": 0 }).end(); // changed since it was verified
    return undefined;
  }
  send();
  const startedAt = performance.now();
  let at = first;
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  try {
    while (at <= last && !gone.signal.aborted) {
      const index = Math.floor(at / CHUNK_BYTES);
      const piece = await chunks.read(sha256, file, index, sizeBytes);
      const from = at - index * CHUNK_BYTES;
      const part = piece.subarray(from, Math.min(piece.length, from + (last - at) + 1));
      const flowing = response.write(part);
      at += part.length;
      if (!flowing && at <= last) await once(response, "drain", { signal: gone.signal });
    }
    if (!gone.signal.aborted) {
      response.end();
      await once(response, "finish", { signal: gone.signal });
    }
  } catch (error) {
    if (!gone.signal.aborted) {
      response.destroy();
      throw error;
    }
  }
  const unsent = gone.signal.aborted && !response.writableFinished ? response.writableLength : 0;
  return {
    artefact,
    sentBytes: Math.max(0, at - first - unsent),
    askedBytes: last - first + 1,
    durationMs: performance.now() - startedAt,
    whole: first === 0 && last === sizeBytes - 1,
  };
}
