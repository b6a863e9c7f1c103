// Jobs: one run of one process of one release on one host. The scheduler makes them, hostd runs them.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import {
  AppParams,
  Env,
  Id,
  IdParams,
  Ipv4,
  listOf,
  Name,
  nullable,
  object,
  oneOf,
  PageQuery,
  ProcessName,
  ProcessText,
  Resources,
  Tags,
  Time,
} from "./schema.ts";

export const JobState = oneOf(
  ["pending", "starting", "up", "unhealthy", "crashed", "stopping", "down", "lost"],
  "pending: waits for a host (reason says why). starting: pulling, created, not yet healthy. up: healthy. unhealthy: runs but its check fails. crashed: exited, will be started again. stopping: told to end. down: ended. lost: its host fell silent.",
);
export type JobState = Static<typeof JobState>;

export const JobDesired = oneOf(
  ["run", "drain", "stop"],
  "drain: out of the routes, still running until its requests ended.",
);
export type JobDesired = Static<typeof JobDesired>;

/** A process's check. `tcp`: a connection opens. `http`: GET path answers one of `status`. `none`: running is healthy. */
export const HealthType = oneOf(["tcp", "http", "none"]);
export const HealthCheck = object({
  type: HealthType,
  path: Type.Optional(Type.String({ maxLength: 256, pattern: "^/[\\x21-\\x7e]*$" })),
  status: Type.Optional(
    Type.String({
      maxLength: 100,
      pattern: "^[1-5]\\d\\d(-[1-5]\\d\\d)?(,[1-5]\\d\\d(-[1-5]\\d\\d)?)*$",
      description: "HTTP statuses that are healthy, such as 200,204 or 200-299; 200-399 when left out.",
    }),
  ),
  intervalMs: Type.Integer({ minimum: 100, maximum: 60_000, default: 1_000 }),
  timeoutMs: Type.Integer({ minimum: 100, maximum: 60_000, default: 2_000 }),
  rise: Type.Integer({ minimum: 1, maximum: 20, default: 1, description: "Successes in a row that make it healthy." }),
  fall: Type.Integer({ minimum: 1, maximum: 20, default: 3, description: "Failures in a row that make it unhealthy." }),
  startTimeoutMs: Type.Integer({
    minimum: 1_000,
    maximum: 3_600_000,
    default: 60_000,
    description: "Longest time from start to healthy.",
  }),
  stableMs: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 600_000,
      description:
        "A deployment's first job of the process must stay healthy so long, in milliseconds, before any old one goes; 2000 when left out. Where all jobs of the process are replaced at once, they serve before that, and the old ones are kept without requests meanwhile, to serve again should one fail.",
    }),
  ),
});
export type HealthCheck = Static<typeof HealthCheck>;

export const DEFAULT_HEALTH: HealthCheck = {
  type: "tcp",
  intervalMs: 1_000,
  timeoutMs: 2_000,
  rise: 1,
  fall: 3,
  startTimeoutMs: 60_000,
};
export const DEFAULT_LIMITS = {
  cpuMillis: 100,
  memoryBytes: 512 * 1024 ** 2,
  diskBytes: 4 * 1024 ** 3,
  pids: 1024,
} as const;
export const DEFAULT_STOP_TIMEOUT_MS = 30_000;

/** What makes a job run once instead of for ever: a one-off of a user, a release phase, or a build. */
export const TaskKind = oneOf(["run", "release", "build"]);
export type TaskKind = Static<typeof TaskKind>;
export const Task = object({
  kind: TaskKind,
  command: Type.Optional(Type.Array(ProcessText(32_768), { maxItems: 256, description: "As `docker run` takes it." })),
  attach: Type.Boolean({ description: "Starts when a client attaches, and ends when that client goes." }),
  tty: Type.Boolean(),
  timeoutMs: Type.Optional(Type.Integer({ minimum: 1_000, maximum: 7 * 86_400_000 })),
  createdBy: Type.String(),
});
export type Task = Static<typeof Task>;

