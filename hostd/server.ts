// The host's own server on 7779, for control alone: kept log lines, signals, and sessions with its jobs. Mutual TLS both ways; a
// certificate of the cluster CA is not enough: its subject must be control's, or any host could read and enter another's jobs.
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { type WebSocket, WebSocketServer } from "ws";
import { FAULTS, Fault, toFault } from "#api/fault.ts";
import { FRAME_MOST_BYTES } from "#api/frames.ts";
import type { Log } from "#lib/log.ts";

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
}

export interface HostServer {
  port: number;
  /** Shown on new connections from now on; what is under way goes on. */
  useIdentity(identity: HostServerOptions["identity"]): void;
  close(): Promise<void>;
}

/** The organisation in the certificates that control presents. */
export const CONTROL_ORGANISATION = "flynn:control";
const CONNECTIONS_MOST = 1_024;

export async function startHostServer(options: HostServerOptions): Promise<HostServer> {
  const { identity, log, routes, open, host = "0.0.0.0" } = options;
  const told = (error: unknown): Fault => {
    const fault = toFault(error, "answer the request");
    if (fault.code === "internal") log.error({ err: error }, "request failed");
    return fault;
  };
  const server: Server = createServer(
    { ...secureContext(identity), requestCert: true, rejectUnauthorized: true },
    (req, res) => {
      answer(req, res, routes).catch((error: unknown) => {
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
        for (const socket of sockets.clients) socket.terminate();
        server.closeAllConnections();
      }),
  };
}

const secureContext = ({ certificate, key, caPem }: HostServerOptions["identity"]) =>
  ({ cert: certificate, key, ca: caPem, minVersion: "TLSv1.2" }) as const;

const urlOf = (req: IncomingMessage): URL => new URL(req.url ?? "/", "https://host");

function onlyControl(req: IncomingMessage): void {
  const subject = (req.socket as TLSSocket).getPeerCertificate().subject as { O?: unknown } | undefined;
  if (subject?.O !== CONTROL_ORGANISATION) throw new Fault("forbidden", "only control may use this host's server");
}

async function answer(req: IncomingMessage, res: ServerResponse, routes: readonly HostRoute[]): Promise<void> {
  onlyControl(req);
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
