// Whose turn it is: builds of one app one after the other, and in the whole cluster no more at once than is set. Pure.
import type { BuildRecord } from "./record.ts";

/** Builds that hold one of the cluster's places: from their job's making until the image is stored. */
export const isActive = ({ state, jobId }: Pick<BuildRecord, "state" | "jobId">): boolean =>
  state === "building" || state === "storing" || (state === "queued" && jobId !== undefined);

/** Why the build waits, in plain words; undefined when it is its turn. `unended`: every build that has not ended. */
export function waitsFor(build: BuildRecord, unended: readonly BuildRecord[], atOnce: number): string | undefined {
  const earlier = unended
    .filter(({ appId, number }) => appId === build.appId && number < build.number)
    .sort((a, b) => a.number - b.number)[0];
  if (earlier !== undefined) return `waits for build ${earlier.number} of ${build.app} to end`;
  const heads = new Map<string, BuildRecord>();
  for (const one of unended) {
    const head = heads.get(one.appId);
    if (head === undefined || one.number < head.number) heads.set(one.appId, one);
  }
  const active = unended.filter(isActive).length;
  const next = [...heads.values()].filter((one) => one.state === "queued" && !isActive(one)).sort(byAge);
  const ahead = next.findIndex(({ id }) => id === build.id);
  if (ahead >= 0 && active + ahead < atOnce) return undefined;
  const before = ahead > 0 ? `, and ${ahead} ${ahead === 1 ? "waits" : "wait"} before it` : "";
  return `waits for its turn: ${active} of at most ${atOnce} ${atOnce === 1 ? "build runs" : "builds run"} in the cluster${before}`;
}

const byAge = (a: BuildRecord, b: BuildRecord): number =>
  a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : a.id < b.id ? -1 : 1;
