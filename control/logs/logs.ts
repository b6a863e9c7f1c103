// Log lines of an app from every host, merged in time order. Lines live on the hosts; control only asks and merges.
import { type Client, createClient, hostServerName } from "#api/client.ts";
import { hostLog, type LogLine, type LogSource } from "#api/logs.ts";
import type { StreamEvent } from "#api/stream.ts";
import { sleep } from "#lib/time.ts";
import type { Context } from "../context.ts";
import { PREFIX } from "../keys.ts";
import type { HostRecord } from "../records.ts";

export interface LogWish {
  lines?: number;
  jobId?: string;
  process?: string;
  source?: LogSource;
  since?: string;
  until?: string;
}

export interface Logs {
  /** The newest lines, oldest first. A host that does not answer is passed over: `silent` names it. */
  tail(app: string, wish: LogWish): Promise<{ items: LogLine[]; silent: string[] }>;
  /** The newest lines, a `current` marker, then lines as they come, until the signal aborts. Hosts that join later are followed too. */
  follow(app: string, wish: LogWish, signal: AbortSignal): AsyncGenerator<StreamEvent<LogLine>>;
  /** Shown to hosts from now on. */
  useIdentity(identity: { key: string; certificate: string }): void;
  close(): void;
}

const HOST_TIMEOUT_MS = 3_000;
/** Live lines wait so long for earlier ones from other hosts. */
const MERGE_WINDOW_MS = 250;
const DEFAULT_LINES = 100;
const BUFFERED_MOST = 50_000;

export function logs(
  context: Pick<Context, "store" | "authority" | "log">,
  identity: { key: string; certificate: string },
  port = 7779,
): Logs {
  const clients = new Map<string, Client>();
  let shown = identity;
  const reachable = () =>
    context.store
      .list<HostRecord>(PREFIX.hosts)
      .map(({ value }) => value)
      .filter(({ address, state }) => address !== undefined && state !== "lost");
  const clientOf = ({ id, address }: HostRecord): Client => {
    const key = `${id} ${address}`;
    const known =
      clients.get(key) ??
      createClient({
        urls: [`https://${address}:${port}`],
        caPem: context.authority.caPem,
        identity: shown,
        serverName: hostServerName(id),
        timeoutMs: HOST_TIMEOUT_MS,
      });
    clients.set(key, known);
    return known;
  };
  const query = (app: string, { lines = DEFAULT_LINES, ...wish }: LogWish) => ({ ...wish, app, lines });

  return {
    async tail(app, wish) {
      const silent: string[] = [];
      const parts = await Promise.all(
        reachable().map((host) =>
          clientOf(host)
            .call(hostLog, { query: query(app, wish) })
            .then(
              ({ items }) => items,
              (error: unknown) => {
                silent.push(host.name);
                context.log.warn({ host: host.name, error: String(error) }, "host gave no log lines");
                return [];
              },
            ),
        ),
      );
      return { items: mergeLines(parts).slice(-(wish.lines ?? DEFAULT_LINES)), silent };
    },
    async *follow(app, wish, signal) {
      const past = await this.tail(app, wish);
      for (const data of past.items) yield { event: "item", data };
      yield { event: "current" };
      const sent = new Set(past.items.map(identityOf));
      const since = past.items.at(-1)?.at ?? new Date().toISOString();
      const waiting: { line: LogLine; arrivedMs: number }[] = [];
      const stop = new AbortController();
      const both = AbortSignal.any([signal, stop.signal]);
      const followed = new Set<string>();
      const readHost = async (host: HostRecord) => {
        const input = { query: { ...query(app, { ...wish, lines: 10_000, since }), follow: true }, signal: both };
        for await (const { event, data } of clientOf(host).follow(hostLog, input)) {
          if (event !== "item" || data === undefined) continue;
          if (waiting.length < BUFFERED_MOST) waiting.push({ line: data, arrivedMs: performance.now() });
        }
      };
      try {
        while (!signal.aborted) {
          for (const host of reachable()) {
            if (followed.has(host.id)) continue;
            followed.add(host.id);
            readHost(host)
              .catch((error: unknown) =>
                context.log.warn({ host: host.name, error: String(error) }, "log stream ended"),
              )
              .finally(() => followed.delete(host.id));
          }
          const nowMs = performance.now();
          const later = waiting.findIndex(({ arrivedMs }) => nowMs - arrivedMs < MERGE_WINDOW_MS); // in order of arrival
          const due = waiting.splice(0, later < 0 ? waiting.length : later);
          if (due.length > 0) {
            const lines = due.map(({ line }) => line);
            for (const data of mergeLines([lines])) {
              const key = identityOf(data);
              if (sent.has(key)) continue;
              sent.add(key);
              if (sent.size > 5_000) sent.delete(sent.values().next().value!);
              yield { event: "item", data };
            }
          }
          await sleep(50, signal);
        }
      } finally {
        stop.abort();
      }
    },
    useIdentity(next) {
      shown = next;
      for (const client of clients.values()) client.useIdentity(next);
    },
    close() {
      for (const client of clients.values()) client.close();
    },
  };
}

/** Lines of several sources in time order; equal times keep the order of their source. Pure. */
export function mergeLines(parts: readonly (readonly LogLine[])[]): LogLine[] {
  return parts
    .flat()
    .map((line, n) => ({ line, n }))
    .sort((a, b) => (a.line.at < b.line.at ? -1 : a.line.at > b.line.at ? 1 : a.n - b.n))
    .map(({ line }) => line);
}

const identityOf = ({ at, jobId, stream, line }: LogLine): string => `${at} ${jobId} ${stream} ${line}`;
