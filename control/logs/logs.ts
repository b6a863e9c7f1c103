// Log lines of apps from every host and from control itself, merged in time order. Lines live where they were written; here they
// are only asked for and merged.
import { Fault } from "#api/fault.ts";
import type { LineQuery } from "#api/log-reader.ts";
import { hostLog, type LogLine, type LogSource } from "#api/logs.ts";
import type { StreamEvent } from "#api/stream.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import type { Context } from "../context.ts";
import type { HostClients } from "../host-clients.ts";
import { PREFIX } from "../keys.ts";
import type { HostRecord } from "../records.ts";
import { followSources, type LineSource } from "./follow.ts";
import { type AppRef, isTold } from "./whose.ts";

export interface LogRequest {
  lines?: number;
  jobId?: string;
  process?: string;
  source?: LogSource;
  since?: string;
  until?: string;
}

export interface Logs {
  /** The newest lines, oldest first. A host that does not answer is passed over: `silent` names it. */
  tail(app: AppRef, requested: LogRequest): Promise<{ items: LogLine[]; silent: string[] }>;
  /**
   * The newest lines, a `current` marker, then lines as they come, until the signal aborts; of all apps when `app` is undefined.
   * Hosts that join later are followed too. `lastEventId` goes on where an earlier stream stood.
   */
  follow(
    app: AppRef | undefined,
    requested: LogRequest,
    signal: AbortSignal,
    lastEventId?: string,
  ): AsyncGenerator<StreamEvent<LogLine>>;
}

const HOST_TIMEOUT_MS = 3_000;
const DEFAULT_LINES = 100;
const FOLLOWERS_MOST = 300;
const OWN_ID = "control";

export function logs(
  context: Pick<Context, "store" | "log" | "ownLog">,
  clients: Pick<HostClients, "of" | "stream">,
): Logs {
  const { store } = context;
  let followers = 0;
  const hosts = () =>
    store
      .list<HostRecord>(PREFIX.hosts)
      .map(({ value }) => value)
      .filter(({ address }) => address !== undefined);
  const isFor = (app: AppRef | undefined, { event, data }: StreamEvent<LogLine>) =>
    event !== "item" || data === undefined || isTold(store, app, data);
  const isLost = ({ state }: HostRecord) => state === "lost";

  const linesOf = async ({ id }: HostRecord, query: LogRequest & { app: string; appId: string }): Promise<LogLine[]> =>
    (await clients.of(id).client.call(hostLog, { query, timeoutMs: HOST_TIMEOUT_MS })).items;

  const hostSource = (host: HostRecord, app: AppRef | undefined): LineSource => ({
    id: host.id,
    name: host.name,
    async *follow(query, signal, lastEventId) {
      let [place, isCurrent] = [lastEventId, false];
      for (let failures = 0; !signal.aborted; ) {
        try {
          const input = {
            query,
            signal,
            timeoutMs: HOST_TIMEOUT_MS,
            ...(place === undefined ? {} : { lastEventId: place }),
          };
          for await (const event of clients.stream(host.id, hostLog, input)) {
            failures = 0;
            place = event.id ?? place;
            isCurrent ||= event.event === "current";
            if (isFor(app, event)) yield [event];
          }
        } catch (error) {
          if (signal.aborted) return;
          if (failures === 0) context.log.warn({ host: host.name, error: String(error) }, "log stream broke");
        }
        // Nothing was had of it yet: whoever follows asks anew, with a query that fits the time.
        if (!isCurrent) return void (await sleep(backoffMs(++failures, 500, 1_000), signal));
        await sleep(backoffMs(++failures, 200, 3_000), signal);
      }
    },
  });
  const ownSource = (app: AppRef | undefined): LineSource => ({
    id: OWN_ID,
    name: OWN_ID,
    async *follow(query, signal, lastEventId) {
      let place = lastEventId;
      while (!signal.aborted) {
        for await (const events of context.ownLog.follow(query, signal, place)) {
          place = events.findLast(({ id }) => id !== undefined)?.id ?? place;
          yield events.filter((event) => isFor(app, event));
        }
      }
    },
  });
  /** Requests, builds and deployments are told by control alone, apps by hosts alone. */
  const asksHosts = ({ source }: LogRequest) => source === undefined || source === "app" || source === "system";
  const asksOwn = ({ source }: LogRequest) => source !== "app";

  return {
    async tail(app, requested) {
      const lines = requested.lines ?? DEFAULT_LINES;
      const query = { ...requested, app: app.name, appId: app.id, lines };
      const asked = asksHosts(requested) ? hosts() : [];
      const silent = asked.filter(isLost).map(({ name }) => name);
      const parts = await Promise.all([
        ...asked
          .filter((host) => !isLost(host))
          .map((host) =>
            linesOf(host, query).catch((error: unknown) => {
              silent.push(host.name);
              context.log.warn({ host: host.name, error: String(error) }, "host gave no log lines");
              return [];
            }),
          ),
        asksOwn(requested) ? context.ownLog.tail(query) : [],
      ]);
      const told = mergeLines(parts).filter((line) => isTold(store, app, line));
      return { items: lines === 0 ? [] : told.slice(-lines), silent: silent.sort() };
    },
    async *follow(app, requested, signal, lastEventId) {
      if (followers >= FOLLOWERS_MOST)
        throw new Fault("rate-limited", `${followers} log streams are open; end one of them first`, { retry: true });
      followers++;
      const query: LineQuery & { lines: number } = {
        ...requested,
        ...(app === undefined ? {} : { app: app.name, appId: app.id }),
        lines: requested.lines ?? DEFAULT_LINES,
      };
      const sources = () => [
        ...(asksHosts(requested) ? hosts().filter((host) => !isLost(host)) : []).map((host) => hostSource(host, app)),
        ...(asksOwn(requested) ? [ownSource(app)] : []),
      ];
      const away = () => (asksHosts(requested) ? hosts().filter(isLost) : []).map(({ name }) => name);
      const onError = (error: unknown, { name }: LineSource) =>
        context.log.warn({ source: name, error: String(error) }, "log stream ended");
      try {
        yield* followSources({ sources, away, query, lastEventId, signal, onError });
      } finally {
        followers--;
      }
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
