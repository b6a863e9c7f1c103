// What a machine boots once too many of its boots ended before `ready`: as control said, or as our own boots say, which control has not
// counted yet, or cannot count while it is away. Pure.
import type { BootMachine } from "#api/boot.ts";
import { fallbackAfter } from "#api/boot-guard.ts";
import type { BootRecord } from "./tokens.ts";

export interface Guarded {
  machine: BootMachine;
  /** Why it is given another boot than it is to have, for its console. */
  why?: string;
}

/**
 * As it asks for a script: whatever it booted before is over. `boots`: of this machine, oldest first. With control away a boot that came
 * as far as its seed is no failed one: its agent waits for control, as all do.
 */
export function guarded(machine: BootMachine, boots: readonly BootRecord[], controlIsThere: boolean): Guarded {
  const { guard } = machine;
  if (guard === undefined || machine.target === "local-disk" || machine.target === "wait") return { machine };
  const { after } = guard;
  const failed = boots
    .filter(({ bootId, uses }) => {
      if (after !== undefined && bootId <= after) return false;
      return controlIsThere || uses["user-data"] === undefined;
    })
    .map(({ bootId, imageId, mintedAtMs }) => ({ bootId, imageId, atMs: mintedAtMs }));
  const found = fallbackAfter(guard, failed);
  if (found === undefined)
    return { machine, ...(guard.stage === "rescue" && guard.reason ? { why: guard.reason } : {}) };
  const { stage, imageId, reason } = found;
  return {
    machine: {
      ...machine,
      ...(imageId === undefined ? {} : { imageId }),
      ...(stage === "rescue" ? { target: "rescue" as const } : {}),
    },
    why: reason,
  };
}
