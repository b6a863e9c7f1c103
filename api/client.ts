// The typed client: a call is derived from the endpoint's value. TLS is checked against the cluster CA, never the system's.
import type { IncomingMessage } from "node:http";
import { Agent } from "node:https";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import WebSocket from "ws";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import { FRAMES_PROTOCOL, TICKET_PROTOCOL } from "./attach.ts";
import type { Body, Endpoint, Item, Params, Query, Reply } from "./endpoint.ts";
import { exchange } from "./exchange.ts";
import { Fault, isFault } from "./fault.ts";
import { FRAME_MOST_BYTES } from "./frames.ts";
import { KEEP_ALIVE_MS, parseEvents, type StreamEvent } from "./stream.ts";
import { type FaultBody, faultFrom, fillPath, neverArrived, readFault, retire } from "./wire.ts";

export interface ClientOptions {
  /** https://host:port, the first that answers is used. */
  urls: readonly string[];
  caPem: string;
  token?: string;
  /** Client certificate, for agents. */
  identity?: { certificate: string; key: string };
  timeoutMs?: number;
  /** DNS name the server's certificate must carry, whatever address it is reached by. Default: control's. */
  serverName?: string;
}

/** Names in the certificates that the cluster CA issues; a host's certificate is never good for control's name. */
export const CONTROL_NAME = "control.flynn.internal";
export const hostServerName = (hostId: string): string => `${hostId}.host.flynn.internal`;

export interface CallInput<E extends Endpoint> {
  params?: Params<E>;
  query?: Query<E>;
  body?: Body<E>;
  /** For endpoints with an upload. */
  upload?: Readable;
  idempotencyKey?: string;
  ifMatch?: string;
  signal?: AbortSignal;
  timeoutMs?: number;
}

export interface Client {
  call<E extends Endpoint>(endpoint: E, input?: CallInput<E>): Promise<Reply<E>>;
  /** The same, with the version of what was read: an `ifMatch` for what is to change it. */
  read<E extends Endpoint>(endpoint: E, input?: CallInput<E>): Promise<{ reply: Reply<E>; etag: string | undefined }>;
  /** The body of an endpoint with `download`: to be read to its end, or destroyed. */
  download<E extends Endpoint>(endpoint: E, input?: CallInput<E>): Promise<Readable>;
  /**
   * The WebSocket of an endpoint with `socket`, open; a Fault when it is refused. The caller closes it. The token is not sent:
   * control asks for a ticket (`session.ts`), hosts for control's certificate.
   */
  connect<E extends Endpoint>(endpoint: E, input?: CallInput<E> & { ticket?: string }): Promise<WebSocket>;
  /** One SSE connection; ends when the server ends it, throws a Fault when it breaks. */
  stream<E extends Endpoint>(
    endpoint: E,
    input?: CallInput<E> & { lastEventId?: string },
  ): AsyncGenerator<StreamEvent<Item<E>>>;
  /** Like stream, but reconnects with jittered backoff and Last-Event-ID until the signal aborts. */
  follow<E extends Endpoint>(
    endpoint: E,
    input: CallInput<E> & { signal: AbortSignal; onBreak?: (error: unknown) => void },
  ): AsyncGenerator<StreamEvent<Item<E>>>;
  /** From now on another certificate. What is under way ends on the old one; followed streams move over at once. */
  useIdentity(identity: NonNullable<ClientOptions["identity"]>): void;
  close(): void;
}

