// Log drains, of an app and of the cluster.
import * as api from "#api/drains.ts";
import { findApp } from "../apps/find.ts";
import type { Context } from "../context.ts";
import type { LogDrains } from "../log-drains/log-drains.ts";
import type { Mount } from "../mount.ts";
import { pageOf } from "../paging.ts";

export function mountLogDrains(mount: Mount, { store }: Pick<Context, "store">, drains: LogDrains): void {
  const appOf = (name: string) => findApp(store, name).value;
  mount(api.listLogDrains, ({ query }) => pageOf(drains.list(), query));
  mount(api.getLogDrain, ({ params }) => drains.find(params.id, undefined));
  mount(api.createLogDrain, ({ body, principal: { name }, idempotent }) =>
    drains.create(undefined, body, { name, idempotent }),
  );
  mount(api.deleteLogDrain, async ({ params, principal }) => {
    await drains.remove(params.id, undefined, principal.name);
    return {};
  });
  mount(api.listAppLogDrains, ({ params, query }) => pageOf(drains.list(appOf(params.app)), query));
  mount(api.getAppLogDrain, ({ params }) => drains.find(params.id, appOf(params.app)));
  mount(api.createAppLogDrain, ({ params, body, principal: { name }, idempotent }) =>
    drains.create(appOf(params.app), body, { name, idempotent }),
  );
  mount(api.deleteAppLogDrain, async ({ params, principal }) => {
    await drains.remove(params.id, appOf(params.app), principal.name);
    return {};
  });
}
