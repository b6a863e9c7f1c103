// Large files by content hash over plain HTTP: HEAD, one Range, ETag, always a Content-Length, never a redirect and never chunked (UEFI
// HTTP boot and iPXE want it so). Memory is that of the shared chunk cache.
import { type FileHandle, open } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ChunkCache } from "./chunks.ts";
import { parseRange } from "./range.ts";

/** Pieces handed to one connection and not yet taken by it. */
const PIECES_AHEAD = 3;

export interface FileVersion {
  path: string;
  sha256: string;
  sizeBytes: number;
  /** The version that was hashed; another one is not served. */
  mtimeMs: number;
  /** For whoever asked and nobody between: no cache may keep it. */
  isSecret?: boolean;
}

export interface Sent {
  /** Bytes handed to the connection, of those asked for. */
  sentBytes: number;
  askedBytes: number;
  durationMs: number;
  /** The whole file went out in this one request. */
  whole: boolean;
}

/** Answers the request; resolves with what was sent once the response has ended or the client has gone. */
export async function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  { sha256, sizeBytes, path, mtimeMs, isSecret = false }: FileVersion,
  chunks: ChunkCache,
): Promise<Sent | undefined> {
  const etag = `"sha256-${sha256}"`;
  const headers = {
    "Content-Type": "application/octet-stream",
    etag,
    "accept-ranges": "bytes",
    "cache-control": isSecret ? "no-store" : "public, max-age=31536000, immutable",
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
    response.writeHead(416, { ...headers, "content-range": `bytes */${sizeBytes}`, "Content-Length": 0 }).end();
    return undefined;
  }
  const [first, last] = range.kind === "part" ? [range.first, range.last] : [0, sizeBytes - 1];
  const partial = range.kind === "part" ? { "content-range": `bytes ${first}-${last}/${sizeBytes}` } : {};
  const status = range.kind === "part" ? 206 : 200;
  const send = () => response.writeHead(status, { ...headers, ...partial, "Content-Length": last - first + 1 });
  if (request.method === "HEAD") {
    send().end();
    return undefined;
  }
  await using file = await open(path, "r");
  const now = await file.stat();
  if (now.size !== sizeBytes || now.mtimeMs !== mtimeMs) {
    response.writeHead(503, { "Content-Length": 0 }).end(); // changed since it was verified
    return undefined;
  }
  send();
  const startedAt = performance.now();
  const sentBytes = await sendBytes(response, { key: sha256, file, sizeBytes, first, last }, chunks);
  return {
    sentBytes,
    askedBytes: last - first + 1,
    durationMs: performance.now() - startedAt,
    whole: first === 0 && last === sizeBytes - 1,
  };
}

interface Span {
  key: string;
  file: FileHandle;
  sizeBytes: number;
  first: number;
  last: number;
}

/** Sends the span, a few pieces ahead of the connection; resolves with the bytes that left when it ends or the client goes. */
async function sendBytes(response: ServerResponse, span: Span, chunks: ChunkCache): Promise<number> {
  const { key, file, sizeBytes, first, last } = span;
  const inFlight = new Set<() => void>();
  let sentBytes = 0;
  let moved = () => {};
  let gone = false;
  response.once("close", () => {
    gone = true;
    moved();
  });
  const movement = () => new Promise<void>((resolve) => (moved = resolve));
  try {
    for (let at = first; at <= last && !gone; ) {
      const { bytes, release } = await chunks.take(key, file, at, sizeBytes);
      const part = bytes.subarray(0, last - at + 1);
      at += part.length;
      inFlight.add(release);
      response.write(part, (error) => {
        if (inFlight.delete(release)) release();
        if (!error) sentBytes += part.length;
        moved();
      });
      while (inFlight.size >= PIECES_AHEAD && !gone) await movement();
    }
    response.end();
    while (inFlight.size > 0 && !gone) await movement();
  } catch (error) {
    response.destroy();
    throw error;
  } finally {
    for (const release of inFlight) release(); // of a connection that is gone
    inFlight.clear();
  }
  return sentBytes;
}
