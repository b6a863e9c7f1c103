// Routes: domain and path to an app's process. One claim per domain and path, and a domain belongs to one app.
import { Fault } from "#api/fault.ts";
import * as routes from "#api/routes.ts";
import { newId } from "#lib/ids.ts";
import { findApp } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { page } from "../paging.ts";
import type { Change, Entry, Store } from "../store/store.ts";

/** The changes that make a route. Fault `conflict` when another app has the domain (its name is not told) or the route exists. */
export function routeChanges(
  store: Store,
  route: routes.Route,
): { mutations: Change[]; expect: { key: string; version: number }[] } {
  const sameDomain = store.list<routes.Route>(PREFIX.routes).filter(({ value }) => value.domain === route.domain);
  if (sameDomain.some(({ value }) => value.appId !== route.appId))
    throw new Fault("conflict", `the domain ${route.domain} is taken by another app`);
  if (sameDomain.some(({ value }) => value.path === route.path))
    throw new Fault("conflict", `the route ${route.domain}${route.path} exists already`);
  const claim = keys.routeClaim(route.domain, route.path);
  return {
    mutations: [
      { key: keys.route(route.id), value: route },
      { key: claim, value: route.id },
    ],
    expect: [{ key: claim, version: 0 }],
  };
}

export function mountRoutes(mount: Mount, { store, now }: Context): void {
  const find = (id: string): Entry<routes.Route> => {
    const entry =
      store.get<routes.Route>(keys.route(id)) ??
      store.list<routes.Route>(PREFIX.routes).find(({ value }) => value.domain === id && value.path === "/");
    if (entry === undefined) throw new Fault("not-found", `no route ${id}`);
    return entry;
  };
  mount(routes.listRoutes, ({ query }) => {
    const appId = query.app === undefined ? undefined : findApp(store, query.app).value.id;
    return page(
      store.list<routes.Route>(PREFIX.routes).filter(({ value }) => appId === undefined || value.appId === appId),
      query,
      ({ value }) => value,
    );
  });
  mount(routes.createRoute, async ({ body, principal, idempotent, earlier, location }) => {
    const { value: app } = findApp(store, body.app);
    const made = await earlier<routes.Route>();
    if (made !== undefined) {
      location(`/v1/routes/${made.id}`);
      return made;
    }
    const route: routes.Route = {
      id: newId("route"),
      type: "http",
      domain: body.domain,
      path: normalPath(body.path ?? "/"),
      appId: app.id,
      app: app.name,
      process: body.process ?? "web",
      createdAt: now().toISOString(),
    };
    const { mutations, expect } = routeChanges(store, route);
    const { result } = await store.commit({
      actor: principal.name,
      ...idempotent,
      expect,
      mutations: [
        ...mutations,
        ...eventChanges(store, now(), {
          type: "route.created",
          subject: route.id,
          app: app.name,
          actor: principal.name,
          message: `${route.domain}${route.path} leads to ${app.name} ${route.process}`,
        }),
      ],
      result: route,
    });
    location(`/v1/routes/${result.id}`);
    return result;
  });
  mount(routes.getRoute, ({ params, etag }) => {
    const entry = find(params.id);
    etag(entry.version);
    return entry.value;
  });
  mount(routes.deleteRoute, async ({ params, principal, ifMatch }) => {
    const { key, value: route, version } = find(params.id);
    await store.commit({
      actor: principal.name,
      expect: [{ key, version: ifMatch ?? version }],
      mutations: [
        { key, value: null },
        { key: keys.routeClaim(route.domain, route.path), value: null },
        ...eventChanges(store, now(), {
          type: "route.removed",
          subject: route.id,
          app: route.app,
          actor: principal.name,
          message: `${route.domain}${route.path} leads nowhere any more`,
        }),
      ],
    });
    return {};
  });
}

const normalPath = (path: string): string => (path.length > 1 ? path.replace(/\/+$/, "") : path);