/** What a job has on its host's disk: its writable layer, volumes that its image declares, kept output, deleted files still open. */
export const JobDisk = object({
  usedBytes: Type.Integer({ minimum: 0, description: "As last counted: blocks, so holes count nothing." }),
  limitBytes: Type.Integer({ minimum: 0 }),
  enforcedBy: oneOf(
    ["kernel", "watch"],
    "kernel: writes beyond the limit fail, and volumes and output are watched. watch: the job ends within seconds of passing it.",
  ),
});
export type JobDisk = Static<typeof JobDisk>;

export const Job = object({
  id: Id,
  appId: Id,
  app: Name,
  releaseId: Type.Unsafe<string>({ ...Id, description: "Its release; `build` for a build's job, which has none." }),
  version: Type.Integer({ description: "The release's number, 3 for v3; 0 for a build's job." }),
  task: Type.Optional(Task),
  process: ProcessName,
  desired: JobDesired,
  state: JobState,
  reason: Type.String({ description: "Why it waits, failed or ended, in plain words; empty when all is well." }),
  hostId: Type.Optional(Id),
  need: Resources,
  tags: Tags,
  address: Type.Optional(Type.String({ description: "Its own IPv4 address on the cluster network." })),
  port: Type.Optional(Type.Integer()),
  restarts: Type.Integer(),
  exitCode: Type.Optional(Type.Integer()),
  createdAt: Time,
  placedAt: Type.Optional(Time),
  startedAt: Type.Optional(Time),
  upAt: Type.Optional(Time),
  drainingSince: Type.Optional(Time),
  endedAt: Type.Optional(Time),
  nextStartAt: Type.Optional(
    Type.Unsafe<string>({
      ...Time,
      description: "When a crashed job is started again; later after each crash in a row.",
    }),
  ),
  memoryBytes: Type.Optional(
    Type.Integer({ description: "In use some seconds ago, as its host last said; not of a job that does not run." }),
  ),
  disk: Type.Optional(JobDisk),
});
export type Job = Static<typeof Job>;

/** Nothing of it runs, or its host is gone. */
export const isEnded = ({ state }: Pick<Job, "state">): boolean => state === "down" || state === "lost";

/** On a host that fell silent, and not replaced yet: it is kept when the host is heard again before it is. */
export const isSilent = ({ state, desired }: Pick<Job, "state" | "desired">): boolean =>
  state === "lost" && desired === "run";

/** Ended for good: it will not be heard of again. */
export const isOver = (job: Pick<Job, "state" | "desired">): boolean => isEnded(job) && !isSilent(job);

/** What a host is told to do with a job or a build. */
export const HostOrder = oneOf(["run", "stop"]);
/** A job as its host is told to run it. */
export const JobSpec = object({
  id: Id,
  app: Name,
  appId: Id,
  releaseId: Id,
  version: Type.Integer(),
  process: ProcessName,
  desired: HostOrder,
  image: Type.String({ description: "registry address/app@sha256:digest" }),
  command: Type.Optional(Type.Array(Type.String(), { description: "Replaces the image's CMD." })),
  entrypoint: Type.Optional(Type.Array(Type.String())),
  env: Env,
  port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535 })),
  cpuMillis: Type.Integer(),
  memoryBytes: Type.Integer(),
  diskBytes: Type.Optional(Type.Integer({ description: "Most it may have on disk; no limit from an older control." })),
  pids: Type.Integer(),
  health: HealthCheck,
  stopTimeoutMs: Type.Integer(),
  task: Type.Optional(
    Type.Unsafe<Static<typeof Task>>({ ...Task, description: "Runs once: its exit is its end, whatever the code." }),
  ),
  started: Type.Optional(
    Type.Boolean({
      description: "A job that runs once was seen to run: without its container it is over, not made again.",
    }),
  ),
});
export type JobSpec = Static<typeof JobSpec>;

