// Routes as people read and write them.
import { domainToASCII } from "node:url";
import { Fault } from "#api/fault.ts";
import type { HttpRoute, Route } from "#api/routes.ts";

/** `http:example.com/api`, `tcp:3000`. */
export const routeLabel = (route: Route): string =>
  route.type === "tcp" ? `tcp:${route.port}` : `http:${route.domain}${route.path}`;

export const routeUrl = ({ domain, path, tls }: HttpRoute): string =>
  `${tls === "redirect" ? "https" : "http"}://${domain}${path}`;

/** Options that differ from the usual, such as `sticky, http -> https`. */
export function routeOptions(route: Route): string {
  const options =
    route.type === "tcp"
      ? [route.proxyProtocol && `PROXY ${route.proxyProtocol}`]
      : [
          route.tls === "redirect" && "http -> https",
          route.sticky && "sticky",
          route.hstsSeconds !== undefined && `HSTS ${route.hstsSeconds} s`,
          route.protocol,
          route.rate && `${route.rate.requests} a ${route.rate.per} from a client`,
          route.canary &&
            `canary ${route.canary.percent}% for ${route.canary.version === undefined ? route.canary.releaseId : `v${route.canary.version}`}`,
        ];
  return options.filter(Boolean).join(", ");
}

/** `Bücher.example/api/` -> domain xn--bcher-kva.example, path /api. */
export function splitRoute(text: string): { domain: string; path?: string } {
  if (text.includes("://"))
    throw new Fault(
      "invalid",
      `${text}: write a domain, and a path if you like, without http://, such as example.com/api`,
    );
  const slash = text.indexOf("/");
  const name = (slash < 0 ? text : text.slice(0, slash)).toLowerCase();
  // Only what is not ASCII is changed: what the API refuses is to be refused as it was written.
  const isAscii = /^[\x20-\x7e]*$/.test(name);
  const domain = isAscii ? name : domainToASCII(name) || name;
  const path = slash < 0 ? "/" : text.slice(slash);
  return path === "/" ? { domain } : { domain, path };
}
