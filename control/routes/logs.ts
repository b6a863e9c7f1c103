// Log lines of an app: the newest, or as they come; and what routers have to say of requests.
import type { App } from "#api/apps.ts";
import { appLog, type RouterLogLine, routerLog } from "#api/logs.ts";
import { toMicroseconds } from "#lib/time.ts";
import { findApp } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { keys } from "../keys.ts";
import type { Logs } from "../logs/logs.ts";
import type { Mount } from "../mount.ts";

export function mountLogs(mount: Mount, { store, ownLog }: Context, logs: Logs): void {
  /** The last batch of each router's last run. */
  const had = new Map<string, { session: string; seq: number }>();
  mount(
    appLog,
    ({ params, query: { follow: _, ...requested } }) => logs.tail(findApp(store, params.app).value, requested),
    ({ params, query: { follow: _, ...requested }, signal, lastEventId }) =>
      logs.follow(findApp(store, params.app).value, requested, signal, lastEventId),
  );
  mount(routerLog, ({ params: { id }, body: { session, seq, lines, dropped } }) => {
    const before = had.get(id);
    if (before?.session === session && seq <= before.seq) return {};
    had.set(id, { session, seq });
    for (const { at, ...line } of lines) {
      const app = servedApp(store, line, at);
      if (app) ownLog.write({ ...line, ...app, at: toMicroseconds(at), source: "router" });
    }
    for (const [of, count] of Object.entries(dropped)) {
      const app = servedApp(store, store.get(keys.app(of)) ? { app: of, appId: of } : { app: of });
      if (app)
        ownLog.write({
          ...app,
          source: "router",
          stream: "stderr",
          line: `... ${count} lines of requests dropped by router ${id}`,
        });
    }
    return {};
  });
}

/** The app that is meant, if it is there: apps that are gone make no log anew. Older routers know no ids: a name counts from its app's making. */
function servedApp({ get }: Context["store"], { app, appId }: Pick<RouterLogLine, "app" | "appId">, at?: string) {
  const id = appId ?? get<string>(keys.appName(app))?.value;
  const found = id === undefined ? undefined : get<App>(keys.app(id))?.value;
  if (found === undefined || found.deleting) return undefined;
  if (appId === undefined && at !== undefined && at < found.createdAt) return undefined;
  return { app: found.name, appId: found.id };
}
