// Streams of the hosts' own servers (7779), all of one host's over one connection: HTTP/2, whose flow control is per stream, so a
// reader that takes nothing keeps no other waiting. Of a connection that broke each reader hears, and asks again.
import { type ClientHttp2Session, connect, constants } from "node:http2";
import { text } from "node:stream/consumers";
import { hostServerName } from "#api/client.ts";
import type { Endpoint, Item, Query } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import { KEEP_ALIVE_MS, parseEvents, type StreamEvent } from "#api/stream.ts";
import { formatHello, HELLO_HEADER, type Hello, incompatibility, parseHello } from "#api/version.ts";
import { type FaultBody, faultFrom } from "#api/wire.ts";

export interface StreamInput<E extends Endpoint> {
  query: Query<E>;
  signal: AbortSignal;
  timeoutMs: number;
  lastEventId?: string;
}

export interface HostStreams {
  /** One SSE stream; ends when the host ends it, throws a Fault when it breaks. */
  stream<E extends Endpoint>(
    host: { id: string; url: string },
    endpoint: E,
    input: StreamInput<E>,
  ): AsyncGenerator<StreamEvent<Item<E>>>;
  /** Shown on connections from now on; streams under way go on. */
  useIdentity(identity: { key: string; certificate: string }): void;
  close(): void;
}

interface Shared {
  url: string;
  session: ClientHttp2Session;
  streams: number;
}

/** A connection that nothing goes over is kept so long for the next reader. */
const IDLE_MS = 30_000;
/** What one reader that takes nothing may hold back. */
const STREAM_WINDOW_BYTES = 64 << 10;
const CONNECTION_WINDOW_BYTES = 16 << 20;

export function hostStreams(caPem: string, identity: { key: string; certificate: string }, hello: Hello): HostStreams {
  const sessions = new Map<string, Shared>();
  const open = new Set<ClientHttp2Session>();
  let shown = identity;

  const forget = (hostId: string, shared: Shared): void => {
    if (sessions.get(hostId) === shared) sessions.delete(hostId);
  };
  const sharedOf = ({ id, url }: { id: string; url: string }): Shared => {
    const known = sessions.get(id);
    if (known?.url === url && !known.session.closed && !known.session.destroyed) return known;
    known?.session.close();
    const session = connect(url, {
      ...{ ca: caPem, cert: shown.certificate, key: shown.key, servername: hostServerName(id), minVersion: "TLSv1.2" },
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES },
    });
    const shared: Shared = { url, session, streams: 0 };
    open.add(session);
    session.on("connect", () => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
    session.on("error", () => undefined); // each stream of it hears
    session.on("goaway", () => forget(id, shared));
    session.once("close", () => {
      open.delete(session);
      forget(id, shared);
    });
    session.setTimeout(IDLE_MS, () => {
      if (shared.streams > 0) return;
      forget(id, shared);
      session.close();
    });
    session.unref();
    sessions.set(id, shared);
    return shared;
  };

  return {
    async *stream(host, endpoint, input) {
      const { signal, timeoutMs, lastEventId } = input;
      if (signal.aborted) return;
      const doing = `${endpoint.method} ${host.url}${endpoint.path}`;
      const search = new URLSearchParams();
      for (const [name, value] of Object.entries((input.query ?? {}) as Record<string, unknown>))
        if (value !== undefined) search.set(name, String(value));
      const shared = sharedOf(host);
      shared.streams++;
      const stream = shared.session.request({
        ":method": endpoint.method,
        ":path": `${endpoint.path}?${search}`,
        accept: "text/event-stream",
        [HELLO_HEADER]: formatHello(hello),
        ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }),
      });
      const cancel = () => stream.close(constants.NGHTTP2_CANCEL);
      signal.addEventListener("abort", cancel, { once: true });
      // A connection to nowhere is not kept for the next reader either.
      const broken = (fault: Fault) => {
        stream.destroy(fault);
        if (!shared.session.connecting) return;
        forget(host.id, shared);
        shared.session.destroy();
      };
      try {
        const status = await new Promise<number>((resolve, reject) => {
          stream.setTimeout(timeoutMs, () => broken(new Fault("timeout", `${doing} got no answer`)));
          stream.once("response", (headers) => {
            const peer = parseHello(headers[HELLO_HEADER]);
            const problem = peer && incompatibility(hello, peer);
            if (problem !== undefined && headers[":status"] === 200) reject(new Fault("incompatible", problem));
            else resolve(headers[":status"] ?? 500);
          });
          stream.once("error", reject);
          stream.once("close", () => reject(new Fault("unavailable", `${doing} broke`)));
        });
        stream.on("error", () => undefined); // thrown to the reader below
        if (status >= 400) throw await refusal(await text(stream), status, doing);
        stream.setTimeout(KEEP_ALIVE_MS * 3, () => stream.destroy(new Fault("timeout", `${doing} fell silent`)));
        for await (const event of parseEvents(stream)) {
          if (event?.event === "fault") throw faultFrom(event.data as FaultBody);
          if (event) yield event as StreamEvent<never>;
        }
      } catch (error) {
        if (signal.aborted) return;
        throw error instanceof Fault ? error : new Fault("unavailable", doing, { cause: error });
      } finally {
        signal.removeEventListener("abort", cancel);
        stream.destroy();
        shared.streams--;
      }
    },
    useIdentity(next) {
      shown = next;
      for (const { session } of sessions.values()) session.close();
      sessions.clear();
    },
    close() {
      for (const session of open) session.destroy();
    },
  };
}

async function refusal(body: string, status: number, doing: string): Promise<Fault> {
  try {
    return faultFrom(JSON.parse(body) as FaultBody);
  } catch {
    return new Fault("internal", `${doing} answered ${status}`);
  }
}
