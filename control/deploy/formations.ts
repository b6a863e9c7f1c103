// What a deployment moves between: the formation of the release that comes, and all others of the app, which go. Mostly that is one;
// where an earlier deployment could not go back, what it left serving goes too, and first. Pure but for reading the store.
import type { Formation } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import { keys } from "../keys.ts";
import type { Entry } from "../store/entry.ts";
import type { Change, Store } from "../store/store.ts";
import type { DeploymentRecord } from "./record.ts";
import type { Counts } from "./strategy.ts";

/**
 * A formation some of whose jobs are kept though they drain: they are not told to stop, and come back when more are asked for. So many
 * of each process were lowered.
 */
export type KeptFormation = Formation & { kept?: Counts };

export type StoreView = Pick<Store, "get" | "list" | "seq">;

/** The release whose jobs come now: the new one, or on the way back the earlier one. */
export const comingId = ({ goingBack, fromReleaseId, toReleaseId }: DeploymentRecord): string =>
  goingBack === undefined ? toReleaseId : fromReleaseId!;

export function formationsBeside(store: StoreView, appId: string, releaseId: string): Entry<Formation>[] {
  return store.list<Formation>(keys.formationsOf(appId)).filter(({ value }) => value.releaseId !== releaseId);
}

export function countsOf(formations: readonly Formation[]): Counts {
  const counts: Counts = {};
  for (const { processes } of formations)
    for (const [process, { count }] of Object.entries(processes)) counts[process] = (counts[process] ?? 0) + count;
  return counts;
}

const isServing = ({ state, desired }: Job): boolean => desired === "run" && (state === "up" || state === "unhealthy");

/**
 * The formations that go, lowered to these counts of all of them together: jobs that serve nobody are the first to go, then those of
 * releases that the app is not on.
 */
export function lowered(
  going: readonly Entry<Formation>[],
  { totals, jobs, last }: { totals: Counts; jobs: readonly Job[]; last: string | undefined },
): Change[] {
  const inOrder = [...going].sort((a, b) => Number(a.value.releaseId === last) - Number(b.value.releaseId === last));
  const serving = ({ releaseId }: Formation, process: string): number =>
    jobs.filter((job) => job.releaseId === releaseId && job.process === process && isServing(job)).length;
  const counts = new Map(inOrder.map(({ key, value }) => [key, countsOf([value])]));
  for (const [process, total] of Object.entries(totals)) {
    let tooMany = inOrder.reduce((sum, { key }) => sum + (counts.get(key)![process] ?? 0), 0) - total;
    for (const least of [serving, () => 0]) {
      for (const { key, value } of inOrder) {
        const count = counts.get(key)![process];
        if (count === undefined || tooMany <= 0) continue;
        const cut = Math.min(tooMany, Math.max(0, count - least(value, process)));
        counts.get(key)![process] = count - cut;
        tooMany -= cut;
      }
    }
  }
  return inOrder.map(({ key, value }) => withCounts(key, unkept(value), counts.get(key)!));
}

/** Those of these processes drain, and are kept. */
export function keptBack(going: readonly Entry<Formation>[], processes: readonly string[]): Change[] {
  return going.map(({ key, value }) => {
    const held = processes.map((name) => [name, value.processes[name]?.count ?? 0] as const);
    const kept = Object.fromEntries(held.filter(([, count]) => count > 0));
    const zeros = Object.fromEntries(processes.map((name) => [name, 0]));
    return { key, value: { ...(withCounts(key, value, zeros).value as Formation), kept } satisfies KeptFormation };
  });
}

/** They are asked for again. */
export function recalled(formations: readonly Entry<KeptFormation>[]): Change[] {
  return formations.flatMap(({ key, value }) => {
    const counts = countsOf([value]);
    const all = Object.entries(value.kept ?? {}).map(([name, count]) => [name, Math.max(count, counts[name] ?? 0)]);
    return all.length === 0 ? [] : [withCounts(key, value, Object.fromEntries(all) as Counts)];
  });
}

/** Nothing of it is kept any more. */
export function unkept({ kept: _, ...formation }: KeptFormation): Formation {
  return formation;
}

/** The formation with other counts; processes not named keep theirs. */
export function withCounts(key: string, formation: Formation, counts: Counts): Change {
  const processes = Object.fromEntries(
    Object.entries(formation.processes).map(([name, entry]) => [
      name,
      { ...entry, count: counts[name] ?? entry.count },
    ]),
  );
  return { key, value: { ...formation, processes } satisfies Formation };
}
