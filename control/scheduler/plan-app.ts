// One turn on one app: the difference, hosts for what needs one, and the records to write. At most `limit` jobs change in a
// turn, so that an app of ten thousand holds nobody up. Charges the fleet as it goes; the caller commits before it yields.
import type { App } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import { newId } from "#lib/ids.ts";
import type { KeptFormation } from "../deploy/formations.ts";
import { keys } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import type { Change, Store } from "../store/store.ts";
import type { ClusterView } from "./cluster-view.ts";
import { type AppDiff, diffApp, type Group, hasOtherTags } from "./diff.ts";
import type { Ask } from "./feasible.ts";
import { groupKey } from "./fleet.ts";
import { type Ending, isWanted, needOf, toFleet } from "./job-rules.ts";
import { place } from "./place.ts";
import { taskAsk } from "./task-rules.ts";

export interface Turn {
  changes: Change[];
  /** Versions the changes were made from. */
  expect: { key: string; version: number }[];
  placed: number;
  /** Asks that found no host: wake the app when one of them fits somewhere. */
  blocked: Ask[];
  /** The limit was reached; the app needs another turn. */
  more: boolean;
  /** Monotonic. */
  retryAtMs?: number;
}

export interface AppRecords {
  diff: AppDiff;
  app: App | undefined;
  versions: ReadonlyMap<string, number>;
}

/** `nowMs`: monotonic. */
export function readApp(store: Store, view: ClusterView, appId: string, nowMs: number): AppRecords {
  const app = store.get<App>(keys.app(appId))?.value;
  const formations = store.list<KeptFormation>(keys.formationsOf(appId)).map((entry) => entry.value);
  const releases = new Map<string, ReleaseRecord>();
  for (const { releaseId } of formations) {
    const release = store.get<ReleaseRecord>(keys.release(appId, releaseId))?.value;
    if (release !== undefined) releases.set(releaseId, release);
  }
  const jobs: Job[] = [];
  const versions = new Map<string, number>();
  for (const { key, value, version } of store.list<Job>(keys.jobsOf(appId))) {
    jobs.push(value);
    versions.set(key, version);
  }
  const isGone = (hostId: string) => view.isGone(hostId);
  const isLeaving = (hostId: string) => view.isLeaving(hostId);
  const isRemoved = (hostId: string) => view.fleet.slotOf(hostId) === undefined;
  const isHeard = (hostId: string) => view.isHeard(hostId);
  const endedMs = (job: Job) => view.endedMs(keys.job(job.appId, job.id)) ?? nowMs;
  const diff = diffApp({ app, formations, releases, jobs, isGone, isRemoved, isHeard, isLeaving, nowMs, endedMs });
  return { app, versions, diff };
}

export interface PlanOptions {
  view: ClusterView;
  /** Wall clock, for times in records. */
  nowMs: number;
  limit: number;
}

export function planApp(records: AppRecords, options: PlanOptions): Turn {
  const turn: Turn = {
    changes: [],
    expect: [],
    placed: 0,
    blocked: [],
    more: false,
    retryAtMs: records.diff.retryAtMs,
  };
  try {
    return planInto(turn, records, options);
  } catch (error) {
    // What was charged for it and will not be written is given back.
    for (const { key } of turn.changes) options.view.refreshJob(key);
    throw error;
  }
}

function planInto(turn: Turn, { app, diff, versions }: AppRecords, { view, nowMs, limit }: PlanOptions): Turn {
  const at = new Date(nowMs).toISOString();
  const write = (job: Job): boolean => {
    if (turn.changes.length >= limit) {
      turn.more = true;
      return false;
    }
    const key = keys.job(job.appId, job.id);
    turn.changes.push({ key, value: job });
    turn.expect.push({ key, version: versions.get(key) ?? 0 });
    return true;
  };
  for (const ending of diff.endings) {
    if (!write(endedJob(ending, view, at))) break;
  }
  for (const { endedAt: _, ...job } of diff.returned) {
    if (!write({ ...job, state: "starting", reason: "" })) break;
  }
  for (const { drainingSince: _, ...job } of diff.recalled ?? []) if (!write({ ...job, desired: "run" })) break;
  const kept = diff.kept + diff.endings.filter(({ to }) => to === "lost").length;
  for (const group of diff.groups) {
    const room = limit - turn.changes.length;
    if (room <= 0) turn.more = true;
    else planGroup(group, app!, { view, nowMs, at, room, turn, write });
  }
  for (const job of diff.tasks) {
    if (turn.changes.length >= limit) turn.more = true;
    else planTask(job, { view, at, turn, write });
  }
  // What was placed now may replace what is kept on a silent host.
  if (kept > 0 && turn.placed > 0) turn.more = true;
  return turn;
}

