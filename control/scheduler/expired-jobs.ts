// How long ended jobs are kept for people to read: the newest few of an app for a day, the rest for ten minutes. Jobs that ran
// once are counted apart: a row of pushes does not push out what tells of a crash, nor the other way round.
import { isOver, type Job } from "#api/jobs.ts";

const KEPT = 20;
const KEPT_MS = 86_400_000;
const REST_KEPT_MS = 600_000;

/** Keys of ended jobs whose time is over. */
export function expiredJobs(jobs: readonly { key: string; value: Job }[], nowMs: number): string[] {
  const [once, kept] = [true, false].map((isTask) =>
    expired(
      jobs.filter(({ value }) => (value.task !== undefined) === isTask),
      nowMs,
    ),
  );
  return [...kept!, ...once!];
}

function expired(jobs: readonly { key: string; value: Job }[], nowMs: number): string[] {
  const ended = jobs.filter(({ value }) => isOver(value)).map(({ key, value }) => ({ key, endedMs: endOf(value) }));
  ended.sort((a, b) => b.endedMs - a.endedMs || (a.key < b.key ? 1 : -1));
  return ended
    .filter(({ endedMs }, index) => nowMs - endedMs > (index < KEPT ? KEPT_MS : REST_KEPT_MS))
    .map(({ key }) => key);
}

function endOf(job: Job): number {
  return Date.parse(job.endedAt ?? job.createdAt);
}
