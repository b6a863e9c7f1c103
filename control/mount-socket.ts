// Binds an endpoint with `socket` to what it does. A ticket alone opens one, and each opens one: whether who asked for it still may
// is decided before the upgrade, by the same rules as for any request, and again while the connection lasts.
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { Ajv } from "ajv";
import type { FastifyInstance } from "fastify";
import { type WebSocket, WebSocketServer } from "ws";
import { FRAMES_PROTOCOL, TICKET_PROTOCOL } from "#api/attach.ts";
import type { Endpoint, Params, Query } from "#api/endpoint.ts";
import { FAULTS, Fault } from "#api/fault.ts";
import { keepAlive, PING_EVERY_MS } from "#api/frame-socket.ts";
import { FRAME_MOST_BYTES } from "#api/frames.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { joined } from "#lib/time.ts";
import { asFault, newRequestId } from "./faults.ts";
import { authorize, type Principal, tokenHolder } from "./identity/principal.ts";
import { PREFIX } from "./keys.ts";
import type { Mount } from "./mount.ts";
import type { Tickets } from "./sessions/tickets.ts";
import type { Store } from "./store/store.ts";
import { violationFault } from "./violation.ts";

export interface SocketCall<E extends Endpoint> {
  params: Params<E>;
  query: Query<E>;
  principal: Principal;
}
/** Serves one connection to its end. The signal aborts when the connection ends, the right to it is gone, or control closes. */
export type Serve = (socket: WebSocket, signal: AbortSignal) => Promise<void>;
/** Throws a Fault to refuse before the upgrade. */
export type Open<E extends Endpoint> = (call: SocketCall<E>) => Promise<Serve> | Serve;
export type MountSocket = <E extends Endpoint>(endpoint: E, open: Open<E>) => void;

export interface SocketMountOptions {
  app: FastifyInstance;
  mount: Mount;
  store: Store;
  tickets: Tickets;
  log: Log;
  pingEveryMs?: number;
  /** Sessions at once. */
  most?: number;
}

interface Route {
  endpoint: Endpoint;
  path: RegExp;
  names: string[];
  open: Open<Endpoint>;
}

const SOCKETS_MOST = 1_000;
/** Close codes of our own: 4000 plus the HTTP status. */
const CLOSE_BASE = 4_000;

