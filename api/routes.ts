// Routes and the routers that serve them. A router's state is one generation, acknowledged when HAProxy serves it.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import {
  Id,
  IdParams,
  listOf,
  Name,
  Nothing,
  nullable,
  object,
  oneOf,
  PageQuery,
  ProcessName,
  Time,
} from "./schema.ts";
import { SharePercent } from "./staging.ts";
import { Hello } from "./version.ts";

export const DOMAIN_PATTERN = "^(\\*\\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
export const Domain = Type.String({
  maxLength: 253,
  pattern: DOMAIN_PATTERN,
  description: "Host name, lower case; *.example.com matches one label.",
});
export const RoutePath = Type.String({
  maxLength: 200,
  // One way to match any text: a nested repetition here would take exponential time on hostile paths.
  pattern: "^/([A-Za-z0-9._~-]+/)*([A-Za-z0-9._~-]+)?$",
  not: { pattern: "/\\.{1,2}(/|$)" },
  description: "Path prefix of letters, digits and ._~-, no `..`; the longest match wins.",
});

export const RouteTls = oneOf(
  ["both", "redirect"],
  "both: answered over http and https alike. redirect: http is sent on to https (308).",
);
export const HstsSeconds = Type.Integer({
  minimum: 0,
  maximum: 63_072_000,
  description: "Strict-Transport-Security: max-age of answers over https; browsers then refuse http for that long.",
});
export const ProxyProtocol = oneOf(
  ["v1", "v2"],
  "Header of the PROXY protocol that each connection to a job begins with.",
);
export const RouteProtocol = oneOf(
  ["h2c"],
  "How the jobs are spoken to: h2c is HTTP/2 without TLS, which gRPC needs, trailers and streams both ways included. HTTP/1.1 when absent.",
);
export type RouteProtocol = Static<typeof RouteProtocol>;
export const RatePeriod = oneOf(["second", "minute", "hour"]);
export const RouteRate = object(
  {
    requests: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
    per: RatePeriod,
  },
  "What one client address (of IPv6: its /64) may ask of this route within the time, counted by each router for itself; more is answered 429 with Retry-After.",
);
export type RouteRate = Static<typeof RouteRate>;
/** A share of an http route's requests for the jobs of one release, while a deployment to it is paused. */
export const Canary = object(
  {
    releaseId: Id,
    version: Type.Optional(Type.Integer({ minimum: 1, description: "Of the release, as people know it." })),
    percent: SharePercent,
  },
  "The release's jobs get this share of the route's requests, and no others of the app's; the rest go to the app's other jobs. Where either have no healthy job, the others take all. Ends when the deployment to the release resumes or ends.",
);
export type Canary = Static<typeof Canary>;
export const TcpPort = Type.Integer({ minimum: 1, maximum: 65_535, description: "Port on every router." });

const owned = { id: Id, appId: Id, app: Name, process: ProcessName, createdAt: Time };
export const HttpRoute = object({
  ...owned,
  type: oneOf(["http"]),
  domain: Domain,
  path: RoutePath,
  tls: Type.Optional(RouteTls),
  sticky: Type.Optional(
    Type.Boolean({ description: "A client's requests go to the job that answered its first one." }),
  ),
  hstsSeconds: Type.Optional(HstsSeconds),
  protocol: Type.Optional(RouteProtocol),
  rate: Type.Optional(RouteRate),
  canary: Type.Optional(Canary),
});
export type HttpRoute = Static<typeof HttpRoute>;
export const TcpRoute = object({
  ...owned,
  type: oneOf(["tcp"]),
  port: TcpPort,
  proxyProtocol: Type.Optional(ProxyProtocol),
});
export type TcpRoute = Static<typeof TcpRoute>;
export const Route = Type.Union([HttpRoute, TcpRoute]);
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
  idempotent: true,
  path: "/v1/routes",
  location: "/v1/routes/{id}",
  summary: "Route a domain (http) or a port (tcp) to an app; one that another app has is a conflict",
  permission: "app:write",
  status: 201,
  body: object({
    app: Id,
    type: Type.Optional(oneOf(["http", "tcp"], "http when absent.")),
    process: Type.Optional(ProcessName),
    domain: Type.Optional(Domain),
    path: Type.Optional(RoutePath),
    tls: Type.Optional(RouteTls),
    sticky: Type.Optional(Type.Boolean()),
    hstsSeconds: Type.Optional(HstsSeconds),
    protocol: Type.Optional(RouteProtocol),
    rate: Type.Optional(RouteRate),
    port: Type.Optional(
      Type.Unsafe<number>({
        ...TcpPort,
        description: "Of a tcp route, from the cluster's range; a free one when absent.",
      }),
    ),
    proxyProtocol: Type.Optional(ProxyProtocol),
  }),
  reply: Route,
});
export const updateRoute = endpoint({
  id: "updateRoute",
  method: "PATCH",
  path: "/v1/routes/:id",
  summary: "Change a route's process or options; null takes an option back. Domain, path and port stay",
  permission: "app:write",
  faults: ["gone"],
  versioned: true,
  conditional: true,
  params: IdParams,
  body: object({
    process: Type.Optional(ProcessName),
    tls: Type.Optional(nullable(RouteTls)),
    sticky: Type.Optional(nullable(Type.Boolean())),
    hstsSeconds: Type.Optional(nullable(HstsSeconds)),
    protocol: Type.Optional(nullable(RouteProtocol)),
    rate: Type.Optional(nullable(RouteRate)),
    proxyProtocol: Type.Optional(nullable(ProxyProtocol)),
    canary: Type.Optional(
      nullable(
        object({
          release: Type.Optional(
            Type.String({
              maxLength: 64,
              description: "By id or vN; that of the app's paused deployment when absent.",
            }),
          ),
          percent: SharePercent,
        }),
      ),
    ),
  }),
  reply: Route,
});
export const getRoute = endpoint({
  id: "getRoute",
  method: "GET",
  path: "/v1/routes/:id",
  summary: "Show a route",
  permission: "app:read",
  versioned: true,
  params: IdParams,
  reply: Route,
});
export const deleteRoute = endpoint({
  id: "deleteRoute",
  method: "DELETE",
  path: "/v1/routes/:id",
  summary: "Remove a route",
  permission: "app:write",
  conditional: true,
  params: IdParams,
  reply: Nothing,
});

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
  hello: Type.Optional(Type.Unsafe<Hello>({ ...Hello, description: "What it said of itself when it was heard last." })),
});
export type Router = Static<typeof Router>;

export const listRouters = endpoint({
  id: "listRouters",
  method: "GET",
  path: "/v1/routers",
  summary: "List routers and the generation each serves",
  permission: "cluster:read",
  query: object(PageQuery),
  reply: listOf(Router),
});
export const getRouter = endpoint({
  id: "getRouter",
  method: "GET",
  path: "/v1/routers/:id",
  summary: "Show a router",
  permission: "cluster:read",
  params: IdParams,
  reply: Router,
});
export const deleteRouter = endpoint({
  id: "deleteRouter",
  method: "DELETE",
  path: "/v1/routers/:id",
  summary: "Remove a router that is gone for good; its certificate is refused from now on",
  permission: "cluster:write",
  conditional: true,
  params: IdParams,
  reply: Nothing,
});
