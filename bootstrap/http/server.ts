// The boot plane over plain HTTP/1.1, on the boot interface's address only. node:http without a framework: every answer has a
// Content-Length (in capitals: GRUB knows it by no other), nothing redirects, nothing is chunked, and large files hold no memory of their own.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { SEED_FILES, type SeedFile } from "#api/cloud-config/seed.ts";
import { chunkCache } from "#lib/file-server/chunks.ts";
import { sendFile } from "#lib/file-server/send-file.ts";
import type { Log } from "#lib/log.ts";
import { UKI_FILE } from "../dhcp/boot-files.ts";
import type { Loader } from "../dhcp/loader.ts";
import type { BootRecord } from "../identity/tokens.ts";
import type { Artefact, Images, Transfer } from "../images.ts";
import { listenFault } from "../listen-fault.ts";
import type { MediaRoom } from "../media/room.ts";
import { type RateLimit, rateLimit } from "../rate.ts";
import { normaliseName } from "../tftp/files.ts";
import { type Answer, TEXT } from "./answer.ts";
import { type BootFileFetch, sendBootFile } from "./boot-file.ts";
import type { BootPlane } from "./boot-plane.ts";
import type { InventoryRoom } from "./inventory.ts";

export interface BootHttpOptions {
  address: string;
  port: number;
  plane: BootPlane;
  inventory: InventoryRoom;
  images: Pick<Images, "artefact">;
  /** ISOs of machines, for BMCs' virtual drives. */
  media?: Pick<MediaRoom, "iso"> | undefined;
  /** iPXE binaries and scripts by name, for UEFI HTTP boot. */
  bootFiles: ReadonlyMap<string, Buffer>;
  /** The signed image for whoever asks from this address. */
  signed?: (address: string) => Artefact | undefined;
  onTransfer?: (transfer: Transfer, boot: BootRecord | undefined, address: string) => void;
  /** One of `bootFiles` was fetched, or its client went away first. */
  onBootFile?: (fetch: BootFileFetch, address: string) => void;
  /** False: a connection from this address is closed before anything is read. */
  admits?: (address: string) => boolean;
  log: Log;
  /** Requests per second and address, artefacts aside; wrong ones cost ten. */
  requestsPerSecond?: number;
  cacheBytes?: number;
  maxConnections?: number;
}

export interface BootHttpServer {
  readonly address: { address: string; port: number };
  readonly cacheBytes: number;
  close(): Promise<void>;
}

/** Where each loader asks for its machine's script. */
const SCRIPT_PATHS: ReadonlyMap<string, Loader> = new Map([
  ["/boot.ipxe", "ipxe"],
  ["/boot.grub", "shim"],
  ["/boot.env", "uki"],
]);
const MAX_BODY_BYTES = 64 * 1024;