/** A job as its host reports it. */
export const JobReport = object({
  id: Id,
  state: oneOf(["starting", "up", "unhealthy", "crashed", "stopping", "down"]),
  reason: Type.String({ maxLength: 4096 }),
  address: Type.Optional(Ipv4),
  restarts: Type.Integer(),
  exitCode: Type.Optional(Type.Integer()),
  startedAt: Type.Optional(Time),
  upAt: Type.Optional(Time),
  nextStartAt: Type.Optional(Time),
  memoryBytes: Type.Optional(Type.Integer({ minimum: 0 })),
  disk: Type.Optional(JobDisk),
});
export type JobReport = Static<typeof JobReport>;

export const listJobs = endpoint({
  id: "listJobs",
  method: "GET",
  path: "/v1/apps/:app/jobs",
  summary: "List an app's jobs",
  permission: "app:read",
  params: AppParams,
  query: object({ ...PageQuery, all: Type.Optional(Type.Boolean({ description: "Ended jobs too." })) }),
  reply: listOf(Job),
});
export const getJob = endpoint({
  id: "getJob",
  method: "GET",
  path: "/v1/jobs/:id",
  summary: "Show a job",
  permission: "app:read",
  params: IdParams,
  reply: Job,
});
export const stopJob = endpoint({
  id: "stopJob",
  method: "POST",
  path: "/v1/jobs/:id/stop",
  summary: "Stop a job; the formation starts another",
  permission: "app:write",
  params: IdParams,
  body: object({}),
  reply: Job,
  status: 202,
});
export const restartApp = endpoint({
  id: "restartApp",
  method: "POST",
  idempotent: true,
  path: "/v1/apps/:app/restart",
  summary: "Start an app's jobs anew: all of them, those of one process, or one",
  permission: "app:write",
  params: AppParams,
  body: object({
    process: Type.Optional(ProcessName),
    job: Type.Optional(Type.Unsafe<string>({ ...Id, description: "This job alone." })),
  }),
  reply: object({
    jobs: Type.Array(Id, { description: "Jobs that were told to stop; the formation starts others in their place." }),
    version: Type.Optional(
      Type.Integer({ description: "Of the identical release that is deployed instead, where requests would be lost." }),
    ),
    deploymentId: Type.Optional(Id),
  }),
  status: 202,
});
export const createJob = endpoint({
  id: "createJob",
  method: "POST",
  idempotent: true,
  path: "/v1/apps/:app/jobs",
  location: "/v1/jobs/{id}",
  summary: "Run a command once in a job of its own, with the release's image, environment and limits",
  permission: "app:write",
  faults: ["gone"],
  params: AppParams,
  status: 201,
  body: object({
    command: Type.Optional(Task.properties.command),
    process: Type.Optional(ProcessName),
    release: Type.Optional(Type.String({ maxLength: 64 })),
    env: Type.Optional(Env),
    attach: Type.Optional(Type.Boolean({ default: false })),
    tty: Type.Optional(Type.Boolean({ default: false })),
    cpuMillis: Type.Optional(Type.Integer({ minimum: 10, maximum: 1_000_000 })),
    memoryBytes: Type.Optional(Type.Integer({ minimum: 4 * 1024 ** 2, maximum: 2 ** 50 })),
    timeoutMs: Type.Optional(Type.Integer({ minimum: 1_000, maximum: 7 * 86_400_000 })),
  }),
  reply: Job,
});
export const explainJob = endpoint({
  id: "explainJob",
  method: "GET",
  path: "/v1/jobs/:id/explain",
  summary: "Why a job is where it is",
  permission: "app:read",
  params: IdParams,
  reply: object({
    job: Job,
    decision: Type.String(),
    hosts: Type.Array(object({ host: Type.String(), fits: Type.Boolean(), why: nullable(Type.String()) })),
  }),
});
