// Room given back: what grew by doubling while there was much to serve shrinks when HAProxy reads its configuration anew.
import type { Assignment, Backend } from "./assignment.ts";

export interface Room {
  backends: number;
  slots: number;
  /** Ports listened on whether they have a route or not. */
  ports: ReadonlySet<number>;
}

/** The same with room for twice what is in use, at least for `least`. Nothing in use moves; what just doubled stays. */
export function trimmed({ backends, tcp }: Assignment, least: Room): Assignment {
  const used = backends.findLastIndex(isUsed) + 1;
  const kept = backends.slice(0, Math.max(least.backends, used * 2)).map((each) => fewerSlots(each, least.slots));
  const ports = tcp?.filter((each) => isUsed(each) || least.ports.has(each.port));
  if (ports === undefined || ports.length === 0) return { backends: kept };
  return { backends: kept, tcp: ports.map((each) => fewerSlots(each, least.slots)) };
}

const isUsed = ({ pool, slots }: Backend): boolean => pool !== undefined || slots.some((slot) => slot !== null);

function fewerSlots<B extends Backend>(backend: B, least: number): B {
  const used = backend.slots.findLastIndex((slot) => slot !== null) + 1;
  const most = Math.max(least, used * 2);
  return backend.slots.length > most ? { ...backend, slots: backend.slots.slice(0, most) } : backend;
}
