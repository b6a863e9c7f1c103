// Who may have which domain and port. A domain belongs to one app, a port of the range to one route; what is taken is said
// without naming whose it is. Pure, from the store's view; the claims' keys make it hold under races.
import { domainToASCII, domainToUnicode } from "node:url";
import { Fault } from "#api/fault.ts";
import type { HttpRoute, Route, TcpRoute } from "#api/routes.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Change, Store } from "../store/store.ts";

export interface Claim {
  mutations: Change[];
  expect: { key: string; version: number }[];
}

/** First and last port of TCP routes, both included. */
export interface PortRange {
  first: number;
  last: number;
}

/** Answered by the routers themselves, whatever the routes say: who holds it can get certificates for the domain. */
const ACME_PATH = "/.well-known/acme-challenge";
/** Names of the platform's own servers. */
const OWN_DOMAIN = "flynn.internal";

/** The changes that make a route. Fault `conflict` when another app has the domain or port (its name is not told) or the route exists. */
export function claimOf(store: Store, route: Route): Claim {
  if (route.type === "tcp") checkPortFree(store, route.port);
  else checkHttp(store, route);
  const claim = claimKey(route);
  return {
    mutations: [
      { key: keys.route(route.id), value: route },
      { key: claim, value: route.id },
    ],
    expect: [{ key: claim, version: 0 }],
  };
}

/** The changes that end a route. */
export const routeEnd = (route: Route): Change[] => [
  { key: keys.route(route.id), value: null },
  { key: claimKey(route), value: null },
];

export function claimKey(route: HttpRoute | TcpRoute): string {
  return route.type === "tcp" ? keys.portClaim(route.port) : keys.routeClaim(route.domain, route.path);
}

/** How people know a route: `example.com`, `example.com/api`, `port 3000`. */
export function routeLabel(route: Route): string {
  if (route.type === "tcp") return `port ${route.port}`;
  return `${route.domain}${route.path === "/" ? "" : route.path}`;
}

function checkHttp(store: Store, { domain, path, appId }: HttpRoute): void {
  checkDomain(domain);
  if (path === ACME_PATH || path.startsWith(`${ACME_PATH}/`))
    throw new Fault("invalid", `the path ${ACME_PATH} is reserved for getting certificates`, {
      details: { field: "path" },
    });
  const sameDomain = store
    .list<Route>(PREFIX.routes)
    .flatMap(({ value }) => (value.type === "http" && value.domain === domain ? [value] : []));
  if (sameDomain.some((other) => other.appId !== appId))
    throw new Fault("conflict", `the domain ${domain} is taken by another app`);
  if (sameDomain.some((other) => other.path === path))
    throw new Fault("conflict", `the route ${domain}${path} exists already`);
}

/** Fault `invalid` for names that browsers never send, and for the platform's own. */
export function checkDomain(domain: string): void {
  const refuse = (why: string) => {
    throw new Fault("invalid", `the domain ${domain} ${why}`, { details: { field: "domain" } });
  };
  const name = domain.replace(/^\*\./, "");
  if (name === OWN_DOMAIN || name.endsWith(`.${OWN_DOMAIN}`)) refuse("is the platform's own");
  const unicode = domainToUnicode(name); // leaves a label as it is when it is no punycode
  const isPunycode = /(^|\.)xn--/.test(name);
  if (isPunycode && (/(^|\.)xn--/.test(unicode) || domainToASCII(unicode) !== name)) refuse("is not valid punycode");
}

function checkPortFree(store: Store, port: number): void {
  if (store.get(keys.portClaim(port)) !== undefined) throw new Fault("conflict", `port ${port} is taken`);
}

/** The port asked for, if it is of the range, else the lowest free one. */
export function choosePort(store: Store, { first, last }: PortRange, asked?: number): number {
  if (asked !== undefined) {
    if (asked < first || asked > last)
      throw new Fault("invalid", `port ${asked} is not of the range for TCP routes, ${first}-${last}`, {
        details: { field: "port" },
      });
    return asked;
  }
  for (let port = first; port <= last; port++) if (store.get(keys.portClaim(port)) === undefined) return port;
  throw new Fault(
    "no-capacity",
    `every port of ${first}-${last} has a route; remove one, or widen tcpPorts of control`,
  );
}

/** `3000-3500`, as the configuration's pattern admits it. */
export function portRange(text: string): PortRange {
  const [first = 0, last = 0] = text.split("-").map(Number);
  if (!(first >= 1 && first <= last && last <= 65_535))
    throw new Fault("invalid", `tcpPorts ${text}: two ports, the smaller first, such as 3000-3500`);
  return { first, last };
}
