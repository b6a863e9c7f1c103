// Gives the root image that this machine booted from on to machines that boot beside it: it is in memory anyway, and one boot server's wire
// is full after a few. Plain HTTP by content hash, a few at a time, at the machine's own address alone. Jobs reach no host (hostd/reach).
import { readFile, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { IMAGE_PEER_PORT, imagePeerPath, squashfsOfUrl } from "#api/image-peers.ts";
import { chunkCache } from "#lib/file-server/chunks.ts";
import { type FileVersion, sendFile } from "#lib/file-server/send-file.ts";
import type { Log } from "#lib/log.ts";

/** Where live-boot leaves what it fetched. */
export const ROOT_IMAGE = "/run/live/medium/live/filesystem.squashfs";
const TRANSFERS_MOST = 8;
const CONNECTIONS_MOST = 32;
const CACHE_BYTES = 4 << 20;

export interface ImagePeerOptions {
  address: string;
  log: Log;
  port?: number;
  /** Other places, for tests. */
  image?: string;
  cmdline?: string;
}

export interface ImagePeer {
  readonly port: number;
  close(): Promise<void>;
}

/** Undefined on a machine that did not boot from the network. */
export async function imagePeer(options: ImagePeerOptions): Promise<ImagePeer | undefined> {
  const { address, log, port = IMAGE_PEER_PORT } = options;
  const file = await bootedFrom(options);
  if (file === undefined) return undefined;
  const chunks = chunkCache({ maxBytes: CACHE_BYTES });
  let transfers = 0;
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const end = (status: number) => void response.writeHead(status, { "content-length": 0 }).end();
    if (request.method !== "GET" && request.method !== "HEAD") return end(405);
    if (request.url !== imagePeerPath(file.sha256)) return end(404);
    if (transfers >= TRANSFERS_MOST) return end(503);
    transfers++;
    try {
      await sendFile(request, response, file, chunks);
    } finally {
      transfers--;
    }
  };
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 30_000 }, (request, response) => {
    answer(request, response).catch((error: unknown) => {
      log.warn({ err: error }, "the root image was not given on");
      response.destroy();
    });
  });
  server.maxConnections = CONNECTIONS_MOST;
  server.timeout = 60_000;
  await listen(server, address, port);
  const bound = server.address() as { port: number };
  log.info({ address, port: bound.port, sha256: file.sha256 }, "gives its root image on to machines beside it");
  return {
    port: bound.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** What this kernel was told to fetch, as it lies in memory. */
async function bootedFrom({
  image = ROOT_IMAGE,
  cmdline = "/proc/cmdline",
}: ImagePeerOptions): Promise<FileVersion | undefined> {
  const found = await stat(image).catch(() => undefined);
  if (found === undefined) return undefined;
  const words = (await readFile(cmdline, "utf8")).split(/\s+/);
  const url = words.find((word) => word.startsWith("fetch="));
  const sha256 = url && squashfsOfUrl(url.slice("fetch=".length));
  return sha256 ? { path: image, sha256, sizeBytes: found.size, mtimeMs: found.mtimeMs } : undefined;
}

function listen(server: Server, address: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, address, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
