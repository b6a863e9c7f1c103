// Routes: a domain and path, or a port, to an app's process. Who may have which is decided in routing/claims.ts.
import { Fault } from "#api/fault.ts";
import * as routes from "#api/routes.ts";
import { newId } from "#lib/ids.ts";
import { findApp } from "../apps/find.ts";
import type { Context } from "../context.ts";
import type { Deployments } from "../deploy/deployments.ts";
import { eventChanges } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { page } from "../paging.ts";
import { canaryOf } from "../routing/canary.ts";
import { type Claim, choosePort, claimOf, portRange, routeEnd, routeLabel } from "../routing/claims.ts";
import { changed, newRoute } from "../routing/options.ts";
import type { Entry } from "../store/entry.ts";
import type { Store } from "../store/store.ts";

/** The changes that make a route. Fault `conflict` when another app has the domain (its name is not told) or the route exists. */
export const routeChanges = (store: Store, route: routes.Route): Claim => claimOf(store, route);

export function mountRoutes(
  mount: Mount,
  { store, now, config }: Context,
  deployments: Pick<Deployments, "running">,
): void {
  const ports = portRange(config.tcpPorts);
  const find = (id: string): Entry<routes.Route> => {
    const entry =
      store.get<routes.Route>(keys.route(id)) ??
      store
        .list<routes.Route>(PREFIX.routes)
        .find(({ value }) =>
          value.type === "tcp" ? String(value.port) === id : value.domain === id && value.path === "/",
        );
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
  mount(routes.createRoute, async ({ body, principal, idempotent, earlier }) => {
    const { value: app } = findApp(store, body.app);
    const made = await earlier<routes.Route>();
    if (made !== undefined) return made;
    const owner = { id: newId("route"), appId: app.id, app: app.name, createdAt: now().toISOString() };
    const route = newRoute(owner, body, () => choosePort(store, ports, body.port));
    const { mutations, expect } = claimOf(store, route);
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
          message: `${routeLabel(route)} leads to ${app.name} ${route.process}`,
        }),
      ],
      result: route,
    });
    return result;
  });
  mount(routes.getRoute, ({ params, etag }) => {
    const entry = find(params.id);
    etag(entry.version);
    return entry.value;
  });
  mount(routes.updateRoute, async ({ params, body, principal, ifMatch, etag }) => {
    const { key, value, version } = find(params.id);
    const { canary: asked, ...options } = body;
    const canary = asked && canaryOf(store, findApp(store, value.appId).value, asked, deployments.running(value.appId));
    const route = changed(value, { ...options, ...(canary === undefined ? {} : { canary }) });
    const { seq } = await store.commit({
      actor: principal.name,
      expect: [{ key, version: ifMatch ?? version }],
      mutations: [
        { key, value: route },
        ...eventChanges(store, now(), {
          type: "route.changed",
          subject: route.id,
          app: route.app,
          actor: principal.name,
          message: `${routeLabel(route)} leads to ${route.app} ${route.process}, ${canary ? `${canary.percent}% of its requests to another release` : "with other options than before"}`,
        }),
      ],
    });
    etag(seq);
    return route;
  });
  mount(routes.deleteRoute, async ({ params, principal, ifMatch }) => {
    const { key, value: route, version } = find(params.id);
    await store.commit({
      actor: principal.name,
      expect: [{ key, version: ifMatch ?? version }],
      mutations: [
        ...routeEnd(route),
        ...eventChanges(store, now(), {
          type: "route.removed",
          subject: route.id,
          app: route.app,
          actor: principal.name,
          message: `${routeLabel(route)} leads nowhere any more`,
        }),
      ],
    });
    return {};
  });
}
