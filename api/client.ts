// The typed client: a call is derived from the endpoint's value. TLS is checked against the cluster CA, never the system's.
import type { IncomingMessage } from "node:http";
import { Agent } from "node:https";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import WebSocket from "ws";
import { backoffMs } from "#lib/retry.ts";
import { joined, sleep } from "#lib/time.ts";
import { FRAMES_PROTOCOL, TICKET_PROTOCOL } from "./attach.ts";
import type { Body, Endpoint, Item, Params, Query, Reply } from "./endpoint.ts";
import { exchange, onConnected } from "./exchange.ts";
import { Fault, isFault } from "./fault.ts";
import { FRAME_MOST_BYTES } from "./frames.ts";
import { KEEP_ALIVE_MS, parseEvents, type StreamEvent } from "./stream.ts";
import { formatHello, HELLO_HEADER, type Hello, incompatibility, parseHello } from "./version.ts";
import { type FaultBody, faultFrom, fillPath, neverArrived, readFault, retire, unanswered } from "./wire.ts";

export interface ClientOptions {
  /** https://host:port: the one that answered last is asked first; one that is silent is left for the next. */
  urls: readonly string[];
  caPem: string;
  token?: string;
  /** Client certificate, for agents. */
  identity?: { certificate: string; key: string };
  timeoutMs?: number;
  /** How long a connection may take while there is another address to try; default 3 s. */
  connectTimeoutMs?: number;
  /** What the caller says of itself; nothing unless given. */
  hello?: Hello;
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

export interface FollowInput<E extends Endpoint> extends Omit<CallInput<E>, "query"> {
  /** A function is asked anew for each connection. */
  query?: Query<E> | (() => Query<E>);
  signal: AbortSignal;
  onBreak?: (error: unknown) => void;
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
  follow<E extends Endpoint>(endpoint: E, input: FollowInput<E>): AsyncGenerator<StreamEvent<Item<E>>>;
  /** What the server said of itself with its last answer; undefined before that, and of one that says nothing. */
  peer(): Hello | undefined;
  /** From now on another certificate. What is under way ends on the old one; followed streams move over at once. */
  useIdentity(identity: NonNullable<ClientOptions["identity"]>): void;
  /** From now on these addresses; the one in use stays the first to be asked while it is among them. */
  useUrls(urls: readonly string[]): void;
  close(): void;
}

export function createClient(options: ClientOptions): Client {
  const { caPem, token, serverName = CONTROL_NAME, timeoutMs: defaultTimeoutMs = 30_000 } = options;
  const { connectTimeoutMs = 3_000 } = options;
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
  let urls = [...options.urls];
  /** Asked first: the last that answered, or the one after it once it did not. */
  let preferred = urls[0]!;
  const inOrder = (): string[] => {
    const at = Math.max(0, urls.indexOf(preferred));
    return [...urls.slice(at), ...urls.slice(0, at)];
  };
  const leave = (url: string): void => {
    if (url === preferred) preferred = urls[(urls.indexOf(url) + 1) % urls.length]!;
  };
  let peer: Hello | undefined;
  const greeting: Record<string, string> =
    options.hello === undefined ? {} : { [HELLO_HEADER]: formatHello(options.hello) };
  const onHead = ({ headers, statusCode = 500 }: IncomingMessage): void => {
    peer = parseHello(headers[HELLO_HEADER]);
    const problem = options.hello && peer && incompatibility(options.hello, peer);
    // A refusal says why itself.
    if (problem !== undefined && statusCode < 400) throw new Fault("incompatible", problem, { retry: true });
  };

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
    const bases = inOrder();
    for (const [n, base] of bases.entries()) {
      try {
        const headers = { accept, ...greeting, ...extra };
        const timeoutMs = input.timeoutMs ?? defaultTimeoutMs;
        const asked = { ...input, endpoint, agent, token, headers, timeoutMs, onHead };
        const reply = await exchange(urlOf(base, endpoint, input), { ...asked, ...connectLimit(n, timeoutMs) });
        preferred = base;
        return reply;
      } catch (error) {
        last = error;
        if (input.signal?.aborted) throw error;
        if (unanswered(error) || isFault(error, "unavailable")) leave(base);
        const isSafe = (endpoint.method !== "POST" || input.idempotencyKey !== undefined) && input.upload === undefined;
        const mayRepeat = neverArrived(error) || (isSafe && (isFault(error, "unavailable") || unanswered(error)));
        if (!mayRepeat) throw error;
      }
    }
    throw last;
  };

  /** The last address may take as long as the whole call. */
  const connectLimit = (n: number, timeoutMs: number) => ({
    connectTimeoutMs: n === urls.length - 1 ? timeoutMs : Math.min(connectTimeoutMs, timeoutMs),
  });

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
    const base = preferred;
    reply.socket?.setTimeout(KEEP_ALIVE_MS * 3, () => {
      leave(base);
      reply.destroy(new Fault("timeout", `stream ${endpoint.path} fell silent`));
    });
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
    [n, base]: [number, string],
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
        finishRequest(req) {
          onConnected(req, connectLimit(n, timeoutMs).connectTimeoutMs, () => undefined);
          req.end();
        },
        headers: greeting,
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
      for (const at of inOrder().entries()) {
        try {
          const socket = await connectTo(at, endpoint, input as CallInput<Endpoint>);
          preferred = at[1];
          return socket;
        } catch (error) {
          last = error;
          if (isFault(error, "unavailable")) leave(at[1]);
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
        const ended = joined(input.signal, moved);
        try {
          const query =
            typeof input.query === "function" ? (input.query as () => Query<typeof endpoint>)() : input.query;
          for await (const event of stream(endpoint, { ...input, query, signal: ended.signal, lastEventId })) {
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
        } finally {
          ended.release();
        }
        await sleep(backoffMs(++failures, 200, 3_000), input.signal);
      }
    },
    peer: () => peer,
    useIdentity(identity) {
      retire(agent);
      retired.push(agent);
      agent = agentOf(identity);
      const before = replaced;
      replaced = new AbortController();
      before.abort();
    },
    useUrls(next) {
      if (next.length === 0) return;
      urls = [...next];
      if (!urls.includes(preferred)) preferred = urls[0]!;
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
