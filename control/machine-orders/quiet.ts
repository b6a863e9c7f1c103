// Running orders of which nothing is heard end: nobody waits for ever. Only time that control ran counts, and only since it first saw
// the step: after a pause or a restart there is time to be heard again.
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { every } from "#lib/time.ts";
import { formatDuration } from "#lib/units.ts";
import type { Entry } from "../store/entry.ts";
import type { MachineOrderRecord } from "./record.ts";

const LOOK_EVERY_MS = 2_000;
/** More than this between two looks was a pause, which is nobody's silence. */
const PAUSE_MS = 10_000;

export interface QuietWatch {
  open: () => readonly Entry<MachineOrderRecord>[];
  end: (order: MachineOrderRecord, reason: string) => Promise<void>;
  monotonicMs: () => number;
  log: Log;
  signal: AbortSignal;
  everyMs?: number;
}

interface Heard {
  version: number;
  quietMs: number;
}

/** One look: which are too quiet, by how long each was seen to be as it is. Pure but for `heard`. */
export function tooQuiet(
  open: readonly Entry<MachineOrderRecord>[],
  heard: Map<string, Heard>,
  passedMs: number,
): MachineOrderRecord[] {
  const there = new Set(open.map(({ key }) => key));
  for (const key of heard.keys()) if (!there.has(key)) heard.delete(key);
  const counted = Math.min(passedMs, PAUSE_MS);
  return open.flatMap(({ key, version, value }) => {
    const before = heard.get(key);
    const quietMs = before?.version === version ? before.quietMs + counted : 0;
    heard.set(key, { version, quietMs });
    return value.state === "running" && quietMs >= value.quietMs ? [value] : [];
  });
}

export async function watchQuiet({ open, end, monotonicMs, log, signal, everyMs = LOOK_EVERY_MS }: QuietWatch) {
  const heard = new Map<string, Heard>();
  let lookedMs = monotonicMs();
  for await (const _ of every(everyMs, signal)) {
    const nowMs = monotonicMs();
    const late = tooQuiet(open(), heard, nowMs - lookedMs);
    lookedMs = nowMs;
    for (const order of late)
      await end(
        order,
        `nothing was heard of it for ${formatDuration(order.quietMs)}; the last step was: ${order.step}`,
      ).catch((error: unknown) => log.warn({ order: order.id, causes: causeChain(error) }, "an order was not ended"));
  }
}
