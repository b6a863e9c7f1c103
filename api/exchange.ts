// One request to one address and its answer: a refusal comes back as the Fault it was, anything else that goes wrong as
// `unavailable`. Which address, and whether to try again, is the client's to say.
import type { ClientRequest, IncomingMessage } from "node:http";
import { type Agent, request } from "node:https";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { TLSSocket } from "node:tls";
import type { Endpoint } from "./endpoint.ts";
import { Fault } from "./fault.ts";
import { readFault } from "./wire.ts";

export interface Asked {
  endpoint: Endpoint;
  agent: Agent;
  token?: string;
  timeoutMs: number;
  /** For the connection alone, TLS included; until it is made nothing is sent. Default: `timeoutMs`. */
  connectTimeoutMs?: number;
  /** Beside those that follow from the rest. */
  headers?: Record<string, string>;
  body?: unknown;
  /** Instead of a body. */
  upload?: Readable;
  idempotencyKey?: string;
  ifMatch?: string;
  signal?: AbortSignal;
  /** Told of the answer's head, of a refusal too; what it throws is the outcome. */
  onHead?: (reply: IncomingMessage) => void;
}

export function exchange(url: URL, asked: Asked): Promise<IncomingMessage> {
  const { endpoint, agent, upload, timeoutMs, connectTimeoutMs = timeoutMs, signal } = asked;
  const body = asked.body === undefined ? undefined : JSON.stringify(asked.body);
  const headers = headersOf(asked, body);
  const doing = `${endpoint.method} ${url.origin}${url.pathname}`;
  return new Promise((resolve, reject) => {
    let sent = false;
    const fail = (cause: unknown) => {
      const what = upload && sent ? `${doing} (${BROKEN_UPLOAD})` : doing;
      reject(
        cause instanceof Fault
          ? cause
          : new Fault("unavailable", what, { cause: clockTrouble(cause) ?? cause, details: { sent } }),
      );
    };
    if (signal?.aborted) return fail(new Fault("unavailable", `${doing} was cancelled`));
    const req = request(url, { method: endpoint.method, headers, agent }, (reply) => {
      req.setTimeout(0);
      reply.on("error", () => undefined); // told to whoever reads it; a reply nobody reads yet must not end the process
      try {
        asked.onHead?.(reply);
      } catch (error) {
        reply.destroy();
        return fail(error);
      }
      if ((reply.statusCode ?? 500) < 400) return resolve(reply);
      reply.setTimeout(timeoutMs, () => reply.destroy());
      readFault(reply, doing)
        .then(fail, fail)
        .finally(() => upload && req.destroy()); // nobody reads the rest of a refused upload
    });
    const late = () => new Fault("timeout", `${doing} got no answer`, { details: { sent } });
    req.setTimeout(timeoutMs, () => req.destroy(sent ? late() : new Error(NO_CONNECTION)));
    onConnected(req, connectTimeoutMs, () => {
      sent = true;
      if (upload) pipeline(upload, req).catch(fail);
    });
    // Not the `signal` option of node:https: it outlives the exchange on a kept-alive socket, where nobody hears its error.
    const cancel = () => req.destroy(new Fault("unavailable", `${doing} was cancelled`, { cause: signal?.reason }));
    signal?.addEventListener("abort", cancel, { once: true });
    req.once("close", () => signal?.removeEventListener("abort", cancel));
    req.on("error", fail);
    if (!upload) req.end(body);
  });
}

const BROKEN_UPLOAD = "the upload broke off; uploads are not resumed, so send it again from its beginning";
const NO_CONNECTION = "no connection came about in time";

/** Calls back once TLS is up, before which no byte of the request leaves; ends the request when that takes too long. */
export function onConnected(req: ClientRequest, timeoutMs: number, connected: () => void): void {
  req.once("socket", (socket) => {
    const { encrypted, secureConnecting } = socket as TLSSocket & { secureConnecting?: boolean };
    if (encrypted && !socket.connecting && !secureConnecting) return connected(); // kept from an earlier request
    const timer = setTimeout(() => req.destroy(new Error(NO_CONNECTION)), timeoutMs);
    const done = () => {
      clearTimeout(timer);
      socket.removeListener("secureConnect", onSecure);
    };
    const onSecure = () => {
      done();
      connected();
    };
    socket.once("secureConnect", onSecure);
    req.once("close", done);
  });
}

/** A certificate outside its time is a clock's fault more often than its own. */
export function clockTrouble(cause: unknown, now: () => Date = () => new Date()): Error | undefined {
  const { code } = (cause ?? {}) as { code?: unknown };
  const why =
    code === "CERT_NOT_YET_VALID" ? "is not valid yet" : code === "CERT_HAS_EXPIRED" ? "has ended" : undefined;
  if (why === undefined) return undefined;
  const at = now().toISOString().slice(0, 19).replace("T", " ");
  return new Error(
    `by this machine's clock (${at} UTC) the other side's certificate ${why}: if the clock is wrong, set it, for example \`date -u -s "2026-11-30 12:00:00"\` and \`hwclock -w\`, or let the machine reach a time server`,
    { cause },
  );
}

function headersOf(asked: Asked, body: string | undefined): Record<string, string> {
  const headers: Record<string, string> = { ...asked.headers };
  if (asked.token) headers["authorization"] = `Bearer ${asked.token}`;
  if (body !== undefined) {
    headers["content-type"] = "application/json";
    headers["content-length"] = String(Buffer.byteLength(body)); // node frames no body of a DELETE by itself
  }
  if (asked.endpoint.upload) headers["content-type"] = asked.endpoint.upload;
  if (asked.idempotencyKey) headers["idempotency-key"] = asked.idempotencyKey;
  if (asked.ifMatch) headers["if-match"] = asked.ifMatch;
  return headers;
}
