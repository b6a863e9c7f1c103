// Which slots are being left, and how many requests they still have.
import type { RouterReport } from "#api/router-agents.ts";
import { type Assignment, namedBackends, type Slot, slotName } from "./assignment.ts";

const isLeft = (slot: Slot | null): slot is Slot => slot !== null && slot.state !== "up";

/** Backends whose sessions are to be asked for. */
export function drainingBackends(assignment: Assignment): string[] {
  return namedBackends(assignment).flatMap(([name, { slots }]) => (slots.some(isLeft) ? [name] : []));
}

/** `sessions`: by slot, `be_0001/s2`. */
export function countDraining(assignment: Assignment, sessions: ReadonlyMap<string, number>): RouterReport["draining"] {
  return namedBackends(assignment).flatMap(([name, { slots }]) =>
    slots.flatMap((slot, s) =>
      isLeft(slot) ? [{ jobId: slot.jobId, sessions: sessions.get(`${name}/${slotName(s)}`) ?? 0 }] : [],
    ),
  );
}
