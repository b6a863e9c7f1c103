// Which machine belongs to which stage. Pure, and the same for the same machines: fixed at the start, and spread, so that a stage is not one
// rack. Machines of one zone, rack or profile take turns with those of the others, in an order that has nothing to do with their names.
import { createHash } from "node:crypto";
import { Fault } from "#api/fault.ts";
import type { Tags } from "#api/schema.ts";

export interface Candidate {
  id: string;
  profile: string;
  tags: Tags;
}

export interface Stage {
  name: string;
  ids: string[];
}

const SPREAD_BY = ["zone", "rack"];

/** In the order they are taken. `seed`: another one is another order. */
export function spread(candidates: readonly Candidate[], seed: string): string[] {
  const rank = (text: string) => createHash("sha256").update(`${seed}\n${text}`).digest("hex");
  const groupOf = ({ tags, profile }: Candidate) =>
    JSON.stringify([...SPREAD_BY.map((tag) => tags[tag] ?? ""), profile]);
  const ranked = [...candidates].sort((a, b) => (rank(a.id) < rank(b.id) ? -1 : 1));
  const groups = [...Map.groupBy(ranked, groupOf)].sort(([a], [b]) => (rank(a) < rank(b) ? -1 : 1));
  const taken: string[] = [];
  for (let n = 0; taken.length < ranked.length; n++) taken.push(...groups.flatMap(([, group]) => group[n]?.id ?? []));
  return taken;
}

/** How many machines have it after a stage. A share is rounded up: a stage of a share is never nobody. */
export function countAfter(stage: string, all: number): number {
  if (stage === "all") return all;
  const most = stage.endsWith("%") ? Math.ceil((all * Number(stage.slice(0, -1))) / 100) : Number(stage);
  return Math.min(all, most);
}

/** Stages that add nobody are left out. Fault `invalid` for stages that do not grow to all. */
export function cohorts(order: readonly string[], names: readonly string[]): Stage[] {
  if (names.at(-1) !== "all" && names.at(-1) !== "100%")
    throw new Fault("invalid", "stages: the last one is `all`, such as 1,10%,all", { details: { field: "stages" } });
  const stages: Stage[] = [];
  let before = 0;
  for (const name of names) {
    const after = countAfter(name, order.length);
    if (after < before)
      throw new Fault("invalid", `stages: ${name} is fewer machines than the stage before it`, {
        details: { field: "stages" },
      });
    if (after === before) continue;
    stages.push({ name, ids: order.slice(before, after) });
    before = after;
  }
  return stages;
}
