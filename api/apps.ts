// Apps, their releases, environment and formation.
import { type Static, type TNull, type TOptional, type TUnion, Type } from "typebox";
import { BuildSettings } from "./builds.ts";
import { endpoint } from "./endpoint.ts";
import { HealthCheck } from "./jobs.ts";
import {
  AppParams,
  Env,
  EnvChanges,
  Id,
  listOf,
  Name,
  Nothing,
  nullable,
  object,
  oneOf,
  PageQuery,
  ProcessName,
  ProcessText,
  recordOf,
  Tags,
  Time,
} from "./schema.ts";
import { CanaryPercent, PauseAfter } from "./staging.ts";

export const Strategy = oneOf(
  ["rolling", "all-at-once", "one-down-one-up", "in-batches"],
  "rolling: one new job healthy and routed before one old stops. all-at-once: all new, then all old. one-down-one-up: an old one stops before its replacement starts. in-batches: rolling, a third at a time.",
);
export type Strategy = Static<typeof Strategy>;

export const GitBranch = Type.String({
  maxLength: 200,
  pattern: "^[A-Za-z0-9_][A-Za-z0-9._/-]*$",
  not: { pattern: "\\.\\.|//|\\.lock(/|$)|/\\.|[/.]$" },
  description: "Branch name, without refs/heads/.",
});

export const App = object({
  id: Id,
  name: Name,
  releaseId: Type.Optional(Id),
  strategy: Strategy,
  deployTimeoutMs: Type.Integer({
    minimum: 1_000,
    maximum: 3_600_000,
    description: "Longest time a deployment waits for one step, in milliseconds.",
  }),
  batchSize: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 1_000,
      description: "Jobs of a process replaced at a time by in-batches; a third of them, at least one, when left out.",
    }),
  ),
  deployBranch: Type.Optional(
    Type.Unsafe<string>({ ...GitBranch, description: "Branch a push deploys; main and master when unset." }),
  ),
  build: Type.Optional(BuildSettings),
  createdAt: Time,
  deleting: Type.Optional(Type.Boolean()),
});
export type App = Static<typeof App>;

export const ProcessType = object({
  command: Type.Optional(Type.Array(ProcessText(4096), { maxItems: 64, description: "Replaces the image's CMD." })),
  entrypoint: Type.Optional(Type.Array(ProcessText(4096), { maxItems: 64 })),
  port: nullable(
    Type.Integer({ minimum: 1, maximum: 65_535, description: "Given as $PORT; null when it listens on nothing." }),
  ),
  health: Type.Optional(HealthCheck),
  cpuMillis: Type.Optional(Type.Integer({ minimum: 10, maximum: 1_000_000 })),
  memoryBytes: Type.Optional(Type.Integer({ minimum: 4 * 1024 ** 2, maximum: 2 ** 50 })),
  diskBytes: Type.Optional(
    Type.Integer({
      minimum: 16 * 1024 ** 2,
      maximum: 2 ** 50,
      description:
        "Most a job may have on its host's disk; 4 GiB when left out. The scheduler reserves what is said here.",
    }),
  ),
  pids: Type.Optional(Type.Integer({ minimum: 8, maximum: 65_536 })),
  stopTimeoutMs: Type.Optional(Type.Integer({ minimum: 0, maximum: 3_600_000 })),
  deployTimeoutMs: Type.Optional(
    Type.Integer({
      minimum: 1_000,
      maximum: 3_600_000,
      description:
        "Longest time a deployment waits for a job of this process, in milliseconds; the app's when left out.",
    }),
  ),
  antiAffinity: Type.Optional(Type.Boolean({ description: "At most one job of this process on a host." })),
});
export type ProcessType = Static<typeof ProcessType>;
/** Process types by name. */
export const Processes = recordOf(ProcessName, ProcessType);

const { port, ...plainFields } = ProcessType.properties;
type PlainFields = typeof plainFields;
/** Fields of one process to change, the others kept; null takes a field away. */
export const ProcessChanges = object({
  port: Type.Optional(port),
  ...(Object.fromEntries(
    Object.entries(plainFields).map(([name, schema]) => [name, Type.Optional(nullable(schema))]),
  ) as { [K in keyof PlainFields]: TOptional<TUnion<[PlainFields[K], TNull]>> }),
});
export type ProcessChanges = Static<typeof ProcessChanges>;

/** Immutable: artifact + environment + process types. A change of any is a new release. */
export const Release = object({
  id: Id,
  appId: Id,
  version: Type.Integer({ minimum: 1 }),
  artifactId: Type.Optional(
    Type.Unsafe<string>({ ...Id, description: "Absent while the app has an environment but no image yet." }),
  ),
  processes: Processes,
  env: Env,
  description: Type.String(),
  commit: Type.Optional(Type.String({ description: "Git commit it was built from." })),
  buildId: Type.Optional(Id),
  createdAt: Time,
  createdBy: Type.String(),
});
export type Release = Static<typeof Release>;
/** A release as lists show it: the names of its variables, not their values. */
export const ReleaseSummary = object({
  id: Id,
  appId: Id,
  version: Type.Integer(),
  artifactId: Type.Optional(Id),
  processes: Processes,
  envNames: Type.Array(Type.String()),
  description: Type.String(),
  commit: Type.Optional(Type.String({ description: "Git commit it was built from." })),
  buildId: Type.Optional(Id),
  createdAt: Time,
  createdBy: Type.String(),
  current: Type.Boolean(),
  collectable: Type.Optional(
    Type.Boolean({ description: "Beyond the last ten and used by nothing: it goes at the next clean-up." }),
  ),
});
export type ReleaseSummary = Static<typeof ReleaseSummary>;