/** The record of a job that is to end. */
function endedJob({ job, to }: Ending, view: ClusterView, at: string): Job {
  if (to === "down") {
    const unwanted = job.task === undefined ? "not needed any more" : "its app was deleted";
    const reason = job.desired === "run" ? unwanted : job.reason;
    return { ...job, desired: "stop", state: "down", reason, endedAt: at };
  }
  if (to === "lost") {
    const host = view.fleet.host(view.fleet.slotOf(job.hostId!) ?? -1)?.name;
    const reason = host === undefined ? "its host was removed" : `host ${host} fell silent`;
    const mayReturn = host !== undefined && isWanted(job) && job.task === undefined;
    return { ...job, desired: mayReturn ? "run" : "stop", state: "lost", reason, endedAt: at };
  }
  if (to === "drain" && job.port !== undefined) return { ...job, desired: "drain", drainingSince: at };
  return { ...job, desired: "stop", ...(job.task === undefined ? {} : { reason: "its app was deleted" }) };
}

function planTask(job: Job, { view, at, turn, write }: Pick<GroupContext, "view" | "at" | "turn" | "write">): void {
  const ask = taskAsk(job, view.askedTags(job.tags, job.appId, job.releaseId));
  const placement = place(view.fleet, ask)[0]!;
  if (placement.host === undefined) {
    turn.blocked.push(ask);
    if (job.reason !== placement.brief) write({ ...job, reason: placement.brief });
    return;
  }
  view.fleet.charge(job.id, placement.host, groupKey(ask.app, ask.process, ask.release), ask.need);
  write({ ...job, hostId: placement.host, state: "starting", reason: "", placedAt: at });
  turn.placed++;
}

interface GroupContext {
  view: ClusterView;
  nowMs: number;
  at: string;
  room: number;
  turn: Turn;
  write: (job: Job) => boolean;
}

function planGroup(group: Group, app: App, { view, nowMs, at, room, turn, write }: GroupContext): void {
  const { release, process, type, tags, waiting } = group;
  const need = needOf(type);
  const now = waiting.slice(0, room);
  const make = Math.min(group.missing, room - now.length);
  const made = Array.from({ length: make }, () => newJob(group, app, nowMs, at));
  const ask: Ask = {
    app: app.id,
    process,
    release: release.id,
    need: toFleet(need),
    tags: view.askedTags(tags, app.id, release.id),
    antiAffinity: type.antiAffinity === true,
    jobs: [...now, ...made].map((job) => job.id),
  };
  const placements = place(view.fleet, ask);
  let reason: string | undefined;
  placements.forEach((placement, index) => {
    const isNew = index >= now.length;
    const before = isNew ? made[index - now.length]! : now[index]!;
    if (placement.host === undefined) {
      reason = placement.brief;
      if (isNew || before.reason !== reason || hasOtherTags(before, tags)) write({ ...before, tags, reason });
      return;
    }
    view.fleet.charge(before.id, placement.host, groupKey(app.id, process, release.id), ask.need);
    write({ ...before, need, tags, hostId: placement.host, state: "starting", reason: "", placedAt: at });
    turn.placed++;
  });
  const laterWaiting = waiting.slice(now.length);
  const laterMissing = group.missing - make;
  if (reason === undefined) {
    if (laterWaiting.length > 0 || laterMissing > 0) turn.more = true;
    return;
  }
  // All alike: what does not fit now fits for none of the rest either.
  turn.blocked.push({ ...ask, jobs: [`${release.id}/${process}`] });
  for (const job of laterWaiting) {
    if ((job.reason !== reason || hasOtherTags(job, tags)) && !write({ ...job, tags, reason })) return;
  }
  for (let left = laterMissing; left > 0; left--) {
    if (!write({ ...newJob(group, app, nowMs, at), reason })) return;
  }
}

function newJob({ release, process, type, tags }: Group, app: App, nowMs: number, at: string): Job {
  return {
    id: newId("job", nowMs),
    appId: app.id,
    app: app.name,
    releaseId: release.id,
    version: release.version,
    process,
    desired: "run",
    state: "pending",
    reason: "",
    need: needOf(type),
    tags,
    ...(type.port === null ? {} : { port: type.port }),
    restarts: 0,
    createdAt: at,
  };
}
