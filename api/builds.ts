// Builds: source into an image, as a job on the cluster, then a release and its deployment. One object from push to live; its log
// is the text a push prints.
import { type Static, Type } from "typebox";
import { BEGINS_ANEW, endpoint } from "./endpoint.ts";
import { HostOrder } from "./jobs.ts";
import {
  AppParams,
  Env,
  Id,
  listOf,
  Name,
  Nothing,
  object,
  oneOf,
  PageQuery,
  ProcessName,
  ProcessText,
  recordOf,
  Sha256,
  Time,
} from "./schema.ts";
import { CanaryPercent, PauseAfter } from "./staging.ts";

export const BuildKind = oneOf(
  ["buildpacks", "dockerfile", "cnb"],
  "buildpacks: the classic contract on the cluster's stack. dockerfile: Docker's own build. cnb: Cloud Native Buildpacks on a builder image.",
);
export type BuildKind = Static<typeof BuildKind>;

const SourcePath = Type.String({
  maxLength: 200,
  pattern: "^[A-Za-z0-9._][A-Za-z0-9._/-]*$",
  not: { pattern: "(^|/)\\.{1,2}(/|$)" },
  description: "Path inside the source, no `..`.",
});
/** The builder reads it strictly once more, in its sandbox; here goes nothing that could be an option, a program or a file. */
const BuildpackName = Type.String({
  maxLength: 400,
  pattern: "^((https?|git)://[A-Za-z0-9\\[][\\x21-\\x7e]*|[A-Za-z0-9][A-Za-z0-9@._/-]*)$",
  not: { pattern: "::|#-|\\.\\." },
});
export const BuildLimits = object({
  cpuMillis: Type.Optional(Type.Integer({ minimum: 100, maximum: 64_000 })),
  memoryBytes: Type.Optional(Type.Integer({ minimum: 64 * 1024 ** 2, maximum: 2 ** 40 })),
  diskBytes: Type.Optional(Type.Integer({ minimum: 64 * 1024 ** 2, maximum: 2 ** 44 })),
  pids: Type.Optional(Type.Integer({ minimum: 16, maximum: 65_536 })),
  timeoutMs: Type.Optional(Type.Integer({ minimum: 1_000, maximum: 6 * 3_600_000 })),
});
export type BuildLimits = Static<typeof BuildLimits>;
export const DEFAULT_BUILD_LIMITS = {
  cpuMillis: 1_000,
  memoryBytes: 1024 ** 3,
  diskBytes: 4 * 1024 ** 3,
  pids: 1024,
  timeoutMs: 900_000,
} as const satisfies Required<BuildLimits>;

/** How an app is built; everything left out is found out from the source. */
export const BuildSettings = object({
  kind: Type.Optional(BuildKind),
  buildpacks: Type.Optional(
    Type.Array(BuildpackName, {
      maxItems: 16,
      description: "Names of built-in buildpacks (nodejs, python, go, ruby, static, procfile) or URLs, in order.",
    }),
  ),
  dockerfile: Type.Optional(SourcePath),
  target: Type.Optional(Type.String({ maxLength: 64, pattern: "^[a-zA-Z0-9][a-zA-Z0-9._-]*$" })),
  args: Type.Optional(recordOf(Type.String({ pattern: "^[A-Za-z_][A-Za-z0-9_]{0,127}$" }), ProcessText(4096))),
  builder: Type.Optional(Id),
  runImage: Type.Optional(Id),
  limits: Type.Optional(BuildLimits),
});
export type BuildSettings = Static<typeof BuildSettings>;

export const BuildState = oneOf(
  ["queued", "building", "storing", "deploying", "succeeded", "failed", "cancelled"],
  "queued: waits for an earlier build or a host. building: its job runs. storing: the image goes into the registry. deploying: its release is being deployed.",
);
export type BuildState = Static<typeof BuildState>;

