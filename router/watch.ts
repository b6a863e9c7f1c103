// What this router should serve, as control says it: whole targets, one after the other, for as long as it takes.
import type { Client } from "#api/client.ts";
import { type RouterTarget, routerTarget } from "#api/routes.ts";
import type { Log } from "#lib/log.ts";

/** Every well-formed target control sends; a malformed one is logged and left out, the last good one stays. */
export async function* targets(
  client: Client,
  id: string,
  log: Log,
  signal: AbortSignal,
): AsyncGenerator<RouterTarget> {
  let isBroken = false;
  const onBreak = (error: unknown) => {
    if (!isBroken) log.warn({ err: error }, "control is away, serving the last target");
    isBroken = true;
  };
  for await (const { event, data } of client.follow(routerTarget, { params: { id }, signal, onBreak })) {
    if (isBroken) log.info("control is back");
    isBroken = false;
    if (event !== "item") continue;
    if (isTarget(data)) yield data;
    else log.error("control sent a target that is none");
  }
}

/** The shape only: what a single route or job is worth is decided for each by itself (assign.ts). */
export function isTarget(value: unknown): value is RouterTarget {
  const {
    term,
    generation,
    clusterRange,
    peers,
    pools,
    routes,
    tcp = [],
    certificates = [],
  } = (value ?? {}) as Record<string, unknown>;
  return (
    Number.isInteger(term) &&
    Number.isInteger(generation) &&
    typeof clusterRange === "string" &&
    areRows(peers, ["subnet", "address"]) &&
    areRows(routes, ["domain", "path", "poolId"]) &&
    areRows(pools, ["id", "app"]) &&
    areRows(tcp, ["poolId"]) &&
    areRows(certificates, ["id", "pem"]) &&
    certificates.every(({ names }) => Array.isArray(names) && names.every((name) => typeof name === "string")) &&
    pools.every((pool) => areRows(pool["backends"], ["jobId", "address", "state"]))
  );
}

function areRows(value: unknown, texts: string[]): value is Record<string, unknown>[] {
  return (
    Array.isArray(value) &&
    value.every(
      (row) => row !== null && typeof row === "object" && texts.every((name) => typeof row[name] === "string"),
    )
  );
}
