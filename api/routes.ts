// Routes and the routers that serve them. A router's state is one generation, acknowledged when HAProxy serves it.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { Id, IdParams, Ipv4, listOf, Name, Nothing, object, oneOf, PageQuery, ProcessName, Time } from "./schema.ts";

export const Domain = Type.String({
  maxLength: 253,
  pattern: "^(\\*\\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
  description: "Host name, lower case; *.example.com matches one label.",
});
export const RoutePath = Type.String({
  maxLength: 200,
  // One way to match any text: a nested repetition here would take exponential time on hostile paths.
  pattern: "^/(?!(.*/)?\\.{1,2}(/|$))([A-Za-z0-9._~-]+/)*([A-Za-z0-9._~-]+)?$",
  description: "Path prefix of letters, digits and ._~-, no `..`; the longest match wins.",
});

export const Route = object({
  id: Id,
  type: oneOf(["http"]),
  domain: Domain,
  path: RoutePath,
  appId: Id,
  app: Name,
  process: ProcessName,
  createdAt: Time,
});
export type Route = Static<typeof Route>;

export const listRoutes = endpoint({
  id: "listRoutes",
  method: "GET",
  path: "/v1/routes",
  summary: "List routes",
  permission: "app:read",
  query: object({ ...PageQuery, app: Type.Optional(Id) }),
  reply: listOf(Route),
});
export const createRoute = endpoint({
  id: "createRoute",
  method: "POST",
  path: "/v1/routes",
  summary: "Route a domain to an app; a domain another app has is a conflict",
  permission: "app:write",
  status: 201,
  body: object({ app: Id, domain: Domain, path: Type.Optional(RoutePath), process: Type.Optional(ProcessName) }),
  reply: Route,
});
export const getRoute = endpoint({
  id: "getRoute",
  method: "GET",
  path: "/v1/routes/:id",
  summary: "Show a route",
  permission: "app:read",
  params: IdParams,
  reply: Route,
});
export const deleteRoute = endpoint({
  id: "deleteRoute",
  method: "DELETE",
  path: "/v1/routes/:id",
  summary: "Remove a route",
  permission: "app:write",
  params: IdParams,
  reply: Nothing,
});

export const Backend = object({
  jobId: Id,
  address: Type.String({ description: "IPv4" }),
  port: Type.Integer({ minimum: 1, maximum: 65_535 }),
  state: oneOf(["up", "drain"], "drain: no new requests, running ones end."),
});
export type Backend = Static<typeof Backend>;

/** One pool of backends (app + process) and the routes that lead to it. */
export const Pool = object({
  id: Type.String({ description: "<appId>/<process>" }),
  app: Name,
  process: ProcessName,
  backends: Type.Array(Backend),
});
export const RouterTarget = object({
  term: Type.Integer(),
  generation: Type.Integer({
    description: "Grows at each change of routes or backends; the seq of the record that made it.",
  }),
  clusterRange: Type.String(),
  peers: Type.Array(object({ hostId: Id, subnet: Type.String(), address: Type.String() }), {
    description: "How each host's subnet is reached.",
  }),
  pools: Type.Array(Pool),
  routes: Type.Array(object({ domain: Domain, path: RoutePath, poolId: Type.String() })),
});
export type RouterTarget = Static<typeof RouterTarget>;

export const RouterReport = object({
  term: Type.Integer(),
  generation: Type.Integer({ description: "Generation HAProxy serves now, verified." }),
  healthy: Type.Boolean(),
  reason: Type.String({ maxLength: 4096 }),
  address: Type.Optional(Ipv4),
  haproxyPid: Type.Optional(Type.Integer()),
  reloads: Type.Integer(),
  refused: Type.Array(object({ what: Type.String(), why: Type.String() }), {
    description: "Routes left out because they cannot be served; the others are not touched.",
  }),
  draining: Type.Array(object({ jobId: Id, sessions: Type.Integer() }), {
    description: "Open requests of each backend in drain.",
  }),
});
export type RouterReport = Static<typeof RouterReport>;

export const Router = object({
  id: Id,
  name: Type.String(),
  state: oneOf(["joining", "ready", "unhealthy", "lost"]),
  reason: Type.String(),
  generation: Type.Integer(),
  address: Type.Optional(Type.String()),
  reloads: Type.Integer(),
  joinedAt: Time,
  lastSeenAt: Type.Optional(Time),
});
export type Router = Static<typeof Router>;

export const listRouters = endpoint({
  id: "listRouters",
  method: "GET",
  path: "/v1/routers",
  summary: "List routers and the generation each serves",
  permission: "cluster:read",
  reply: listOf(Router),
});
export const deleteRouter = endpoint({
  id: "deleteRouter",
  method: "DELETE",
  path: "/v1/routers/:id",
  summary: "Remove a router that is gone for good; its certificate is refused from now on",
  permission: "cluster:write",
  params: IdParams,
  reply: Nothing,
});
export const routerTarget = endpoint({
  id: "routerTarget",
  method: "GET",
  path: "/v1/routers/:id/target",
  summary: "What a router should serve; whole state at each change",
  permission: "router",
  params: IdParams,
  reply: RouterTarget,
  item: RouterTarget,
});
export const reportRouter = endpoint({
  id: "reportRouter",
  method: "POST",
  path: "/v1/routers/:id/report",
  summary: "Acknowledge a generation; sent every 2 s and at each change",
  permission: "router",
  params: IdParams,
  body: RouterReport,
  reply: object({ term: Type.Integer() }),
});
