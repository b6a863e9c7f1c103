// What control and routers say to one another: the target, and the report that acknowledges a generation of it.
import { type Static, Type } from "typebox";
import { ControlUrls } from "./control-urls.ts";
import { endpoint } from "./endpoint.ts";
import {
  Domain,
  HstsSeconds,
  ProxyProtocol,
  RoutePath,
  RouteProtocol,
  RouteRate,
  RouteTls,
  TcpPort,
} from "./routes.ts";
import { Id, IdParams, Ipv4, Name, object, oneOf, ProcessName } from "./schema.ts";
import { SharePercent } from "./staging.ts";

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
