// The host's own server on 7779: kept log lines for control, mutual TLS both ways. A certificate of the cluster CA is not enough:
// its subject must be control's, or any host could read another's logs.

import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { TLSSocket } from "node:tls";
import { Ajv } from "ajv";
import { FAULTS, Fault, toFault } from "#api/fault.ts";
import { followLines, type LineQuery, readLines } from "#api/log-reader.ts";
import { hostLog } from "#api/logs.ts";
import { formatEvent, KEEP_ALIVE, KEEP_ALIVE_MS } from "#api/stream.ts";
import type { Log } from "#lib/log.ts";
import type { LogStore } from "./store.ts";

export interface LogServerOptions {
  store: LogStore;
  identity: { certificate: string; key: string; caPem: string };
  host?: string;
  port: number;
  log: Log;
  keepAliveMs?: number;
}

export interface LogServer {
  port: number;
  /** Shown on new connections from now on; open streams go on. */
  useIdentity(identity: LogServerOptions["identity"]): void;
  close(): Promise<void>;
}

/** The organisation in the certificates that control presents. */
export const CONTROL_ORGANISATION = "flynn:control";
const STALLED_MS = 60_000;
const CONNECTIONS_MOST = 1_024;

const checkQuery = new Ajv({ coerceTypes: true, useDefaults: true, strict: false }).compile<LineQuery>(hostLog.query);

export async function startLogServer(options: LogServerOptions): Promise<LogServer> {
  const { identity, log, host = "0.0.0.0" } = options;
  const server: Server = createServer(
    { ...secureContext(identity), requestCert: true, rejectUnauthorized: true },
    (req, res) => {
      answer(req, res, options).catch((error: unknown) => {
        const fault = toFault(error, "answer the request");
        if (fault.code === "internal") log.error({ err: error }, "log request failed");
        if (res.headersSent) return res.destroy();
        res.writeHead(FAULTS[fault.code].status, { "content-type": "application/json" });
        res.end(JSON.stringify({ code: fault.code, message: fault.message, requestId: "", retry: fault.retry }));
      });
    },
  );
  server.headersTimeout = 10_000;
  server.maxConnections = CONNECTIONS_MOST;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => reject(new Error(`listen on ${host}:${options.port}`, { cause })));
    server.listen(options.port, host, resolve);
  });
  const { port } = server.address() as { port: number };
  return {
    port,
    useIdentity: (next) => server.setSecureContext(secureContext(next)),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const secureContext = ({ certificate, key, caPem }: LogServerOptions["identity"]) =>
  ({ cert: certificate, key, ca: caPem, minVersion: "TLSv1.2" }) as const;

async function answer(req: IncomingMessage, res: ServerResponse, options: LogServerOptions): Promise<void> {
  const subject = (req.socket as TLSSocket).getPeerCertificate().subject as { O?: unknown } | undefined;
  if (subject?.O !== CONTROL_ORGANISATION) throw new Fault("forbidden", "only control may read this host's logs");
  const url = new URL(req.url ?? "/", "https://host");
  if (req.method !== hostLog.method || url.pathname !== hostLog.path)
    throw new Fault("not-found", `${req.method} ${url.pathname} is nothing here`);
  const query: unknown = Object.fromEntries(url.searchParams);
  if (!checkQuery(query)) {
    const [error] = checkQuery.errors ?? [];
    throw new Fault("invalid", `query${error?.instancePath.replace("/", " ") ?? ""} ${error?.message}`);
  }
  if (req.headers.accept?.includes("text/event-stream")) return stream(req, res, query, options);
  const items = await readLines(options.store, query);
  res.writeHead(200, { "content-type": "application/json" });
  res.end(JSON.stringify({ items }));
}

async function stream(req: IncomingMessage, res: ServerResponse, query: LineQuery, options: LogServerOptions) {
  const { store, keepAliveMs = KEEP_ALIVE_MS } = options;
  const gone = new AbortController();
  res.once("close", () => gone.abort());
  res.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  const keepAlive = setInterval(() => res.write(KEEP_ALIVE), keepAliveMs);
  const lastEventId = [req.headers["last-event-id"] ?? []].flat()[0];
  try {
    for await (const events of followLines({ store, query, lastEventId, signal: gone.signal })) {
      if (res.write(events.map(formatEvent).join(""))) continue;
      // A reader that takes nothing for so long is let go; it comes back and reads the past from disk.
      const late = AbortSignal.timeout(STALLED_MS);
      await once(res, "drain", { signal: AbortSignal.any([gone.signal, late]) }).catch(() => res.destroy());
    }
  } finally {
    clearInterval(keepAlive);
    res.end();
  }
}
