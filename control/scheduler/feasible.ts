// Whether a host may take one more job of an ask. The only place this is decided: the placement scan, the blocked queue
// and the explanation all use it, so they cannot disagree.
import { ELIGIBLE, type Fleet, groupKey } from "./fleet.ts";
import { type Resources, wholeNeed } from "./resources.ts";
import type { Tags } from "./tag-classes.ts";

export interface Ask {
  app: string;
  process: string;
  release: string;
  /** What each of the jobs needs. */
  need: Resources;
  /** A host must carry all of these. */
  tags: Tags;
  /** At most one job of this process of this release per host. */
  antiAffinity?: boolean;
  /** Only this host will do: its id. */
  host?: string;
  /** Ids of the jobs to place, all alike. */
  jobs: readonly string[];
}

/** True when one more job of the ask could go to this slot now: what the blocked queue asks when room appears. */
export function fits(fleet: Fleet, slot: number, ask: Ask): boolean {
  const bits = fleet.classes.compile(ask.tags);
  const need = wholeNeed(ask.need);
  return (
    (ask.host === undefined || fleet.slotOf(ask.host) === slot) &&
    isOpen(fleet, slot, bits) &&
    hasRoom(fleet, slot, need, 0) &&
    !(ask.antiAffinity === true && fleet.countsOf(groupKey(ask.app, ask.process, ask.release)).has(slot))
  );
}

/** In use, and of a class that carries the wanted tags (`bits` from `classes.compile`). */
export function isOpen(fleet: Fleet, slot: number, bits: Uint32Array): boolean {
  const tagClass = fleet.tagClass[slot]!;
  return fleet.state[slot] === ELIGIBLE && (bits[tagClass >>> 5]! & (1 << (tagClass & 31))) !== 0;
}

/** Room for one more after `mine` of the same were taken, an address among it. What a job does not ask for never stands in its way. */
export function hasRoom(fleet: Fleet, slot: number, need: Resources, mine: number): boolean {
  const times = mine + 1;
  return (
    fleet.freeAddresses[slot]! >= times &&
    (need.cpuMillis === 0 || fleet.freeCpu[slot]! >= need.cpuMillis * times) &&
    (need.memoryMiB === 0 || fleet.freeMemory[slot]! >= need.memoryMiB * times) &&
    (need.diskMiB === 0 || fleet.freeDisk[slot]! >= need.diskMiB * times)
  );
}
