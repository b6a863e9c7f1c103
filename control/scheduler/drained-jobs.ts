// Jobs that drain and may be told to stop: nothing new is sent to them any more, or they serve no longer.
import type { Job } from "#api/jobs.ts";
import type { KeptFormation } from "../deploy/formations.ts";
import { keys } from "../keys.ts";
import type { Commit, Store } from "../store/store.ts";
import type { Draining } from "./cluster-view.ts";

export interface DrainedRequest {
  /** By key. */
  draining: ReadonlyMap<string, Draining>;
  isDrained: (job: Job, draining: Draining) => boolean;
  /** Jobs at the most. */
  limit: number;
}

export function endsOfDrained(
  store: Store,
  { draining, isDrained, limit }: DrainedRequest,
): Required<Pick<Commit<undefined>, "mutations" | "expect">> {
  const mutations: { key: string; value: Job }[] = [];
  const expect: { key: string; version: number }[] = [];
  for (const [key, since] of draining) {
    const entry = store.get<Job>(key);
    if (entry === undefined || mutations.length >= limit) continue;
    const { value: job, version } = entry;
    const serves = job.state === "up" || job.state === "unhealthy";
    if (job.desired !== "drain" || (serves && !isDrained(job, since))) continue;
    if (serves && isKept(store, job)) continue;
    mutations.push({ key, value: { ...job, desired: "stop" } });
    expect.push({ key, version });
  }
  return { mutations, expect };
}

/** It may have to serve again: what replaces it has yet to show that it stays healthy. */
const isKept = (store: Store, { appId, releaseId, process }: Job): boolean =>
  store.get<KeptFormation>(keys.formation(appId, releaseId))?.value.kept?.[process] !== undefined;
