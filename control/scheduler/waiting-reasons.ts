// Why a job waits for a host, as of now and with the best on offer. Many jobs wait for the same, so a reason is kept for a moment.
import type { Job } from "#api/jobs.ts";
import type { Store } from "../store/store.ts";
import type { Fleet } from "./fleet.ts";
import { waitsForHost } from "./job-rules.ts";
import { place } from "./place.ts";
import { waitingAsk } from "./verdicts.ts";

const KEPT_MS = 1_000;

export function waitingReasons(
  store: Store,
  { fleet, monotonicMs }: { fleet: Fleet; monotonicMs: () => number },
): (job: Job) => string {
  const reasons = new Map<string, string>();
  let sinceMs = 0;
  return (job) => {
    if (!waitsForHost(job)) return job.reason;
    if (monotonicMs() - sinceMs > KEPT_MS) {
      reasons.clear();
      sinceMs = monotonicMs();
    }
    const ask = waitingAsk(store, job);
    const group = JSON.stringify([ask.app, ask.process, ask.release, ask.need, ask.tags]);
    const known = reasons.get(group);
    if (known !== undefined) return known;
    // Room there is and it still waits: it was looked at a moment ago, or is held back.
    const reason = place(fleet, ask)[0]?.reason ?? job.reason;
    reasons.set(group, reason);
    return reason;
  };
}