export function socketMounter(options: SocketMountOptions): MountSocket {
  const { app, mount, store, tickets, log, pingEveryMs = PING_EVERY_MS, most = SOCKETS_MOST } = options;
  const routes: Route[] = [];
  const ajv = new Ajv({ coerceTypes: true, useDefaults: true, strict: false, validateSchema: false, verbose: true });
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: FRAME_MOST_BYTES,
    perMessageDeflate: false,
    handleProtocols: (offered) => offered.has(FRAMES_PROTOCOL) && FRAMES_PROTOCOL, // never the ticket, which would be an echo of it
  });
  const closing = new AbortController();

  const checked = (schema: object, value: Record<string, string>, where: string): never => {
    const validate = ajv.compile(schema);
    if (validate(value)) return value as never;
    throw violationFault(validate.errors![0] as never, where);
  };

  const upgrade = async (req: IncomingMessage, connection: Duplex, head: Buffer): Promise<void> => {
    const url = URL.parse(req.url ?? "/", "https://control");
    const route = url && routes.find(({ path }) => path.test(url.pathname));
    if (!route) throw new Fault("not-found", "this path takes no WebSocket");
    const { endpoint, names, open } = route;
    const values = route.path.exec(url.pathname)!.slice(1);
    const params = Object.fromEntries(names.map((name, n) => [name, values[n]!]));
    refuseOtherSites(req);
    const holder = tickets.redeem(ticketOf(req), url.pathname + url.search);
    const admit = (): Principal => {
      const principal = tokenHolder(holder, store);
      authorize(principal, endpoint, params);
      return principal;
    };
    const principal = admit();
    if (sockets.clients.size >= most) throw new Fault("rate-limited", "too many sessions are open already");
    const call = {
      params: checked(endpoint.params, params, "params"),
      query: checked(endpoint.query, Object.fromEntries(url.searchParams), "querystring"),
      principal,
    };
    const serve = await open(call);
    sockets.handleUpgrade(req, connection, head, (socket) => {
      void attend(socket, serve, admit);
    });
  };

  const attend = async (socket: WebSocket, serve: Serve, admit: () => Principal): Promise<void> => {
    const over = new AbortController();
    const { signal } = joined(over.signal, closing.signal); // `over` ends with the socket, and lets go of the other
    const stopPings = keepAlive(socket, pingEveryMs, () => socket.terminate());
    const look = () => {
      try {
        admit();
      } catch (error) {
        over.abort(error);
      }
    };
    const unfollow = store.onDurable(({ mutations }) => {
      if (mutations.some(({ key }) => key.startsWith(PREFIX.tokens))) look();
    });
    socket.on("error", () => undefined); // `close` follows
    socket.once("close", () => over.abort(new Fault("unavailable", "the client has gone")));
    try {
      await serve(socket, signal);
      if (socket.readyState === socket.OPEN) socket.close(1000);
    } catch (error) {
      const fault = asFault(error);
      if (fault.code === "internal") log.error({ causes: causeChain(fault) }, "session failed");
      if (socket.readyState === socket.OPEN)
        socket.close(CLOSE_BASE + FAULTS[fault.code].status, fault.message.slice(0, 100));
    } finally {
      unfollow();
      // A peer that does not answer the close is not waited for.
      const late = setTimeout(() => socket.terminate(), 3_000).unref();
      socket.once("close", () => {
        clearTimeout(late);
        stopPings();
      });
      if (socket.readyState === socket.CLOSED) {
        clearTimeout(late);
        stopPings();
      }
    }
  };

  app.server.on("upgrade", (req: IncomingMessage, connection: Duplex, head: Buffer) => {
    connection.on("error", () => connection.destroy());
    upgrade(req, connection, head).catch((error: unknown) => {
      const fault = asFault(error);
      if (fault.code === "internal") log.error({ causes: causeChain(fault) }, "upgrade failed");
      refuse(connection, fault, newRequestId(req.headers["x-request-id"]));
    });
  });
  app.addHook("preClose", () => {
    closing.abort(new Fault("unavailable", "control closes"));
    for (const socket of sockets.clients) socket.terminate();
  });

  return (endpoint, open) => {
    const names = [...endpoint.path.matchAll(/:([a-zA-Z]+)/g)].map((match) => match[1]!);
    const path = new RegExp(`^${endpoint.path.replace(/:[a-zA-Z]+/g, "([^/]{1,128})")}$`);
    routes.push({ endpoint, path, names, open: open as Open<Endpoint> });
    mount(endpoint, () => {
      throw new Fault("invalid", `${endpoint.path} is a WebSocket; ask for it with Upgrade: websocket`);
    });
  };
}

/** Only browsers say where a page is from; none but a page of control's own may open a session with the user's rights. */
function refuseOtherSites({ headers }: IncomingMessage): void {
  if (headers.origin === undefined) return;
  const host = URL.parse(headers.origin)?.host;
  if (host === undefined || host !== headers.host)
    throw new Fault("forbidden", `a page of ${headers.origin.slice(0, 200)} may not open sessions here`);
}

/** Neither a token nor a certificate opens a session: what is shown here can be used once. */
function ticketOf({ headers }: IncomingMessage): string {
  const offered = (headers["sec-websocket-protocol"] ?? "").split(",").map((word) => word.trim());
  const ticket = offered.find((word) => word.startsWith(TICKET_PROTOCOL))?.slice(TICKET_PROTOCOL.length);
  if (ticket === undefined || !offered.includes(FRAMES_PROTOCOL))
    throw new Fault(
      "unauthenticated",
      "a session needs the subprotocols flynn.frames.v1 and flynn.ticket.TICKET; POST /v1/jobs/ID/sessions gives a ticket",
    );
  return ticket;
}

function refuse(connection: Duplex, fault: Fault, requestId: string): void {
  const causes = fault.code === "internal" ? [] : causeChain(fault.cause);
  const { code, message, retry } = fault;
  const body = JSON.stringify({ code, message: [message, ...causes].join(": "), requestId, retry });
  const status = `HTTP/1.1 ${FAULTS[code].status} Refused`;
  connection.end(
    `${status}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
