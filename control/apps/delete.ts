// Deleting an app: name, formations and routes go at once, so the scheduler stops every job; what is left is swept when
// the last one is down (retention.ts).
import type { App } from "#api/apps.ts";
import type { Route } from "#api/routes.ts";
import { eventChanges } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import { rulesEndOf } from "../network/rules.ts";
import { routeEnd } from "../routing/claims.ts";
import type { Change, Store } from "../store/store.ts";

export function deletionOf(store: Store, app: App, at: Date, by: string): Change[] {
  const routes = store.list<Route>(PREFIX.routes).filter(({ value }) => value.appId === app.id);
  return [
    { key: keys.app(app.id), value: { ...app, deleting: true } },
    { key: keys.appName(app.name), value: null },
    ...store.list(keys.formationsOf(app.id)).map(({ key }) => ({ key, value: null })),
    ...routes.flatMap(({ value }) => routeEnd(value)),
    ...rulesEndOf(store, app.id),
    { key: keys.pages(app.id), value: null },
    ...eventChanges(store, at, {
      type: "app.deleted",
      subject: app.id,
      app: app.name,
      actor: by,
      message: `app ${app.name} was deleted`,
    }),
  ];
}
