// What this router should serve, as control says it: whole targets, one after the other, for as long as it takes.
import type { Client } from "#api/client.ts";
import { isFault } from "#api/fault.ts";
import { keysDigest } from "#api/keys-digest.ts";
import { type RouterTarget, type RouterTargetPart, routerTarget } from "#api/router-agents.ts";
import type { Log } from "#lib/log.ts";
import { joined, sleep } from "#lib/time.ts";
import { assembler } from "./assemble.ts";

/** Before all of a target is asked for, since what came did not fit the one that is here. */
const AGAIN_MS = 500;

/** What the target needs to be followed again by differences alone. */
const CAN_CHANGES = "target-changes";

export interface TargetsOptions {
  id: string;
  known: RouterTarget;
  /** Told each time the stream breaks, and why. */
  onBreak?: (error: unknown) => void;
  log: Log;
  signal: AbortSignal;
}

/**
 * Every well-formed target control sends; a malformed one is logged and left out, the last good one stays. `known`: the target
 * held from before, by which control can leave out what is the same.
 */
export async function* targets(
  client: Client,
  { id, known, onBreak: told, log, signal }: TargetsOptions,
): AsyncGenerator<RouterTarget> {
  let isBroken = false;
  /** Control of an earlier build refuses what it does not know. */
  let isEarlier = false;
  let have: RouterTarget | undefined = known;
  let assembling = assembler(known);
  const onBreak = (error: unknown) => {
    if (isFault(error, "invalid")) isEarlier = true;
    if (!isBroken) log.warn({ err: error }, "control is away, serving the last target");
    isBroken = true;
    told?.(error);
  };
  const query = () => {
    const peer = client.peer();
    if (peer !== undefined && peer.part === "control") isEarlier = !peer.capabilities.includes(CAN_CHANGES);
    assembling = assembler(have); // parts of a stream that broke are followed by none of the next one
    if (isEarlier) return { parts: true };
    const { term = 0, generation = 0, certificates } = have ?? {};
    return { parts: true, have: `${term}:${generation}:${certificates ? keysDigest(certificates) : ""}` };
  };
  while (!signal.aborted) {
    const again = new AbortController();
    const ended = joined(signal, again.signal);
    for await (const { event, data } of client.follow(routerTarget, {
      params: { id },
      query,
      signal: ended.signal,
      onBreak,
    })) {
      if (isBroken) log.info("control is back");
      isBroken = false;
      if (event !== "item") continue;
      try {
        if (!isTarget(data)) throw new Error("a list or a field of it is missing");
        const target = assembling.add(data);
        if (target === undefined) continue;
        have = target;
        yield target;
      } catch (error) {
        log.error({ err: error }, "control sent a target that is none");
        if (isEarlier || have === undefined) continue;
        have = undefined; // what follows may be said against it: all of it is asked for
        again.abort();
        break;
      }
    }
    ended.release();
    if (again.signal.aborted) await sleep(AGAIN_MS, signal);
  }
}

/** The shape only: what a single route or job is worth is decided for each by itself (assign.ts). */
export function isTarget(value: unknown): value is RouterTargetPart {
  const {
    term,
    generation,
    clusterRange,
    peers,
    pools,
    routes,
    tcp = [],
    certificates = [],
    part,
    since,
    removed = {},
  } = (value ?? {}) as Record<string, unknown>;
  return (
    Number.isInteger(term) &&
    Number.isInteger(generation) &&
    typeof clusterRange === "string" &&
    (peers === undefined ? isDifference(since, part) : areRows(peers, ["subnet", "address"])) &&
    (since === undefined || Number.isInteger(since)) &&
    areLists(removed) &&
    areRows(routes, ["domain", "path", "poolId"]) &&
    areRows(pools, ["id", "app"]) &&
    areRows(tcp, ["poolId"]) &&
    areRows(certificates, ["id"]) &&
    certificates.every(({ pem }) => pem === undefined || typeof pem === "string") &&
    isPart(part) &&
    certificates.every(({ names }) => Array.isArray(names) && names.every((name) => typeof name === "string")) &&
    pools.every((pool) => areRows(pool["backends"], ["jobId", "address", "state"]))
  );
}

/** Only the first part of a whole target, and differences without any of them, need no peers. */
const isDifference = (since: unknown, part: unknown): boolean =>
  since !== undefined || Number((part as { index?: number } | undefined)?.index) > 0;

function areLists(removed: unknown): boolean {
  if (removed === null || typeof removed !== "object") return false;
  const { pools = [], routes = [], tcp = [], certificates = [] } = removed as Record<string, unknown>;
  const areTexts = (list: unknown) => Array.isArray(list) && list.every((each) => typeof each === "string");
  return areTexts(pools) && areTexts(certificates) && Array.isArray(tcp) && areRows(routes, ["domain", "path"]);
}

function isPart(part: unknown): boolean {
  if (part === undefined) return true;
  const { index, count } = (part ?? {}) as Record<string, unknown>;
  return Number.isInteger(index) && Number.isInteger(count);
}

function areRows(value: unknown, texts: string[]): value is Record<string, unknown>[] {
  return (
    Array.isArray(value) &&
    value.every(
      (row) => row !== null && typeof row === "object" && texts.every((name) => typeof row[name] === "string"),
    )
  );
}
