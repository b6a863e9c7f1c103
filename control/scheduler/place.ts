// Chooses hosts for a group of identical jobs: the host with fewest of the group first, then the one least loaded after
// taking the job. Feasible hosts are scored once per group and kept in a heap; only the host that took a job is scored
// again. Reads the fleet and changes nothing: the caller charges what it accepts.
import { type Ask, hasRoom, isOpen } from "./feasible.ts";
import { type Fleet, groupKey } from "./fleet.ts";
import { HostHeap } from "./host-heap.ts";
import { type Resources, wholeNeed } from "./resources.ts";
import { explain, explainBriefly } from "./why-not.ts";

export type Placement =
  | { job: string; host: string; reason?: undefined }
  /** `brief` stays the same while hosts come, go and fill up: it is what is stored. `reason` is as of now, with the best on offer. */
  | { job: string; host?: undefined; reason: string; brief: string };

/** One placement per job, in order. Jobs that fit nowhere all carry the same reason. */
export function place(fleet: Fleet, ask: Ask): Placement[] {
  if (ask.jobs.length === 0) return [];
  const need = wholeNeed(ask.need);
  const taken = new Map<number, number>();
  const chosen = chooseSlots(fleet, ask, need, taken);
  const placements: Placement[] = new Array(ask.jobs.length);
  for (let at = 0; at < chosen.length; at++) {
    placements[at] = { job: ask.jobs[at]!, host: fleet.host(chosen[at]!)!.id };
  }
  if (chosen.length < ask.jobs.length) {
    const reason = explain(fleet, ask, taken);
    const brief = explainBriefly(fleet, ask);
    for (let at = chosen.length; at < ask.jobs.length; at++) placements[at] = { job: ask.jobs[at]!, reason, brief };
  }
  return placements;
}

function chooseSlots(fleet: Fleet, ask: Ask, need: Resources, taken: Map<number, number>): number[] {
  const bits = fleet.classes.compile(ask.tags);
  const counts = fleet.countsOf(groupKey(ask.app, ask.process, ask.release));
  const single = ask.antiAffinity === true;
  const pinned = ask.host === undefined ? undefined : (fleet.slotOf(ask.host) ?? -1);
  const from = pinned === undefined ? 0 : Math.max(0, pinned);
  const to = pinned === undefined ? fleet.high : pinned + 1;
  const someHeld = counts.size > 0;
  const wanted = ask.jobs.length;

  if (wanted === 1) {
    let best = -1;
    let bestKey = Number.POSITIVE_INFINITY;
    for (let slot = from; slot < to; slot++) {
      if (!isOpen(fleet, slot, bits) || !hasRoom(fleet, slot, need, 0)) continue;
      const held = someHeld ? (counts.get(slot) ?? 0) : 0;
      if (single && held > 0) continue;
      const key = keyOf(fleet, slot, need, 0, held);
      if (key < bestKey) {
        bestKey = key;
        best = slot;
      }
    }
    return best < 0 ? [] : [best];
  }

  const heap = new HostHeap(Math.max(0, to - from));
  for (let slot = from; slot < to; slot++) {
    if (!isOpen(fleet, slot, bits) || !hasRoom(fleet, slot, need, 0)) continue;
    const held = someHeld ? (counts.get(slot) ?? 0) : 0;
    if (single && held > 0) continue;
    heap.append(slot, keyOf(fleet, slot, need, 0, held));
  }
  heap.order();
  const chosen: number[] = [];
  while (chosen.length < wanted && heap.size > 0) {
    const slot = heap.top();
    const mine = (taken.get(slot) ?? 0) + 1;
    chosen.push(slot);
    taken.set(slot, mine);
    if (single || !hasRoom(fleet, slot, need, mine)) heap.dropTop();
    else heap.rekeyTop(keyOf(fleet, slot, need, mine, (counts.get(slot) ?? 0) + mine));
  }
  return chosen;
}

/** Jobs of the group already there weigh more than any load: the load is a mean of three fractions, at most 1. */
function keyOf(fleet: Fleet, slot: number, need: Resources, mine: number, held: number): number {
  const times = mine + 1;
  const load =
    (fleet.capCpu[slot]! - fleet.freeCpu[slot]! + need.cpuMillis * times) * fleet.invCpu[slot]! +
    (fleet.capMemory[slot]! - fleet.freeMemory[slot]! + need.memoryMiB * times) * fleet.invMemory[slot]! +
    (fleet.capDisk[slot]! - fleet.freeDisk[slot]! + need.diskMiB * times) * fleet.invDisk[slot]!;
  return held + Math.min(load, 3) / 4;
}
