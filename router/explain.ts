// Which route, pool and slots would serve a request, and why not: the same rule as the maps of the frontend, in words.
import type { RouterTarget } from "#api/router-agents.ts";
import { type Assignment, backendName, poolKey, routeKey, slotName } from "./assignment.ts";
import type { RunningSlot } from "./verify.ts";

export interface ExplainInput {
  target: RouterTarget;
  assignment: Assignment;
  /** What HAProxy says of its slots, when it answers. */
  slots?: ReadonlyMap<string, RunningSlot>;
}

/** `host[/path]` -> lines of text. */
export function explain(request: string, { target, assignment, slots }: ExplainInput): string[] {
  const [authority = "", ...rest] = request.replace(/^https?:\/\//, "").split("/");
  const host = authority.split(":")[0]!.toLowerCase().replace(/\.+$/, "");
  const path = `/${rest.join("/")}`.replace(/[?#].*$/, "");
  const route = findRoute(host, path, target);
  if (!route) {
    const others = target.routes.filter(({ domain }) => domain === host).map((each) => each.path);
    const hint = others.length > 0 ? `; it has routes for ${others.join(" ")} only` : "";
    return [`request   ${host}${path}`, `route     none: no app has a route for ${host}${hint} -> 404`];
  }
  const lines = [`request   ${host}${path}`, `route     ${route.domain}${route.path}`, `pool      ${route.poolId}`];
  const { canary, protocol } = route;
  const wanted = (poolId: string) => poolKey(poolId, protocol);
  const positionOf = (poolId: string) =>
    assignment.backends.findIndex(
      ({ pool, protocol: spoken }) => pool !== undefined && poolKey(pool.id, spoken) === wanted(poolId),
    );
  if (canary !== undefined) {
    const at = positionOf(canary.poolId);
    const where = at < 0 ? "not applied" : backendName(at);
    lines.push(
      `canary    ${canary.percent} % of the requests go to ${canary.poolId} (${where}); what follows is for the others`,
    );
  }
  const b = positionOf(route.poolId);
  if (b < 0) return [...lines, `backend   none yet: pool ${route.poolId} is unknown or not applied`];
  const used = assignment.backends[b]!.slots.flatMap((slot, s) =>
    slot ? [{ slot, name: `${backendName(b)}/${slotName(s)}` }] : [],
  );
  const serving = used.filter(({ slot }) => slot.state === "up").length;
  return [
    ...lines,
    `backend   ${backendName(b)}, ${assignment.backends[b]!.slots.length} slots, ${serving} to serve${serving === 0 ? " -> 503" : ""}`,
    ...used.map(({ slot, name }) => {
      const seen = slots?.get(name);
      const health = seen ? `, HAProxy: ${seen.mode} ${seen.isUp ? "up" : "down"}` : "";
      return `slot      ${name} ${slot.jobId} ${slot.address}:${slot.port} ${slot.state}${health}`;
    }),
  ];
}

/** An exact host before a wildcard of one label; within a host the longest path, by whole segments. */
export function findRoute(host: string, path: string, { routes }: Pick<RouterTarget, "routes">) {
  const wildcard = `*.${host.split(".").slice(1).join(".")}`;
  for (const domain of [host, wildcard]) {
    const fitting = routes
      .filter(
        (route) => route.domain === domain && routeKey(domain, `${path}/`).startsWith(routeKey(domain, route.path)),
      )
      .sort((a, b) => b.path.length - a.path.length);
    if (fitting[0]) return fitting[0];
  }
  return undefined;
}
