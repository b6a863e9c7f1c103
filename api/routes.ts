// Routes and the routers that serve them. A router's state is one generation, acknowledged when HAProxy serves it.
import { type Static, Type } from "typebox";
import { ControlUrls } from "./control-urls.ts";
import { endpoint } from "./endpoint.ts";
import {
  Id,
  IdParams,
  Ipv4,
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

export const Backend = object({
  jobId: Id,
  address: Type.String({ description: "IPv4" }),
  port: Type.Integer({ minimum: 1, maximum: 65_535 }),
  state: oneOf(["up", "drain"], "drain: no new requests, running ones end."),
});
export type Backend = Static<typeof Backend>;

/** Bytes of a page as routers are given it; it travels through one buffer of HAProxy. */
export const PAGE_BYTES = 10_240;
const Page = Type.String({ description: "HTML in printable ASCII, at most 10 KiB, answered in the app's place." });

/** One pool of backends (app + process) and the routes that lead to it. */
export const Pool = object({
  id: Type.String({ description: "<appId>/<process>, or <appId>/<process>@<releaseId> for a canary's jobs." }),
  app: Name,
  process: ProcessName,
  backends: Type.Array(Backend),
  maintenance: Type.Optional(Page),
  errorPage: Type.Optional(Page),
});
export const CanaryPool = object(
  { poolId: Type.String(), percent: SharePercent },
  "This share of its requests goes to that pool, which is in `pools` and has at least one backend that is up.",
);
export const PooledDomain = object({
  domain: Domain,
  path: RoutePath,
  poolId: Type.String(),
  tls: Type.Optional(RouteTls),
  sticky: Type.Optional(Type.Boolean()),
  hstsSeconds: Type.Optional(HstsSeconds),
  protocol: Type.Optional(RouteProtocol),
  rate: Type.Optional(RouteRate),
  canary: Type.Optional(CanaryPool),
});
export const PooledPort = object({
  port: TcpPort,
  poolId: Type.String(),
  proxyProtocol: Type.Optional(ProxyProtocol),
});
export const TcpPorts = object(
  { first: TcpPort, last: TcpPort },
  "Ports that TCP routes may have: a router listens on all of them once there is a TCP route, so that the next needs no reload.",
);
export const RouterTarget = object({
  term: Type.Integer(),
  generation: Type.Integer({
    description: "Grows at each change of routes or backends; the seq of the record that made it.",
  }),
  clusterRange: Type.String(),
  peers: Type.Array(object({ hostId: Id, subnet: Type.String(), address: Type.String() }), {
    description: "How each host's subnet is reached.",
  }),
  controlUrls: Type.Optional(ControlUrls),
  pools: Type.Array(Pool),
  routes: Type.Array(PooledDomain),
  tcpPorts: Type.Optional(TcpPorts),
  tcp: Type.Optional(Type.Array(PooledPort)),
  certificates: Type.Optional(
    Type.Array(
      object({
        id: Id,
        names: Type.Array(Domain, { description: "Server names it is shown for." }),
        pem: Type.String({ description: "Chain and private key. Only routers are ever given it." }),
      }),
    ),
  ),
});
export type RouterTarget = Static<typeof RouterTarget>;

export const RouterTargetPart = object({
  ...RouterTarget.properties,
  certificates: Type.Optional(
    Type.Array(
      object({
        id: Id,
        names: Type.Array(Domain),
        pem: Type.Optional(Type.String({ description: "Absent when it is what this stream last sent for the id." })),
      }),
    ),
  ),
  peers: Type.Optional(
    Type.Unsafe<RouterTarget["peers"]>({
      ...RouterTarget.properties.peers,
      description: "How each host's subnet is reached. Absent with `since`: as before.",
    }),
  ),
  since: Type.Optional(
    Type.Integer({
      description:
        "The lists hold only what differs from this generation of the same term, and `removed` what is gone. Only where `have` asked for it.",
    }),
  ),
  removed: Type.Optional(
    object({
      pools: Type.Optional(Type.Array(Type.String())),
      routes: Type.Optional(Type.Array(object({ domain: Domain, path: RoutePath }))),
      tcp: Type.Optional(Type.Array(TcpPort)),
      certificates: Type.Optional(Type.Array(Id)),
    }),
  ),
  part: Type.Optional(
    object(
      { index: Type.Integer({ minimum: 0 }), count: Type.Integer({ minimum: 1 }) },
      "A large target comes in several events: its lists are those of all of them, in order. Absent: this is all.",
    ),
  ),
});
export type RouterTargetPart = Static<typeof RouterTargetPart>;

export const RouterReport = object({
  term: Type.Integer(),
  generation: Type.Integer({ description: "Generation HAProxy serves now, verified." }),
  healthy: Type.Boolean(),
  reason: Type.String({ maxLength: 4096 }),
  address: Type.Optional(Ipv4),
  localAddresses: Type.Optional(
    Type.Array(Ipv4, {
      maxItems: 64,
      description: "Every IPv4 address of its machine but loopback and link-local: closed to jobs and builds.",
    }),
  ),
  ports: Type.Optional(
    Type.Array(Type.Integer({ minimum: 1, maximum: 65_535 }), {
      maxItems: 8,
      description: "TCP ports it serves HTTP and HTTPS on; 80 and 443 when left out.",
    }),
  ),
  haproxyPid: Type.Optional(Type.Integer()),
  reloads: Type.Integer(),
  refused: Type.Array(object({ what: Type.String({ maxLength: 1024 }), why: Type.String({ maxLength: 4096 }) }), {
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
export const routerTarget = endpoint({
  id: "routerTarget",
  method: "GET",
  path: "/v1/routers/:id/target",
  summary: "What a router should serve; whole state at each change",
  permission: "router",
  params: IdParams,
  query: object({
    parts: Type.Optional(
      Type.Boolean({
        description:
          "Stream: a large target in several events, private keys only when they change. Routers of earlier builds do not ask for it.",
      }),
    ),
    have: Type.Optional(
      Type.String({
        pattern: "^[0-9]{1,16}:[0-9]{1,16}:([0-9a-f]{64})?$",
        description:
          "Stream, with `parts`: term, generation and keys of the target that the router has, `0:0:` for none. What differs from it is sent where control knows it, else all of it, without private keys where those are the same. For a control that can `target-changes`.",
      }),
    ),
  }),
  reply: RouterTarget,
  item: RouterTargetPart,
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
