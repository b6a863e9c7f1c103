// The parts of control itself in the status, in plain words. Pure.
import type { Static } from "typebox";
import type * as status from "#api/status.ts";
import type { FailingLoop } from "./loops.ts";
import type { BrakeStatus } from "./scheduler/liveness.ts";
import type { SchedulerStatus } from "./scheduler/scheduler.ts";

type Part = Static<typeof status.Part>;

export const registryPart = (address: string, problem: string | undefined): Part => ({
  name: "registry",
  state: problem === undefined ? "ok" : "down",
  message: problem ?? `answers at ${address}`,
});

export function schedulerPart(
  brake: Pick<BrakeStatus, "on" | "waiting">,
  { blocked, differencesSinceStart, failing }: Pick<SchedulerStatus, "blocked" | "differencesSinceStart" | "failing">,
): Part {
  const state = brake.on || differencesSinceStart > 0 || failing.length > 0 ? "degraded" : "ok";
  return { name: "scheduler", state, message: schedulerWords(brake, { blocked, failing }) };
}

function schedulerWords(
  brake: Pick<BrakeStatus, "on" | "waiting">,
  { blocked, failing }: Pick<SchedulerStatus, "blocked" | "failing">,
): string {
  if (brake.on) return `brake: ${brake.waiting} hosts were lost together; their jobs are left alone`;
  const [first, ...more] = failing;
  if (first !== undefined) {
    const others = more.length > 0 ? `; ${more.length} more` : "";
    return `app ${first.appId} cannot be scheduled: ${first.reason}${others}; it is tried again`;
  }
  return blocked > 0 ? `${blocked} apps have jobs that wait for room` : "nothing waits";
}

export const loopParts = (failing: readonly FailingLoop[]): Part[] =>
  failing.map(({ name, reason }) => ({
    name: `loop ${name}`,
    state: "degraded",
    message: `it failed and begins anew: ${reason}`,
  }));