export async function bootHttpServer(options: BootHttpOptions): Promise<BootHttpServer> {
  const { address, port, log, requestsPerSecond = 50, cacheBytes = 64 << 20, maxConnections = 2048 } = options;
  const chunks = chunkCache({ maxBytes: cacheBytes });
  const limits: Limits = {
    requests: rateLimit({ perSecond: requestsPerSecond, burst: requestsPerSecond * 4, maxKeys: 8192 }),
    mistakes: rateLimit({ perSecond: requestsPerSecond / 10, burst: requestsPerSecond, maxKeys: 8192 }),
  };
  const server = createServer(
    { keepAliveTimeout: 15_000, headersTimeout: 15_000, requestTimeout: 60_000 },
    (request, response) => {
      route(request, response, options, limits, chunks).catch((error) => {
        log.error({ err: error, path: request.url?.slice(0, 80) }, "boot plane request failed");
        if (response.headersSent) response.destroy();
        else plain(response, 500, "internal error\n");
      });
    },
  );
  server.on("connection", (socket) => {
    if (options.admits?.(socket.remoteAddress ?? "") === false) socket.destroy();
  });
  server.maxConnections = maxConnections;
  server.timeout = 120_000; // a client that takes nothing for so long is gone
  await listen(server, address, port);
  const bound = server.address() as { address: string; port: number };
  log.info({ address, port: bound.port }, "boot plane listens");
  return {
    address: { address: bound.address, port: bound.port },
    get cacheBytes() {
      return chunks.sizeBytes;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Limits {
  requests: RateLimit;
  mistakes: RateLimit;
}

async function route(
  request: IncomingMessage,
  response: ServerResponse,
  options: BootHttpOptions,
  limits: Limits,
  chunks: ReturnType<typeof chunkCache>,
): Promise<void> {
  const { plane, inventory, images, bootFiles } = options;
  const from = request.socket.remoteAddress ?? "";
  const [path = "", query = ""] = splitOnce(request.url ?? "", "?");
  const parts = path.split("/").slice(1);
  const method = request.method ?? "";
  const isHead = method === "HEAD";
  const reads = method === "GET" || isHead;
  if (reads && parts.length === 3 && parts[0] === "m" && parts[2] === "boot.iso") {
    const file = options.media?.iso(parts[1]!);
    if (file === undefined) return wrong(403, "no\n", "/m/...");
    await sendFile(request, response, { ...file, isSecret: true }, chunks);
    return;
  }
  const loader = reads ? SCRIPT_PATHS.get(path) : undefined;
  const asked = new URLSearchParams(query);
  if (loader !== undefined && asked.has("media")) {
    if (!limits.requests.take(from)) return tooMany(response);
    if (!(await plane.showsMedia(asked, from))) return answer({ status: 403, type: TEXT, body: "no\n" });
  }
  if (path !== "/healthz" && !plane.isSeen(from)) return answer({ status: 403, type: TEXT, body: "no\n" });

  if (reads && parts.length === 3 && parts[0] === "a" && /^sha256-[0-9a-f]{64}$/.test(parts[1]!)) {
    const artefact = images.artefact(parts[1]!.slice(7), parts[2]!);
    if (artefact === undefined) return wrong(404, "no such file\n");
    const boot = plane.bootAt(from);
    const sent = await sendFile(request, response, artefact, chunks);
    if (sent) options.onTransfer?.({ artefact, ...sent }, boot, from);
    return;
  }
  if (!limits.requests.take(from)) return tooMany(response);
  if (reads && path === "/healthz") return plain(response, 200, "ok\n", isHead);
  if (reads && (parts[0] === "ipxe" || parts[0] === "grub")) {
    // Shim puts a second slash before what it starts.
    const name = normaliseName(parts[0] === "ipxe" ? path.slice("/ipxe/".length) : path) ?? "";
    const image = name === UKI_FILE ? options.signed?.(from) : undefined;
    if (image !== undefined) {
      const sent = await sendFile(request, response, image, chunks);
      const { sizeBytes } = image;
      if (sent) options.onBootFile?.({ name, sizeBytes, complete: sent.whole, durationMs: sent.durationMs }, from);
      return;
    }
    const file = bootFiles.get(name);
    if (file === undefined) return wrong(404, "no such file\n");
    const fetch = await sendBootFile(response, name, file, isHead);
    if (method === "GET") options.onBootFile?.(fetch, from);
    return;
  }
  if (loader !== undefined) return answer(await plane.script(asked, from, loader, isHead));
  if (reads && parts.length === 3 && parts[0] === "e") return answer(plane.beacon(parts[1]!, parts[2]!, from, isHead));
  if (method === "GET" && parts.length === 3 && parts[0] === "s" && isSeedFile(parts[2]!)) {
    return answer(await plane.seed(parts[1]!, parts[2], from));
  }
  if (method === "POST" && parts.length === 3 && parts[0] === "e" && parts[2] === "refused") {
    const body = await readBody(request);
    return body === undefined ? wrong(413, "too large\n") : answer(plane.refusal(parts[1]!, body, from));
  }
  if (method === "GET" && parts.length === 2 && parts[0] === "i") return answer(inventory.ask(parts[1]!, from));
  if (method === "POST" && (parts.length === 2 || (parts.length === 3 && parts[2] === "refused")) && parts[0] === "i") {
    const body = await readBody(request);
    if (body === undefined) return wrong(413, "too large\n");
    return answer(inventory[parts.length === 2 ? "report" : "refusal"](parts[1]!, body, from));
  }
  if (method === "POST" && parts.length === 3 && parts[0] === "e" && parts[2] === "trouble") {
    const body = await readBody(request);
    return body === undefined ? wrong(413, "too large\n") : answer(plane.trouble(parts[1]!, body, from));
  }
  if (method === "POST" && parts.length === 2 && parts[0] === "p") {
    const body = await readBody(request);
    return body === undefined ? wrong(413, "too large\n") : answer(plane.progress(parts[1]!, body, from));
  }
  return reads || method === "POST" ? wrong(404, "no such path\n") : wrong(405, "GET, HEAD or POST\n");

  function answer({ status, type, body }: Answer): void {
    if (status >= 400 && !limits.mistakes.take(from)) {
      tooMany(response);
      return;
    }
    const bytes = Buffer.from(body);
    response
      .writeHead(status, { "Content-Type": type, "Content-Length": bytes.length, "cache-control": "no-store" })
      .end(isHead ? undefined : bytes);
  }

  function wrong(status: number, text: string, shown = path.slice(0, 120)): void {
    options.log.warn({ from, method, path: shown, status }, "boot plane request refused");
    answer({ status, type: TEXT, body: text });
  }
}

function isSeedFile(name: string): name is SeedFile {
  return (SEED_FILES as readonly string[]).includes(name);
}

function plain(response: ServerResponse, status: number, text: string, head = false): void {
  response
    .writeHead(status, { "Content-Type": TEXT, "Content-Length": Buffer.byteLength(text) })
    .end(head ? undefined : text);
}

function tooMany(response: ServerResponse): void {
  response.writeHead(429, { "Content-Length": 0, "retry-after": "5" }).end();
}

/** The body, or undefined when it is larger than a report can be. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function listen(server: Server, address: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause) => listenFault("tcp", address, port, "boot plane", cause).then(reject, reject));
    server.listen(port, address, () => {
      server.removeAllListeners("error");
      resolve();
    });
  });
}
