// One request to one address and its answer: a refusal comes back as the Fault it was, anything else that goes wrong as
// `unavailable`. Which address, and whether to try again, is the client's to say.
import type { IncomingMessage } from "node:http";
import { type Agent, request } from "node:https";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Endpoint } from "./endpoint.ts";
import { Fault } from "./fault.ts";
import { readFault } from "./wire.ts";

export interface Asked {
  endpoint: Endpoint;
  agent: Agent;
  token?: string;
  timeoutMs: number;
  /** Beside those that follow from the rest. */
  headers?: Record<string, string>;
  body?: unknown;
  /** Instead of a body. */
  upload?: Readable;
  idempotencyKey?: string;
  ifMatch?: string;
  signal?: AbortSignal;
}

export function exchange(url: URL, asked: Asked): Promise<IncomingMessage> {
  const { endpoint, agent, upload, timeoutMs, signal } = asked;
  const body = asked.body === undefined ? undefined : JSON.stringify(asked.body);
  const headers = headersOf(asked, body);
  const doing = `${endpoint.method} ${url.origin}${url.pathname}`;
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) =>
      reject(cause instanceof Fault ? cause : new Fault("unavailable", doing, { cause }));
    if (signal?.aborted) return fail(new Fault("unavailable", `${doing} was cancelled`));
    const req = request(url, { method: endpoint.method, headers, agent }, (reply) => {
      req.setTimeout(0);
      reply.on("error", () => undefined); // told to whoever reads it; a reply nobody reads yet must not end the process
      if ((reply.statusCode ?? 500) < 400) return resolve(reply);
      reply.setTimeout(timeoutMs, () => reply.destroy());
      readFault(reply, doing)
        .then(fail, fail)
        .finally(() => upload && req.destroy()); // nobody reads the rest of a refused upload
    });
    req.setTimeout(timeoutMs, () => req.destroy(new Fault("timeout", `${doing} got no answer`)));
    // Not the `signal` option of node:https: it outlives the exchange on a kept-alive socket, where nobody hears its error.
    const cancel = () => req.destroy(new Fault("unavailable", `${doing} was cancelled`, { cause: signal?.reason }));
    signal?.addEventListener("abort", cancel, { once: true });
    req.once("close", () => signal?.removeEventListener("abort", cancel));
    req.on("error", fail);
    if (upload) pipeline(upload, req).catch(fail);
    else req.end(body);
  });
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
