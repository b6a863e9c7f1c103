// Jobs that drain and may be told to stop: nothing new is sent to them any more, or they serve no longer.
import type { Job } from "#api/jobs.ts";
import type { Commit, Store } from "../store/store.ts";

export interface DrainedWish {
  /** By key, with the seq that made it drain. */
  draining: ReadonlyMap<string, number>;
  isDrained: (job: Job, drainSeq: number) => boolean;
  /** Jobs at the most. */
  limit: number;
}

export function endsOfDrained(
  store: Store,
  { draining, isDrained, limit }: DrainedWish,
): Required<Pick<Commit<undefined>, "mutations" | "expect">> {
  const mutations: { key: string; value: Job }[] = [];
  const expect: { key: string; version: number }[] = [];
  for (const [key, drainSeq] of draining) {
    const entry = store.get<Job>(key);
    if (entry === undefined || mutations.length >= limit) continue;
    const { value: job, version } = entry;
    const serves = job.state === "up" || job.state === "unhealthy";
    if (job.desired !== "drain" || (serves && !isDrained(job, drainSeq))) continue;
    mutations.push({ key, value: { ...job, desired: "stop" } });
    expect.push({ key, version });
  }
  return { mutations, expect };
}