export const FormationEntry = object({ count: Type.Integer({ minimum: 0, maximum: 10_000 }), tags: Tags });
/** How many jobs of each process one release is to have; the scheduler makes it so. Store key formations/<appId>/<releaseId>. */
export const Formation = object({ appId: Id, releaseId: Id, processes: recordOf(ProcessName, FormationEntry) });
export type Formation = Static<typeof Formation>;

export const listApps = endpoint({
  id: "listApps",
  method: "GET",
  path: "/v1/apps",
  summary: "List apps",
  permission: "app:read",
  query: object(PageQuery),
  reply: listOf(App),
});
export const createApp = endpoint({
  id: "createApp",
  method: "POST",
  idempotent: true,
  path: "/v1/apps",
  location: "/v1/apps/{id}",
  summary: "Create an app",
  permission: "app:write",
  body: object({ name: Type.Optional(Name) }),
  reply: App,
  status: 201,
});
export const getApp = endpoint({
  id: "getApp",
  method: "GET",
  path: "/v1/apps/:app",
  summary: "Show an app",
  permission: "app:read",
  versioned: true,
  params: AppParams,
  reply: App,
});
export const updateApp = endpoint({
  id: "updateApp",
  method: "PATCH",
  path: "/v1/apps/:app",
  summary: "Change how an app deploys",
  permission: "app:write",
  versioned: true,
  conditional: true,
  params: AppParams,
  body: object({
    strategy: Type.Optional(Strategy),
    deployTimeoutMs: Type.Optional(App.properties.deployTimeoutMs),
    batchSize: Type.Optional(nullable(App.properties.batchSize)),
    deployBranch: Type.Optional(nullable(GitBranch)),
    build: Type.Optional(nullable(BuildSettings)),
  }),
  reply: App,
});
export const deleteApp = endpoint({
  id: "deleteApp",
  method: "DELETE",
  path: "/v1/apps/:app",
  summary: "Delete an app, its routes and its releases; its jobs stop",
  permission: "app:write",
  conditional: true,
  params: AppParams,
  reply: Nothing,
});

export const listReleases = endpoint({
  id: "listReleases",
  method: "GET",
  path: "/v1/apps/:app/releases",
  summary: "List releases, newest first",
  permission: "app:read",
  params: AppParams,
  query: object(PageQuery),
  reply: listOf(ReleaseSummary),
});
export const getRelease = endpoint({
  id: "getRelease",
  method: "GET",
  path: "/v1/apps/:app/releases/:id",
  summary: "Show a release, by its id or vN",
  permission: "app:read",
  faults: ["gone"],
  params: object({ app: Id, id: Id }),
  reply: ReleaseSummary,
});
export const createRelease = endpoint({
  id: "createRelease",
  method: "POST",
  idempotent: true,
  path: "/v1/apps/:app/releases",
  location: "/v1/apps/:app/releases/{id}",
  summary: "Make a release; what is left out is taken from the current one",
  permission: "app:write",
  faults: ["precondition"],
  params: AppParams,
  status: 201,
  body: object({
    artifactId: Type.Optional(Id),
    processes: Type.Optional(Processes),
    processChanges: Type.Optional(
      recordOf(
        ProcessName,
        ProcessChanges,
        "Changes of processes there are, on top of `processes`; null removes a field.",
      ),
    ),
    env: Type.Optional(EnvChanges),
    description: Type.Optional(Type.String({ maxLength: 200 })),
    basedOn: Type.Optional(
      Type.Unsafe<string>({
        ...Id,
        description: "Refused (precondition) unless this is the release that the new one is made from.",
      }),
    ),
    deploy: Type.Optional(
      Type.Boolean({
        description: "Deploy it, in the same record: no other release comes between and is undone unseen.",
      }),
    ),
    pauseAfter: Type.Optional(PauseAfter),
    canaryPercent: Type.Optional(CanaryPercent),
  }),
  reply: object({ ...ReleaseSummary.properties, deploymentId: Type.Optional(Id) }),
});
export const getEnv = endpoint({
  id: "getEnv",
  method: "GET",
  path: "/v1/apps/:app/env",
  summary:
    "The environment that the next change is made on: that of the newest release that is deployed or on its way there",
  permission: "app:write",
  versioned: true,
  params: AppParams,
  reply: object({ env: Env }),
});
export const updateEnv = endpoint({
  id: "updateEnv",
  method: "PATCH",
  path: "/v1/apps/:app/env",
  summary: "Change variables: a new release, deployed if the app runs",
  permission: "app:write",
  versioned: true,
  conditional: true,
  faults: ["rate-limited"],
  params: AppParams,
  body: object({ env: EnvChanges }),
  reply: object({
    release: ReleaseSummary,
    deploymentId: Type.Optional(
      Type.Unsafe<string>({
        ...Id,
        description: "Absent where there is no image to run yet, and where nothing changed.",
      }),
    ),
    unchanged: Type.Optional(
      Type.Boolean({
        description: "The variables are so already: `release` is the one that has them, and none was made.",
      }),
    ),
  }),
  status: 202,
});
export const getFormation = endpoint({
  id: "getFormation",
  method: "GET",
  path: "/v1/apps/:app/formation",
  summary: "The current release's formation",
  permission: "app:read",
  faults: ["conflict"],
  versioned: true,
  params: AppParams,
  reply: Formation,
});
export const updateFormation = endpoint({
  id: "updateFormation",
  method: "PATCH",
  path: "/v1/apps/:app/formation",
  summary: "Scale processes",
  permission: "app:write",
  versioned: true,
  conditional: true,
  params: AppParams,
  body: recordOf(
    ProcessName,
    object({ count: Type.Integer({ minimum: 0, maximum: 10_000 }), tags: Type.Optional(Tags) }),
  ),
  reply: Formation,
  status: 202,
});
