// Log lines of an app: the newest, or as they come; and what routers have to say of requests.
import { appLog, routerLog } from "#api/logs.ts";
import { toMicroseconds } from "#lib/time.ts";
import { findApp } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { keys } from "../keys.ts";
import { type Logs, sinceApp } from "../logs/logs.ts";
import type { Mount } from "../mount.ts";

export function mountLogs(mount: Mount, { store, ownLog }: Context, logs: Logs): void {
  /** The last batch of each router's last run. */
  const had = new Map<string, { session: string; seq: number }>();
  mount(
    appLog,
    ({ params, query: { follow: _, ...wish } }) => {
      const app = findApp(store, params.app).value;
      return logs.tail(app.name, { ...wish, since: sinceApp(app, wish.since) });
    },
    ({ params, query: { follow: _, ...wish }, signal, lastEventId }) => {
      const app = findApp(store, params.app).value;
      return logs.follow(app.name, { ...wish, since: sinceApp(app, wish.since) }, signal, lastEventId);
    },
  );
  mount(routerLog, ({ params: { id }, body: { session, seq, lines, dropped } }) => {
    const before = had.get(id);
    if (before?.session === session && seq <= before.seq) return {};
    had.set(id, { session, seq });
    // Names of apps that are gone make no log anew.
    const isApp = (name: string) => store.get(keys.appName(name)) !== undefined;
    for (const { at, ...line } of lines)
      if (isApp(line.app)) ownLog.write({ at: toMicroseconds(at), ...line, source: "router" });
    for (const [app, count] of Object.entries(dropped))
      if (isApp(app))
        ownLog.write({
          app,
          source: "router",
          stream: "stderr",
          line: `... ${count} lines of requests dropped by router ${id}`,
        });
    return {};
  });
}
