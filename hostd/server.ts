// The host's own server on 7779, for control alone: kept log lines, signals, and sessions with its jobs. Mutual TLS both ways; a
// certificate of the cluster CA is not enough: its subject must be control's, or any host could read and enter another's jobs.
// HTTP/2 beside HTTP/1.1, so that any number of log streams share one connection.
import type { IncomingMessage, ServerResponse } from "node:http";
import { createSecureServer } from "node:http2";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { type WebSocket, WebSocketServer } from "ws";
import { FAULTS, Fault, toFault } from "#api/fault.ts";
import { FRAME_MOST_BYTES } from "#api/frames.ts";
import { formatHello, HELLO_HEADER, type Hello, incompatibility, ownHello, parseHello } from "#api/version.ts";
import type { Log } from "#lib/log.ts";
import { CONNECTION_LIMITS, type ConnectionLimits, type Connections, connections } from "./connections.ts";

export interface HostRoute {
  method: string;
  /** Finds the route, and in its groups what the path names. */
  path: RegExp;
  answer(req: IncomingMessage, res: ServerResponse, url: URL): Promise<void>;
}

export interface HostServerOptions {
  routes: readonly HostRoute[];
  /** What an upgraded connection is for; throws a Fault to refuse it. */
  open?: (url: URL) => (socket: WebSocket) => Promise<void>;
  identity: { certificate: string; key: string; caPem: string };
  host?: string;
  port: number;
  log: Log;
  limits?: ConnectionLimits;
  /** What hostd says of itself; that of this version unless given. */
  hello?: Hello;
}

export interface HostServer {
  port: number;
  /** Connections held now: control's, and those on trial. */
  connections(): ReturnType<Connections["counts"]>;
  /** Shown on new connections from now on; what is under way goes on. */
  useIdentity(identity: HostServerOptions["identity"]): void;
  close(): Promise<void>;
}

/** The organisation in the certificates that control presents. */
export const CONTROL_ORGANISATION = "flynn:control";
/** Log streams of one connection of control's: as many as control has followers, and its drains. */
const STREAMS_MOST = 1_000;

export async function startHostServer(options: HostServerOptions): Promise<HostServer> {
  const {
    identity,
    log,
    routes,
    open,
    host = "0.0.0.0",
    limits = CONNECTION_LIMITS,
    hello = ownHello("hostd"),
  } = options;
  const told = (error: unknown): Fault => {
    const fault = toFault(error, "answer the request");
    if (fault.code === "internal") log.error({ err: error }, "request failed");
    return fault;
  };
  const held = connections(limits);
  const server = createSecureServer(
    {
      ...secureContext(identity),
      requestCert: true,
      rejectUnauthorized: true,
      allowHTTP1: true,
      handshakeTimeout: limits.trialMs,
      settings: { maxConcurrentStreams: STREAMS_MOST },
    },
    (request, reply) => {
      // What of them is used here is the same in both versions of the protocol.
      const [req, res] = [request as unknown as IncomingMessage, reply as unknown as ServerResponse];
      res.setHeader(HELLO_HEADER, formatHello(hello));
      answer(req, res, { routes, hello }).catch((error: unknown) => {
        const fault = told(error);
        if (res.headersSent) return res.destroy();
        res.writeHead(FAULTS[fault.code].status, { "content-type": "application/json" });
        res.end(bodyOf(fault));
      });
    },
  );
  const sockets = new WebSocketServer({ noServer: true, maxPayload: FRAME_MOST_BYTES, perMessageDeflate: false });
  server.on("upgrade", (req: IncomingMessage, connection: Duplex, head: Buffer) => {
    connection.on("error", () => connection.destroy());
    try {
      onlyControl(req);
      understood(req, hello);
      if (open === undefined) throw new Fault("not-found", "nothing here takes a WebSocket");
      const serve = open(urlOf(req));
      sockets.handleUpgrade(req, connection, head, (socket) => {
        serve(socket).catch((error: unknown) => {
          log.error({ err: error }, "session failed");
          socket.terminate();
        });
      });
    } catch (error) {
      refuseUpgrade(connection, told(error));
    }
  });
  (server as unknown as { headersTimeout: number }).headersTimeout = 10_000; // of HTTP/1.1
  server.on("connection", (socket: Socket) => held.arrived(socket));
  server.on("secureConnection", (socket: TLSSocket) => isControl(socket) && held.proved(socket));
  server.on("sessionError", () => undefined); // the session is over; whoever read of it hears
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => reject(new Error(`listen on ${host}:${options.port}`, { cause })));
    server.listen(options.port, host, resolve);
  });
  const { port } = server.address() as { port: number };
  return {
    port,
    connections: held.counts,
    useIdentity: (next) => server.setSecureContext(secureContext(next)),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets.clients) socket.terminate();
        held.closeAll();
      }),
  };
}

const secureContext = ({ certificate, key, caPem }: HostServerOptions["identity"]) =>
  ({ cert: certificate, key, ca: caPem, minVersion: "TLSv1.2" }) as const;

const urlOf = (req: IncomingMessage): URL => new URL(req.url ?? "/", "https://host");

function isControl(socket: Pick<TLSSocket, "getPeerCertificate">): boolean {
  const subject = socket.getPeerCertificate().subject as { O?: unknown } | undefined;
  return subject?.O === CONTROL_ORGANISATION;
}

function onlyControl(req: IncomingMessage): void {
  if (!isControl(req.socket as TLSSocket)) throw new Fault("forbidden", "only control may use this host's server");
}

/** Control that says nothing of itself is of before that, and understood. */
function understood(req: IncomingMessage, hello: Hello): void {
  const peer = parseHello(req.headers[HELLO_HEADER]);
  const problem = peer && incompatibility(hello, peer);
  if (problem !== undefined) throw new Fault("incompatible", problem);
}

async function answer(
  req: IncomingMessage,
  res: ServerResponse,
  { routes, hello }: { routes: readonly HostRoute[]; hello: Hello },
): Promise<void> {
  onlyControl(req);
  understood(req, hello);
  const url = urlOf(req);
  const route = routes.find(({ method, path }) => method === req.method && path.test(url.pathname));
  if (route === undefined) throw new Fault("not-found", `${req.method} ${url.pathname} is nothing here`);
  await route.answer(req, res, url);
}

const bodyOf = ({ code, message, retry }: Fault): string => JSON.stringify({ code, message, requestId: "", retry });

function refuseUpgrade(connection: Duplex, fault: Fault): void {
  const body = bodyOf(fault);
  connection.end(
    `HTTP/1.1 ${FAULTS[fault.code].status} Refused\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
