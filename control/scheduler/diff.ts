// What must change so that an app's jobs are what its formations say. Pure: reads records, returns what is wanted, decides
// nothing about hosts. Placed jobs are never moved; a surplus job that may hold requests is drained, not cut off.
import type { App, ProcessType } from "#api/apps.ts";
import { isEnded, isSilent, type Job } from "#api/jobs.ts";
import type { KeptFormation } from "../deploy/formations.ts";
import type { ReleaseRecord } from "../records.ts";
import { type Ending, isWanted, waitsForHost } from "./job-rules.ts";
import { type Tags, tagSignature } from "./tag-classes.ts";
import { taskEnding, taskWaits } from "./task-rules.ts";

export interface AppView {
  app: App | undefined;
  formations: readonly KeptFormation[];
  /** By id; a formation whose release is not here is left as it is. */
  releases: ReadonlyMap<string, ReleaseRecord>;
  jobs: readonly Job[];
  /** The host is lost and given up, or no longer in the cluster. */
  isGone: (hostId: string) => boolean;
  /** The host is no longer in the cluster. */
  isRemoved: (hostId: string) => boolean;
  /** The host is neither lost nor given up. */
  isHeard: (hostId: string) => boolean;
  /** The host is being drained: what runs there goes on until as much runs elsewhere. */
  isLeaving: (hostId: string) => boolean;
  /** Monotonic, as is when a job's end was seen: a clock that is set holds nothing up. */
  nowMs: number;
  endedMs: (job: Job) => number;
}

/** Jobs of one process of one release that need a host: `waiting` exist, `missing` are still to be made. */
export interface Group {
  release: ReleaseRecord;
  process: string;
  type: ProcessType;
  tags: Tags;
  waiting: Job[];
  missing: number;
}

export interface AppDiff {
  groups: Group[];
  endings: Ending[];
  /** Jobs that run once and need a host, oldest first. */
  tasks: Job[];
  /** Jobs of silent hosts that are kept until they are replaced. */
  kept: number;
  /** Jobs whose host is heard again before anything replaced them. */
  returned: Job[];
  /** Jobs that drain and serve again: they were kept for that. */
  recalled?: Job[];
  /** Look again then, on the monotonic clock: a job that failed lately is not made again before. */
  retryAtMs?: number;
}

export function diffApp(view: AppView): AppDiff {
  const diff: AppDiff = { groups: [], endings: [], tasks: [], kept: 0, returned: [] };
  const silent = new Map<string, Job[]>();
  const live = new Map<string, Job[]>();
  const drained = new Map<string, Job[]>();
  const failed = new Map<string, number[]>();
  for (const job of view.jobs) {
    if (job.task !== undefined) {
      const ending = taskEnding(job, view);
      if (ending !== undefined) diff.endings.push(ending);
      else if (taskWaits(job, view.app)) diff.tasks.push(job);
    } else if (isSilent(job)) push(silent, keyOf(job.releaseId, job.process), job);
    else if (isEnded(job)) {
      if (job.desired === "run") push(failed, keyOf(job.releaseId, job.process), view.endedMs(job));
    } else if (job.hostId !== undefined && view.isGone(job.hostId)) diff.endings.push({ job, to: "lost" });
    else if (isWanted(job)) push(live, keyOf(job.releaseId, job.process), job);
    else if (job.hostId === undefined) diff.endings.push({ job, to: "down" });
    else if (job.desired === "drain" && job.state === "up") push(drained, keyOf(job.releaseId, job.process), job);
  }
  if (view.app !== undefined && view.app.deleting !== true) {
    for (const formation of view.formations) {
      for (const [process, { count, tags }] of Object.entries(formation.processes)) {
        const key = keyOf(formation.releaseId, process);
        const others = live.get(key) ?? [];
        live.delete(key);
        const all = [...others, ...judgeSilent(diff, view, { silent: silent.get(key) ?? [], live: others, count })];
        silent.delete(key);
        const leaving = all.filter(({ hostId }) => hostId !== undefined && view.isLeaving(hostId));
        const jobs = leaving.length === 0 ? all : all.filter((job) => !leaving.includes(job));
        const up = jobs.filter(({ state }) => state === "up").length;
        const replaced = leaving.length - Math.max(0, count - up);
        diff.endings.push(...chooseSurplus(leaving, Math.max(0, replaced)).map(endingOf));
        if (jobs.length > count) {
          const surplus = chooseSurplus(jobs, jobs.length - count);
          diff.endings.push(...surplus.map(endingOf));
          const ending = new Set(surplus);
          addGroup(
            diff,
            view,
            formation,
            process,
            tags,
            jobs.filter((job) => !ending.has(job)),
            0,
            [],
          );
        } else {
          const there = formation.kept?.[process] === undefined ? [] : (drained.get(key) ?? []);
          const back = there.filter(({ hostId }) => !view.isLeaving(hostId!)).slice(0, count - jobs.length);
          if (back.length > 0) diff.recalled = [...(diff.recalled ?? []), ...back];
          const missing = count - jobs.length - back.length;
          addGroup(diff, view, formation, process, tags, jobs, missing, failed.get(key) ?? []);
        }
      }
    }
  }
  for (const job of [...silent.values()].flat()) diff.endings.push({ job, to: "stop" });
  for (const jobs of live.values()) diff.endings.push(...chooseSurplus(jobs, jobs.length).map(endingOf));
  return diff;
}

