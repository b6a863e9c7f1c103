// Which routers count, and when it follows from their silence that there are none.
import type { Context } from "../context.ts";
import { PREFIX } from "../keys.ts";
import type { MemberRecord } from "../records.ts";
import type { Routers } from "./router-proofs.ts";

/**
 * Longer than the longest pause of a supervisor before it starts a dead router program again (15 s): HAProxy serves on meanwhile
 * with what it was sent last, and a job it still knows must not go, or its address comes to be another app's.
 */
const ALIVE_MS = 20_000;

export interface LiveRouters {
  /** Silence just after a start is not death: until each router was heard, or had its time, nothing follows from what is missing. */
  areHeard(): boolean;
  now(): Routers;
}

export function liveRouters(
  { store, presence }: Pick<Context, "store" | "presence">,
  { monotonicMs, aliveMs = ALIVE_MS }: { monotonicMs: () => number; aliveMs?: number | undefined },
): LiveRouters {
  const startedMs = monotonicMs();
  return {
    areHeard: () =>
      monotonicMs() - startedMs >= aliveMs ||
      store.list<MemberRecord>(PREFIX.routers).every(({ value }) => presence.routers.has(value.id)),
    now: () => ({
      term: store.term,
      members: store.count(PREFIX.routers),
      live: [...presence.routers.values()]
        .filter(({ atMs }) => monotonicMs() - atMs < aliveMs)
        .map(({ report }) => report),
    }),
  };
}
