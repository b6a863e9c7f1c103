// Jobs that run once: a user's one-off, a release phase, a build. The scheduler places them like any job; an exit is the end.
import type { App, ProcessType } from "#api/apps.ts";
import { Fault } from "#api/fault.ts";
import { isEnded, type Job, type Task } from "#api/jobs.ts";
import type { Resources, Tags } from "#api/schema.ts";
import { newId } from "#lib/ids.ts";
import { sealTaskEnv } from "../apps/env-at-rest.ts";
import { currentRelease, findApp, findRelease, liveJobs } from "../apps/find.ts";
import { ENV_MOST_BYTES, RESERVED_ENV } from "../apps/release.ts";
import type { Context } from "../context.ts";
import { eventChanges, type NewEvent } from "../events.ts";
import { keys } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import { isWanted, needOf } from "../scheduler/job-rules.ts";
import type { Change, Store } from "../store/store.ts";

export interface TaskRequest {
  appId: string;
  /** Release whose image and environment it has; left out for a build. */
  releaseId?: string;
  /** Process type whose limits, health and environment it takes; `run` when none. */
  process: string;
  task: Task;
  /** Variables on top of the release's. */
  env?: Record<string, string>;
  need?: Resources;
  tags?: Tags;
}

export interface Tasks {
  /** The job and the changes that make it, for a caller that commits it with something of its own. */
  draft(requested: TaskRequest): { job: Job; changes: Change[] };
  create(requested: TaskRequest): Promise<Job>;
  /** The job as it stands; `ended` is true once it is over for good (exitCode is then there unless its host was lost). */
  get(appId: string, id: string): { job: Job; ended: boolean } | undefined;
  stop(appId: string, id: string, by: string): Promise<void>;
}

/** Of one app: more at once is a loop gone wrong, not work. */
const LIVE_MOST = 100;

export function createTasks(context: Pick<Context, "store" | "now" | "secrets">): Tasks {
  const { store, now, secrets } = context;

  const draft = (requested: TaskRequest): { job: Job; changes: Change[] } => {
    const { appId, task, env = {}, tags = {} } = requested;
    const { value: app } = findApp(store, appId);
    const release = task.kind === "build" ? undefined : releaseOf(store, app, requested);
    const type = release === undefined ? undefined : processOf(app, release, requested);
    if (liveJobs(store, app.id).filter((job) => job.task !== undefined).length >= LIVE_MOST)
      throw new Fault("rate-limited", `app ${app.name} has ${LIVE_MOST} one-off jobs already; end some first`);
    checkEnv(env);
    const job: Job = {
      id: newId("job", now().getTime()),
      appId: app.id,
      app: app.name,
      releaseId: release?.id ?? "build",
      version: release?.version ?? 0,
      task,
      process: requested.process,
      desired: "run",
      state: "pending",
      reason: "",
      need: requested.need ?? needOf(type ?? { port: null }),
      tags,
      restarts: 0,
      createdAt: now().toISOString(),
    };
    const changes: Change[] = [{ key: keys.job(app.id, job.id), value: job }];
    if (Object.keys(env).length > 0)
      changes.push({ key: keys.taskEnv(app.id, job.id), value: sealTaskEnv(secrets, job.id, env) });
    return { job, changes };
  };

  const find = (appId: string, id: string) => {
    const entry = store.get<Job>(keys.job(appId, id));
    return entry?.value.task === undefined ? undefined : entry;
  };

  return {
    draft,
    async create(requested) {
      const { job, changes } = draft(requested);
      const { createdBy } = requested.task;
      await store.commit({
        actor: createdBy,
        mutations: [...changes, ...eventChanges(store, now(), createdEvent(job))],
      });
      return job;
    },
    get(appId, id) {
      const job = find(appId, id)?.value;
      return job === undefined ? undefined : { job, ended: isEnded(job) };
    },
    async stop(appId, id, by) {
      const entry = find(appId, id);
      if (entry === undefined || !isWanted(entry.value)) return;
      const value: Job = { ...entry.value, desired: "stop", reason: `stopped by ${by}` };
      await store.commit({
        actor: by,
        expect: [{ key: entry.key, version: entry.version }],
        mutations: [
          { key: entry.key, value },
          ...eventChanges(store, now(), {
            type: "job.killed",
            subject: id,
            app: value.app,
            actor: by,
            message: `job ${id} was told to stop`,
          }),
        ],
      });
    },
  };
}

/** Who runs what: the first word only, since arguments may hold secrets. */
export function createdEvent({ id, app, process, task }: Job): NewEvent {
  const word = firstWord(task?.command);
  const what = word ? `${word} as ${process}` : process;
  return {
    type: "job.created",
    subject: id,
    app,
    actor: task?.createdBy ?? "control",
    message: `${task?.kind === "run" ? "one-off" : task?.kind} job ${id} of ${app}: ${what}`,
  };
}

export const firstWord = (command: readonly string[] = []): string =>
  (command[0] ?? "").trim().split(/\s/, 1)[0]!.slice(0, 100);

function releaseOf(store: Store, app: App, { releaseId }: TaskRequest): ReleaseRecord {
  const release = releaseId === undefined ? currentRelease(store, app) : findRelease(store, app.id, releaseId);
  if (release === undefined)
    throw new Fault("conflict", `app ${app.name} has nothing deployed yet: git push flynn main, or flynn deploy`);
  if (release.artifactId === undefined)
    throw new Fault("conflict", `v${release.version} of ${app.name} has no image to run`);
  return release;
}

function processOf(app: App, release: ReleaseRecord, { process, task }: TaskRequest): ProcessType | undefined {
  if (Object.hasOwn(release.processes, process)) return release.processes[process];
  if (process === "run" || (process === "release" && task.command !== undefined)) return undefined;
  const names = Object.keys(release.processes).join(", ");
  throw new Fault("invalid", `v${release.version} of ${app.name} has no process ${process}; it has ${names}`, {
    details: { field: "process" },
  });
}

function checkEnv(env: Record<string, string>): void {
  const reserved = Object.keys(env).find((name) => RESERVED_ENV.has(name));
  if (reserved !== undefined)
    throw new Fault("invalid", `${reserved} is set by the platform for every job and cannot be changed`, {
      details: { field: reserved },
    });
  if (Buffer.byteLength(JSON.stringify(env)) > ENV_MOST_BYTES)
    throw new Fault("too-large", "the variables of one job are at most 12 KiB");
}
