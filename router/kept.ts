// What the router keeps on disk of what it serves, for its next start and for `explain`: the newest target, and what of it is where.
import { join } from "node:path";
import type { RouterTarget } from "#api/routes.ts";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import type { Assignment } from "./assignment.ts";

const TARGET_FILE = "target.json";
const ASSIGNMENT_FILE = "assignment.json";

/** Each undefined when there is none, or it is none of ours. */
export interface Kept {
  target: RouterTarget | undefined;
  assignment: Assignment | undefined;
}

export async function readKept(stateDir: string): Promise<Kept> {
  const [target, assignment] = await Promise.all([
    readJson<RouterTarget>(join(stateDir, TARGET_FILE)),
    readJson<Assignment>(join(stateDir, ASSIGNMENT_FILE)),
  ]);
  return { target, assignment: Array.isArray(assignment?.backends) ? assignment : undefined };
}

export interface Keeper {
  /** True once this very target is on disk. */
  has(target: RouterTarget): boolean;
  /** Writes what differs from what was written last. */
  keep(target: RouterTarget, assignment: Assignment): Promise<void>;
}

/** `known`: a target that needs no writing. */
export function createKeeper(stateDir: string, known: RouterTarget): Keeper {
  let keptTarget = known;
  let keptAssignment = "";
  return {
    has: (target) => target === keptTarget,
    async keep(target, assignment) {
      const text = JSON.stringify(assignment);
      if (text !== keptAssignment) await writeFileAtomic(join(stateDir, ASSIGNMENT_FILE), text);
      keptAssignment = text;
      if (target === keptTarget) return;
      await writeFileAtomic(join(stateDir, TARGET_FILE), JSON.stringify(target), { mode: 0o600 });
      keptTarget = target;
    },
  };
}
