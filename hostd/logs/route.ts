// The host's kept log lines, as control asks for them: as JSON, or followed as SSE.

import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Ajv } from "ajv";
import { Fault } from "#api/fault.ts";
import { followLines, type LineQuery, readLines } from "#api/log-reader.ts";
import { hostLog } from "#api/logs.ts";
import { pruneUnknown } from "#api/prune.ts";
import { formatEvent, KEEP_ALIVE, KEEP_ALIVE_MS } from "#api/stream.ts";
import type { HostRoute } from "../server.ts";
import type { LogStore } from "./store.ts";

export interface LogRouteOptions {
  store: LogStore;
  keepAliveMs?: number;
}

const STALLED_MS = 60_000;

const checkQuery = new Ajv({ coerceTypes: true, useDefaults: true, strict: false }).compile<LineQuery>(hostLog.query);

export function logRoute(options: LogRouteOptions): HostRoute {
  return {
    method: hostLog.method,
    path: new RegExp(`^${hostLog.path}$`),
    async answer(req, res, url) {
      const query: unknown = Object.fromEntries(url.searchParams);
      pruneUnknown(hostLog.query, query);
      if (!checkQuery(query)) {
        const [error] = checkQuery.errors ?? [];
        throw new Fault("invalid", `query${error?.instancePath.replace("/", " ") ?? ""} ${error?.message}`);
      }
      if (req.headers.accept?.includes("text/event-stream")) return stream(req, res, query, options);
      const items = await readLines(options.store, query);
      res.writeHead(200, { "content-type": "application/json" });
      res.end(JSON.stringify({ items }));
    },
  };
}

async function stream(req: IncomingMessage, res: ServerResponse, query: LineQuery, options: LogRouteOptions) {
  const { store, keepAliveMs = KEEP_ALIVE_MS } = options;
  const gone = new AbortController();
  res.once("close", () => gone.abort());
  res.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  const keepAlive = setInterval(() => res.write(KEEP_ALIVE), keepAliveMs);
  const lastEventId = [req.headers["last-event-id"] ?? []].flat()[0];
  try {
    for await (const events of followLines({ store, query, lastEventId, signal: gone.signal })) {
      if (res.write(events.map(formatEvent).join(""))) continue;
      // A reader that takes nothing for so long is let go; it comes back and reads the past from disk.
      const stalled = setTimeout(() => gone.abort(), STALLED_MS);
      await once(res, "drain", { signal: gone.signal }).catch(() => res.destroy());
      clearTimeout(stalled);
    }
  } finally {
    clearInterval(keepAlive);
    res.end();
  }
}
