// A route from what somebody asked for: options that belong to http or to tcp, refused by name on the other.
import type { Body } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import type { Canary, createRoute, Route, updateRoute } from "#api/routes.ts";

type Asked = Body<typeof createRoute>;
type Changes = Omit<Body<typeof updateRoute>, "canary"> & { canary?: Canary | null };
type Owner = Pick<Route, "id" | "appId" | "app" | "createdAt">;

const HTTP_ONLY = ["domain", "path", "tls", "sticky", "hstsSeconds", "protocol", "rate", "canary"] as const;
const TCP_ONLY = ["port", "proxyProtocol"] as const;

/** Fault `invalid` when it asks for what its type does not have. `port` is called for tcp only. */
export function newRoute(owner: Owner, asked: Asked, port: () => number): Route {
  const type = asked.type ?? "http";
  refuseForeign(type, asked);
  const process = asked.process ?? "web";
  if (type === "tcp") {
    const { proxyProtocol } = asked;
    return { ...owner, process, type, port: port(), ...(proxyProtocol ? { proxyProtocol } : {}) };
  }
  if (asked.domain === undefined)
    throw new Fault("invalid", "an http route needs a domain", { details: { field: "domain" } });
  return withOptions(
    { ...owner, process, type, domain: asked.domain, path: normalPath(asked.path ?? "/") },
    {
      tls: asked.tls,
      sticky: asked.sticky,
      hstsSeconds: asked.hstsSeconds,
      protocol: asked.protocol,
      rate: asked.rate,
    },
  );
}

/** The route with the changes; null takes an option back. */
export function changed(route: Route, changes: Changes): Route {
  refuseForeign(route.type, changes);
  return withOptions(route, changes);
}

function withOptions(route: Route, options: Changes): Route {
  const fields = Object.entries({ ...route, ...onlyGiven(options) });
  return Object.fromEntries(fields.filter(([, value]) => value !== null && value !== false)) as unknown as Route;
}

const onlyGiven = (options: Changes) =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

function refuseForeign(type: Route["type"], given: Partial<Record<string, unknown>>): void {
  for (const field of type === "http" ? TCP_ONLY : HTTP_ONLY)
    if (given[field] !== undefined && given[field] !== null)
      throw new Fault("invalid", `${field} is not for ${type} routes`, { details: { field } });
}

const normalPath = (path: string): string => (path.length > 1 ? path.replace(/\/+$/, "") : path);
