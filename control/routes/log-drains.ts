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
  mount(api.createLogDrain, async ({ body, principal: { name }, idempotent, location }) => {
    const drain = await drains.create(undefined, body, { name, idempotent });
    location(`/v1/log-drains/${drain.id}`);
    return drain;
  });
  mount(api.deleteLogDrain, async ({ params, principal }) => {
    await drains.remove(params.id, undefined, principal.name);
    return {};
  });
  mount(api.listAppLogDrains, ({ params, query }) => pageOf(drains.list(appOf(params.app)), query));
  mount(api.createAppLogDrain, async ({ params, body, principal: { name }, idempotent, location }) => {
    const drain = await drains.create(appOf(params.app), body, { name, idempotent });
    location(`/v1/apps/${params.app}/log-drains/${drain.id}`);
    return drain;
  });
  mount(api.deleteAppLogDrain, async ({ params, principal }) => {
    await drains.remove(params.id, appOf(params.app), principal.name);
    return {};
  });
}
