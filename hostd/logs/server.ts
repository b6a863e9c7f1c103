// The host's own server on 7779: kept log lines for control, mutual TLS both ways. A certificate of the cluster CA is not enough:
// its subject must be control's, or any host could read another's logs.

import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { TLSSocket } from "node:tls";
import { Ajv } from "ajv";
import type { Query } from "#api/endpoint.ts";
import { FAULTS, Fault, toFault } from "#api/fault.ts";
import { hostLog } from "#api/logs.ts";
import { formatEvent, KEEP_ALIVE, KEEP_ALIVE_MS } from "#api/stream.ts";
import type { Log } from "#lib/log.ts";
import { toMicroseconds } from "../engine/log-frames.ts";
import type { KeptLine } from "./segment.ts";
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

type HostLogQuery = Query<typeof hostLog>;

/** The organisation in the certificates that control presents. */
export const CONTROL_ORGANISATION = "flynn:control";
/** A reader this far behind is let go; it comes back and reads the past from disk. */
const MAX_BEHIND_BYTES = 8 << 20;
const MAX_RESUME_LINES = 10_000;

const checkQuery = new Ajv({ coerceTypes: true, useDefaults: true, strict: false }).compile<HostLogQuery>(
  hostLog.query,
);

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
  server.maxConnections = 256;
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
  const found = await (await options.store.find(query.app))?.read(lineFilter(query), query.lines ?? 100);
  res.writeHead(200, { "content-type": "application/json" });
  res.end(JSON.stringify({ items: inOrder(found ?? []).map(publicLine) }));
}

async function stream(req: IncomingMessage, res: ServerResponse, query: HostLogQuery, options: LogServerOptions) {
  const { store, keepAliveMs = KEEP_ALIVE_MS } = options;
  // A follower may come before the app's first line; it then waits on the log that this makes.
  const log = query.follow ? await store.open(query.app) : await store.find(query.app);
  const matches = lineFilter(query);
  let early: KeptLine[] | undefined = [];
  let place: Place | undefined;
  const send = (line: KeptLine) => {
    place = nextPlace(place, line.at);
    res.write(formatEvent({ id: `${place.at}/${place.count}`, event: "item", data: publicLine(line) }));
    if (res.writableLength > MAX_BEHIND_BYTES) res.destroy();
  };
  const unsubscribe = query.follow
    ? log?.subscribe((line) => {
        if (!matches(line)) return;
        if (early) early.push(line);
        else send(line);
      })
    : undefined;
  try {
    const after = parsePlace(req.headers["last-event-id"]);
    const past = inOrder(
      (await log?.read(
        (line) => matches(line) && (after === undefined || line.at >= after.at),
        after === undefined ? (query.lines ?? 100) : MAX_RESUME_LINES,
      )) ?? [],
    );
    res.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    for (const line of past) {
      const next = nextPlace(place, line.at);
      if (after && next.at === after.at && next.count <= after.count) place = next;
      else send(line);
    }
    res.write(formatEvent({ event: "current" }));
    for (const line of early) send(line);
    early = undefined;
    if (!query.follow || req.destroyed) return void res.end();
    const keepAlive = setInterval(() => res.write(KEEP_ALIVE), keepAliveMs);
    await new Promise<void>((resolve) => res.once("close", () => resolve()));
    clearInterval(keepAlive);
  } finally {
    unsubscribe?.();
  }
}

/** Where a stream stands: the latest time sent, and how many lines of exactly that time were. Its text is the event id. */
interface Place {
  at: string;
  count: number;
}

function nextPlace(place: Place | undefined, at: string): Place {
  if (place === undefined || at > place.at) return { at, count: 1 };
  // A line of another container that was read a little late moves nothing.
  return at === place.at ? { at, count: place.count + 1 } : place;
}

function parsePlace(id: string | string[] | undefined): Place | undefined {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)\/(\d{1,9})$/.exec(String(id ?? ""));
  return match ? { at: match[1]!, count: Number(match[2]) } : undefined;
}

export function lineFilter(query: HostLogQuery): (line: KeptLine) => boolean {
  const { jobId, process, source } = query;
  const since = query.since === undefined ? undefined : toMicroseconds(query.since);
  const until = query.until === undefined ? undefined : toMicroseconds(query.until);
  return (line) =>
    (jobId === undefined || line.jobId === jobId) &&
    (process === undefined || line.process === process) &&
    (source === undefined || line.source === source) &&
    (since === undefined || line.at >= since) &&
    (until === undefined || line.at <= until);
}

/** Kept in the order they were read; several containers' lines interleave a little. The sort is stable. */
const inOrder = (lines: readonly KeptLine[]): KeptLine[] =>
  lines.toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));

function publicLine({ container: _, ...line }: KeptLine) {
  return line;
}
