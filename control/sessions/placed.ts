// Waits until a job has a host, or will never have one.
import { isEnded, type Job } from "#api/jobs.ts";
import type { Context } from "../context.ts";
import { keys } from "../keys.ts";

/** The job once it has a host or is over; undefined when it is gone, or the signal aborted. `onReason`: why it waits, when that changes. */
export async function placed(
  { store, jobs }: Pick<Context, "store" | "jobs">,
  { appId, id }: Pick<Job, "appId" | "id">,
  { signal, onReason }: { signal: AbortSignal; onReason: (reason: string) => void },
): Promise<Job | undefined> {
  let told = "";
  const key = keys.job(appId, id);
  const look = (): Job | "gone" | undefined => {
    const job = jobs.get(id);
    if (job === undefined || signal.aborted) return "gone";
    if (job.hostId !== undefined || isEnded(job)) return job;
    if (job.reason !== told) onReason(job.reason);
    told = job.reason;
    return undefined;
  };
  const found = await new Promise<Job | "gone">((resolve) => {
    const again = () => {
      const now = look();
      if (now === undefined) return;
      unfollow();
      resolve(now);
    };
    const unfollow = store.onDurable(({ mutations }) => {
      if (mutations.some((mutation) => mutation.key === key)) again();
    });
    signal.addEventListener("abort", again, { once: true });
    again();
  });
  return found === "gone" ? undefined : found;
}