const Commit = Type.String({ pattern: "^[0-9a-f]{40,64}$", description: "Git object name." });
export const BuildSource = object({
  type: oneOf(["git", "archive"]),
  commit: Type.Optional(Commit),
  ref: Type.Optional(Type.String({ maxLength: 255 })),
  sha256: Sha256,
  sizeBytes: Type.Integer({ description: "Bytes of the source as a tar archive." }),
});

export const Build = object({
  id: Id,
  appId: Id,
  app: Name,
  number: Type.Integer({ minimum: 1, description: "Counts the app's builds." }),
  state: BuildState,
  reason: Type.String({ description: "What it waits for, or why it failed, in plain words." }),
  kind: Type.Optional(BuildKind),
  source: BuildSource,
  jobId: Type.Optional(Id),
  hostId: Type.Optional(Id),
  detected: Type.Optional(Type.String({ description: "What was found, such as Node.js." })),
  artifactId: Type.Optional(Id),
  releaseId: Type.Optional(Id),
  version: Type.Optional(Type.Integer()),
  deploymentId: Type.Optional(Id),
  createdBy: Type.String(),
  createdAt: Time,
  startedAt: Type.Optional(Time),
  builtAt: Type.Optional(Time),
  finishedAt: Type.Optional(Time),
});
export type Build = Static<typeof Build>;

const ENDED: ReadonlySet<Build["state"]> = new Set<Build["state"]>(["succeeded", "failed", "cancelled"]);

/** Nothing of it is done any more. */
export const hasEnded = ({ state }: Pick<Build, "state">): boolean => ENDED.has(state);

export const BuildLogChunk = object({
  offset: Type.Integer({ description: "Bytes of the log before this text." }),
  text: Type.String(),
});
export type BuildLogChunk = Static<typeof BuildLogChunk>;

const BuildParams = object({ app: Id, id: Id });
export const listBuilds = endpoint({
  id: "listBuilds",
  method: "GET",
  path: "/v1/apps/:app/builds",
  summary: "List builds, newest first",
  permission: "app:read",
  params: AppParams,
  query: object(PageQuery),
  reply: listOf(Build),
});
export const createBuild = endpoint({
  id: "createBuild",
  method: "POST",
  path: "/v1/apps/:app/builds",
  location: "/v1/apps/:app/builds/{id}",
  idempotent: true,
  summary: "Build and deploy a source archive (tar, or tar.gz), streamed",
  description: BEGINS_ANEW,
  permission: "app:write",
  params: AppParams,
  query: object({
    commit: Type.Optional(Commit),
    pauseAfter: Type.Optional(PauseAfter),
    canaryPercent: Type.Optional(CanaryPercent),
  }),
  upload: "application/x-tar",
  reply: Build,
  status: 202,
});
export const getBuild = endpoint({
  id: "getBuild",
  method: "GET",
  path: "/v1/apps/:app/builds/:id",
  summary: "Show a build (by id or number); SSE sends it whole at each change until it ends",
  permission: "app:read",
  versioned: true,
  params: BuildParams,
  reply: Build,
  item: Build,
});
export const buildLog = endpoint({
  id: "buildLog",
  method: "GET",
  path: "/v1/apps/:app/builds/:id/log",
  summary: "The text a push prints; SSE follows it to the end of the build",
  permission: "app:read",
  params: BuildParams,
  reply: object({ text: Type.String() }),
  item: BuildLogChunk,
});
export const cancelBuild = endpoint({
  id: "cancelBuild",
  method: "POST",
  path: "/v1/apps/:app/builds/:id/cancel",
  summary: "Cancel a build that is not deploying yet",
  permission: "app:write",
  params: BuildParams,
  body: object({}),
  reply: Build,
  status: 202,
});
export const clearBuildCache = endpoint({
  id: "clearBuildCache",
  method: "DELETE",
  path: "/v1/apps/:app/build-cache",
  summary: "Forget the app's build cache on every host",
  permission: "app:write",
  params: AppParams,
  reply: Nothing,
});