/** Those that were replaced are told to stop when their host is heard; of the others those return whose host is. */
function judgeSilent(
  diff: AppDiff,
  { isRemoved, isHeard }: AppView,
  { silent, live, count }: { silent: Job[]; live: readonly Job[]; count: number },
): Job[] {
  const there = silent.filter(({ hostId }) => !isRemoved(hostId!));
  const unreplaced = Math.max(0, count - live.filter(({ hostId }) => hostId !== undefined).length);
  const heardFirst = [...there].sort((a, b) => Number(isHeard(b.hostId!)) - Number(isHeard(a.hostId!)) || byAge(a, b));
  const kept = new Set(heardFirst.slice(0, unreplaced));
  const returned = [...kept].filter(({ hostId }) => isHeard(hostId!));
  for (const job of silent) if (!kept.has(job)) diff.endings.push({ job, to: "stop" });
  diff.kept += kept.size - returned.length;
  diff.returned.push(...returned);
  return returned.map((job) => ({ ...job, state: "starting" }));
}

function addGroup(
  diff: AppDiff,
  view: AppView,
  { releaseId }: KeptFormation,
  process: string,
  tags: Tags,
  jobs: Job[],
  missing: number,
  failedAtMs: number[],
): void {
  const release = view.releases.get(releaseId);
  const type =
    release !== undefined && Object.hasOwn(release.processes, process) ? release.processes[process] : undefined;
  // Without an image there is nothing to run yet.
  if (release?.artifactId === undefined || type === undefined) return;
  const waiting = jobs.filter(waitsForHost);
  const retryAtMs = missing > 0 ? notBefore(failedAtMs, view.nowMs) : 0;
  const held = retryAtMs > view.nowMs;
  if (held) diff.retryAtMs = Math.min(diff.retryAtMs ?? Number.POSITIVE_INFINITY, retryAtMs);
  const make = held ? 0 : missing;
  if (waiting.length > 0 || make > 0) diff.groups.push({ release, process, type, tags, waiting, missing: make });
}

const FAILED_WINDOW_MS = 600_000;
const FAILED_FREE = 2;
const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 300_000;

/** Jobs that ended though they should run are made again at once twice, then ever later (1 s doubling to 5 min). */
function notBefore(failedAtMs: readonly number[], nowMs: number): number {
  const recent = failedAtMs.filter((at) => at > nowMs - FAILED_WINDOW_MS);
  if (recent.length <= FAILED_FREE) return 0;
  return Math.max(...recent) + Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** (recent.length - FAILED_FREE - 1));
}

/** Which to end, in order: without a host, crashed, unhealthy, starting; then from the most crowded host; then the newest. */
export function chooseSurplus(jobs: readonly Job[], count: number): Job[] {
  const keepFirst = [...jobs].sort((a, b) => worth(b) - worth(a) || byAge(a, b));
  const heldByHost = new Map<string, number>();
  const position = new Map<Job, number>();
  for (const job of keepFirst) {
    const held = heldByHost.get(job.hostId ?? "") ?? 0;
    heldByHost.set(job.hostId ?? "", held + 1);
    position.set(job, held);
  }
  const endFirst = keepFirst.sort((a, b) => worth(a) - worth(b) || position.get(b)! - position.get(a)! || byAge(b, a));
  return endFirst.slice(0, count);
}

function worth(job: Job): number {
  if (job.hostId === undefined) return 0;
  return { pending: 1, crashed: 1, stopping: 1, unhealthy: 2, starting: 3, up: 4, down: 0, lost: 0 }[job.state];
}

/** Older first. Ids sort by second of making and settle equal times. */
function byAge(a: Job, b: Job): number {
  return compare(a.createdAt, b.createdAt) || compare(a.id, b.id);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function endingOf(job: Job): Ending {
  if (job.hostId === undefined) return { job, to: "down" };
  return { job, to: job.state === "up" || job.state === "unhealthy" ? "drain" : "stop" };
}

/** True when a waiting job was made for other tags than the formation wants now. */
export function hasOtherTags(job: Job, tags: Tags): boolean {
  return tagSignature(job.tags) !== tagSignature(tags);
}

function keyOf(releaseId: string, process: string): string {
  return `${releaseId}/${process}`;
}

function push<V>(map: Map<string, V[]>, key: string, value: V): void {
  const found = map.get(key);
  if (found === undefined) map.set(key, [value]);
  else found.push(value);
}
