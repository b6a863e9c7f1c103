// Which job a word means: its id, the unique beginning of one, or `web.1`: the first of its process by age.
import { Fault } from "#api/fault.ts";
import { isEnded, type Job } from "#api/jobs.ts";

/** Pure: among the jobs of one app that are not over. */
export function chooseJob(jobs: readonly Job[], word: string): Job {
  const exact = jobs.find(({ id }) => id === word);
  if (exact !== undefined) return exact;
  const [, process, number] = /^([a-z][a-z0-9_-]{0,29})\.(\d{1,4})$/.exec(word) ?? [];
  const named = process === undefined ? undefined : ofProcess(jobs, process)[Number(number) - 1];
  if (named !== undefined) return named;
  const found = jobs.filter(({ id }) => id.startsWith(word) || id.startsWith(`job-${word}`));
  if (found.length === 1) return found[0]!;
  if (found.length === 0) throw new Fault("not-found", `no job ${word}`);
  throw new Fault("invalid", `${word} may be ${found.map(({ id }) => id).join(", ")}: say more of it`);
}

/** Oldest first: what `web.1` counts. */
export function ofProcess(jobs: readonly Job[], process: string): Job[] {
  return jobs
    .filter((job) => job.process === process && job.task === undefined)
    .sort((a, b) => (`${a.createdAt} ${a.id}` < `${b.createdAt} ${b.id}` ? -1 : 1));
}

/** Each job's `web.1`, as chooseJob takes it; those that have ended and those of `flynn run` have none. */
export function jobNames(jobs: readonly Job[]): ReadonlyMap<string, string> {
  const living = jobs.filter((job) => !isEnded(job));
  const processes = [...new Set(living.map(({ process }) => process))];
  return new Map(
    processes.flatMap((process) => ofProcess(living, process).map(({ id }, n) => [id, `${process}.${n + 1}`] as const)),
  );
}

/** The job a forward is for when none is named: one that is up, of web before others, the newest. */
export function defaultJob(jobs: readonly Job[]): Job {
  const up = jobs.filter(({ state, desired, task }) => state === "up" && desired === "run" && task === undefined);
  const best = up.sort(
    (a, b) => Number(b.process === "web") - Number(a.process === "web") || (a.createdAt < b.createdAt ? 1 : -1),
  )[0];
  if (best === undefined) throw new Fault("conflict", "the app has no job that is up; see `flynn ps`");
  return best;
}