/** A build as its host is told to run it. Its source, log and result go by the endpoints below; it holds no credential. */
export const BuildSpec = object({
  id: Id,
  jobId: Id,
  app: Name,
  appId: Id,
  desired: HostOrder,
  kind: BuildKind,
  image: Type.Optional(Type.String({ description: "Builder image by digest (buildpacks, cnb)." })),
  pushTo: Type.Optional(
    Type.String({
      description:
        "Name in the cluster's registry that the image is pushed under, layer by layer; left out: it is sent whole.",
    }),
  ),
  runImage: Type.Optional(Type.String({ description: "Image the result is laid on (buildpacks, cnb), by digest." })),
  source: object({ sha256: Sha256, sizeBytes: Type.Integer() }),
  commit: Type.Optional(Type.String()),
  env: Type.Unsafe<Record<string, string>>({
    ...Env,
    description: "The app's variables: files for buildpacks, never their environment.",
  }),
  buildpacks: Type.Array(Type.String()),
  dockerfile: object({
    path: Type.String(),
    target: Type.Optional(Type.String()),
    args: Type.Record(Type.String(), Type.String()),
  }),
  installers: Type.Optional(
    object({
      ca: Type.Optional(
        Type.String({
          maxLength: 1 << 20,
          description: "Certificates (PEM) trusted beside those of the build's image.",
        }),
      ),
      env: Type.Record(Type.String(), Type.String(), {
        description: "Variables of package installers, such as proxies and registries; of the build, not of the app.",
      }),
    }),
  ),
  cacheKey: Type.String({ description: "Names the app's cache on a host; a cleared one has another." }),
  limits: object({
    cpuMillis: Type.Integer(),
    memoryBytes: Type.Integer(),
    diskBytes: Type.Integer(),
    pids: Type.Integer(),
    timeoutMs: Type.Integer(),
  }),
});
export type BuildSpec = Static<typeof BuildSpec>;

export const BuildResult = object({
  exitCode: Type.Integer({ description: "0: the slug or image was sent." }),
  reason: Type.String({ maxLength: 4096, description: "Why it failed, in plain words." }),
  detected: Type.Optional(Type.String({ maxLength: 200 })),
  processes: Type.Optional(recordOf(ProcessName, ProcessText(4096), "Process types and their command lines.")),
});
export type BuildResult = Static<typeof BuildResult>;

const HostBuildParams = object({ id: Id, build: Id });
export const hostBuildSource = endpoint({
  id: "hostBuildSource",
  method: "GET",
  path: "/v1/hosts/:id/builds/:build/source",
  summary: "The source of a build this host is to run",
  permission: "agent",
  params: HostBuildParams,
  download: "application/x-tar",
  reply: Nothing,
});
export const hostBuildLog = endpoint({
  id: "hostBuildLog",
  method: "POST",
  path: "/v1/hosts/:id/builds/:build/log",
  summary: "More of a build's output; what control has already is passed over",
  permission: "agent",
  params: HostBuildParams,
  body: object({
    offset: Type.Integer({ minimum: 0, description: "Bytes of output sent before, of this build's job." }),
    text: Type.String({ maxLength: 262_144 }),
  }),
  reply: object({ offset: Type.Integer({ description: "Bytes control has now." }) }),
});
export const hostBuildSlug = endpoint({
  id: "hostBuildSlug",
  method: "POST",
  path: "/v1/hosts/:id/builds/:build/slug",
  summary: "The layer a buildpack build made (gzipped tar of app/), to be laid on the run image",
  permission: "agent",
  params: HostBuildParams,
  upload: "application/gzip",
  reply: Nothing,
});
export const hostBuildImage = endpoint({
  id: "hostBuildImage",
  method: "POST",
  path: "/v1/hosts/:id/builds/:build/image",
  summary: "The image a build made, as `docker save` writes it, or an OCI layout as tar",
  permission: "agent",
  params: HostBuildParams,
  upload: "application/x-tar",
  reply: Nothing,
});
export const hostBuildResult = endpoint({
  id: "hostBuildResult",
  method: "POST",
  path: "/v1/hosts/:id/builds/:build/result",
  summary: "How a build's job ended",
  permission: "agent",
  params: HostBuildParams,
  body: BuildResult,
  reply: Nothing,
});
