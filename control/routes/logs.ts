// Log lines of an app: the newest, or as they come.
import { appLog } from "#api/logs.ts";
import { findApp } from "../apps/find.ts";
import type { Context } from "../context.ts";
import type { Logs } from "../logs/logs.ts";
import type { Mount } from "../mount.ts";

export function mountLogs(mount: Mount, { store }: Context, logs: Logs): void {
  mount(
    appLog,
    ({ params, query: { follow: _, ...wish } }) => logs.tail(findApp(store, params.app).value.name, wish),
    ({ params, query: { follow: _, ...wish }, signal, lastEventId }) =>
      logs.follow(findApp(store, params.app).value.name, wish, signal, lastEventId),
  );
}
