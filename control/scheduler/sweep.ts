// The scheduler's check of itself: what an app lacks though nobody said so. After every change was heard and acted upon
// there must be nothing; anything found is a missed wake-up or a wrong memory, and is repaired and reported.
import type { Job } from "#api/jobs.ts";
import { keys } from "../keys.ts";
import type { Store } from "../store/store.ts";
import type { ClusterView } from "./cluster-view.ts";
import { needOf, toFleet } from "./job-rules.ts";
import { place } from "./place.ts";
import { readApp } from "./plan-app.ts";
import { taskAsk } from "./task-rules.ts";

/** In words; undefined when all is as it should be. */
export function differenceOf(store: Store, view: ClusterView, appId: string, nowMs: number): string | undefined {
  const { diff } = readApp(store, view, appId, nowMs);
  if (diff.endings.length > 0) return `${diff.endings.length} jobs to end`;
  if (diff.recalled !== undefined) return `${diff.recalled.length} jobs to take back`;
  for (const { release, process, tags, type, missing, waiting } of diff.groups) {
    if (missing > 0) return `${missing} jobs of ${process} missing`;
    const antiAffinity = type.antiAffinity === true;
    const jobs = waiting.slice(0, 1).map((job) => job.id);
    const placements = place(view.fleet, {
      app: appId,
      process,
      release: release.id,
      need: toFleet(needOf(type)),
      tags: view.askedTags(tags, appId, release.id),
      antiAffinity,
      jobs,
    });
    if (placements[0]?.host !== undefined) return `a waiting job of ${process} fits a host`;
  }
  for (const job of diff.tasks) {
    const ask = taskAsk(job, view.askedTags(job.tags, appId, job.releaseId));
    if (place(view.fleet, ask)[0]?.host !== undefined) return `waiting job ${job.id} fits a host`;
  }
  for (const { key, value } of store.list<Job>(keys.jobsOf(appId))) {
    if (!view.knows(key, value)) return `job ${value.id} is not as remembered`;
  }
  return undefined;
}