export function createClient(options: ClientOptions): Client {
  const { caPem, token, serverName = CONTROL_NAME, timeoutMs: defaultTimeoutMs = 30_000 } = options;
  const agentOf = (identity: ClientOptions["identity"]): Agent =>
    new Agent({
      keepAlive: true,
      maxSockets: 64,
      ca: caPem,
      cert: identity?.certificate,
      key: identity?.key,
      servername: serverName,
    });
  let agent = agentOf(options.identity);
  let replaced = new AbortController();
  const retired: Agent[] = [];
  let preferred = 0;

  const send = async (
    endpoint: Endpoint,
    input: CallInput<Endpoint>,
    accept: string,
    extra: Record<string, string> = {},
  ): Promise<IncomingMessage> => {
    const used = agent;
    try {
      return await sendToAny(endpoint, input, accept, extra);
    } catch (error) {
      // Refused because its certificate was replaced while it was on its way: nothing was done, so it is sent again.
      if (agent === used || input.upload || !isFault(error, "unauthenticated")) throw error;
      return sendToAny(endpoint, input, accept, extra);
    }
  };

  const sendToAny = async (
    endpoint: Endpoint,
    input: CallInput<Endpoint>,
    accept: string,
    extra: Record<string, string>,
  ): Promise<IncomingMessage> => {
    let last: unknown;
    const attempts = input.upload ? 1 : options.urls.length;
    for (let n = 0; n < attempts; n++) {
      const base = options.urls[(preferred + n) % options.urls.length]!;
      try {
        const headers = { accept, ...extra };
        const timeoutMs = input.timeoutMs ?? defaultTimeoutMs;
        const asked = { ...input, endpoint, agent, token, headers, timeoutMs };
        const reply = await exchange(urlOf(base, endpoint, input), asked);
        preferred = (preferred + n) % options.urls.length;
        return reply;
      } catch (error) {
        last = error;
        const mayRepeat = endpoint.method !== "POST" || input.idempotencyKey !== undefined || neverArrived(error);
        if (!isFault(error, "unavailable") || !mayRepeat) throw error;
      }
    }
    throw last;
  };

  async function* stream<E extends Endpoint>(
    endpoint: E,
    input: CallInput<E> & { lastEventId?: string } = {},
  ): AsyncGenerator<StreamEvent<Item<E>>> {
    const reply = await send(
      endpoint,
      input as CallInput<Endpoint>,
      "text/event-stream",
      input.lastEventId ? { "last-event-id": input.lastEventId } : {},
    );
    reply.socket?.setTimeout(KEEP_ALIVE_MS * 3, () =>
      reply.destroy(new Fault("timeout", `stream ${endpoint.path} fell silent`)),
    );
    try {
      for await (const event of parseEvents(reply)) {
        if (event?.event === "fault") throw faultFrom(event.data as FaultBody);
        if (event) yield event as StreamEvent<Item<E>>;
      }
    } catch (error) {
      if (input.signal?.aborted) return;
      throw error instanceof Fault
        ? error
        : new Fault("unavailable", `stream ${endpoint.path} broke`, { cause: error });
    } finally {
      reply.destroy();
    }
  }

  const read: Client["read"] = async (endpoint, input = {}) => {
    const reply = await send(endpoint, input as CallInput<Endpoint>, "application/json");
    const limitMs = input.timeoutMs ?? defaultTimeoutMs;
    reply.setTimeout(limitMs, () => reply.destroy(new Fault("timeout", `the answer of ${endpoint.path} broke off`)));
    const received = await text(reply).catch((cause: unknown) => {
      throw isFault(cause) ? cause : new Fault("unavailable", `the answer of ${endpoint.path} broke off`, { cause });
    });
    return { reply: (received === "" ? {} : JSON.parse(received)) as never, etag: reply.headers.etag };
  };

  const connectTo = (
    base: string,
    endpoint: Endpoint,
    input: CallInput<Endpoint> & { ticket?: string },
  ): Promise<WebSocket> => {
    const url = urlOf(base, endpoint, input);
    const doing = `${endpoint.method} ${url.origin}${url.pathname}`;
    const { signal, ticket, timeoutMs = defaultTimeoutMs } = input;
    const protocols = ticket === undefined ? [] : [FRAMES_PROTOCOL, TICKET_PROTOCOL + ticket];
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url, protocols, {
        agent,
        handshakeTimeout: timeoutMs,
        maxPayload: FRAME_MOST_BYTES,
        perMessageDeflate: false,
      });
      const cancel = () => {
        reject(new Fault("unavailable", `${doing} was cancelled`, { cause: signal?.reason }));
        socket.terminate();
      };
      signal?.addEventListener("abort", cancel, { once: true });
      const done = () => signal?.removeEventListener("abort", cancel);
      socket.once("open", () => {
        done();
        resolve(socket);
      });
      socket.once("unexpected-response", (req, reply) => {
        done();
        readFault(reply, doing)
          .then(reject, reject)
          .finally(() => req.destroy());
      });
      socket.on("error", (cause) => {
        done();
        reject(new Fault("unavailable", doing, { cause }));
      });
    });
  };

  return {
    async connect(endpoint, input = {}) {
      let last: unknown;
      for (let n = 0; n < options.urls.length; n++) {
        const at = (preferred + n) % options.urls.length;
        try {
          const socket = await connectTo(options.urls[at]!, endpoint, input as CallInput<Endpoint>);
          preferred = at;
          return socket;
        } catch (error) {
          last = error;
          if (!isFault(error, "unavailable") || input.signal?.aborted) throw error;
        }
      }
      throw last;
    },
    call: async (endpoint, input = {}) => (await read(endpoint, input)).reply,
    read,
    async download(endpoint, input = {}) {
      const reply = await send(endpoint, input as CallInput<Endpoint>, endpoint.download ?? "*/*");
      const limitMs = input.timeoutMs ?? defaultTimeoutMs;
      reply.setTimeout(limitMs, () => reply.destroy(new Fault("timeout", `the answer of ${endpoint.path} broke off`)));
      return reply;
    },
    stream,
    async *follow(endpoint, input) {
      let lastEventId: string | undefined;
      for (let failures = 0; !input.signal.aborted; ) {
        const moved = replaced.signal;
        const signal = AbortSignal.any([input.signal, moved]);
        try {
          for await (const event of stream(endpoint, { ...input, signal, lastEventId })) {
            failures = 0;
            lastEventId = event.id ?? lastEventId;
            yield event;
          }
          if (moved.aborted) continue;
        } catch (error) {
          if (input.signal.aborted) return;
          if (moved.aborted) continue;
          if (isFault(error, "gone")) lastEventId = undefined;
          input.onBreak?.(error);
        }
        await sleep(backoffMs(++failures, 200, 3_000), input.signal);
      }
    },
    useIdentity(identity) {
      retire(agent);
      retired.push(agent);
      agent = agentOf(identity);
      const before = replaced;
      replaced = new AbortController();
      before.abort();
    },
    close() {
      for (const each of [agent, ...retired]) each.destroy();
    },
  };
}

function urlOf(base: string, endpoint: Endpoint, input: CallInput<Endpoint>): URL {
  const url = new URL(fillPath(endpoint.path, input.params as Record<string, string> | undefined), base);
  for (const [name, value] of Object.entries((input.query ?? {}) as Record<string, unknown>))
    if (value !== undefined) url.searchParams.set(name, String(value));
  return url;
}
