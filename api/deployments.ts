// Deployments: the server-side act of replacing one release by another. A client that goes away changes nothing.
import { type Static, Type } from "typebox";
import { Strategy } from "./apps.ts";
import { endpoint } from "./endpoint.ts";
import { LogLine } from "./logs.ts";
import { AppParams, Id, listOf, object, oneOf, PageQuery, Time } from "./schema.ts";
import { CanaryPercent, PauseAfter } from "./staging.ts";

export const DeploymentState = oneOf(["pending", "running", "complete", "failed", "cancelled"]);
export const Deployment = object({
  id: Id,
  appId: Id,
  fromReleaseId: Type.Optional(Id),
  toReleaseId: Id,
  toVersion: Type.Integer(),
  strategy: Strategy,
  state: DeploymentState,
  step: Type.String({ description: "What it is doing, in plain words." }),
  goingBack: Type.Optional(
    oneOf(
      ["failed", "cancelled"],
      "It goes back to the earlier release, job by job as the strategy says, and ends as this once it is there. Deployments asked for meanwhile wait.",
    ),
  ),
  reason: Type.String({ description: "Why it failed or was cancelled; empty otherwise." }),
  logTail: Type.Array(LogLine, { description: "Last log lines of the jobs that failed it." }),
  processes: Type.Record(
    Type.String(),
    object({ wanted: Type.Integer(), healthy: Type.Integer(), oldLeft: Type.Integer() }),
  ),
  releaseJobId: Type.Optional(
    Type.Unsafe<string>({ ...Id, description: "Job of the release phase, which runs before anything is switched." }),
  ),
  pauseAfter: Type.Optional(PauseAfter),
  canaryPercent: Type.Optional(CanaryPercent),
  pausedAt: Type.Optional(
    Type.Unsafe<string>({
      ...Time,
      description:
        "Since when it is paused: nothing is started or stopped for it until it is resumed; what runs serves on, and jobs that end are replaced. It can be cancelled.",
    }),
  ),
  createdAt: Time,
  startedAt: Type.Optional(Time),
  liveAt: Type.Optional(
    Type.Unsafe<string>({
      ...Time,
      description:
        "Since when the new release serves alone. Where it was there all at once, the earlier jobs are kept, without requests, until it has stayed healthy (`stableMs`): they serve again should it fail, and this is gone then.",
    }),
  ),
  finishedAt: Type.Optional(Time),
});
export type Deployment = Static<typeof Deployment>;

const ENDED: ReadonlySet<Deployment["state"]> = new Set<Deployment["state"]>(["complete", "failed", "cancelled"]);

/** Nothing of it is done any more. */
export const hasEnded = ({ state }: Pick<Deployment, "state">): boolean => ENDED.has(state);

const DeploymentParams = object({ app: Id, id: Id });
export const listDeployments = endpoint({
  id: "listDeployments",
  method: "GET",
  path: "/v1/apps/:app/deployments",
  summary: "List deployments, newest first",
  permission: "app:read",
  params: AppParams,
  query: object(PageQuery),
  reply: listOf(Deployment),
});
export const createDeployment = endpoint({
  id: "createDeployment",
  method: "POST",
  idempotent: true,
  path: "/v1/apps/:app/deployments",
  location: "/v1/apps/:app/deployments/{id}",
  summary: "Deploy a release (by id or vN)",
  permission: "app:write",
  faults: ["gone"],
  params: AppParams,
  status: 202,
  body: object({
    release: Type.String({ maxLength: 64 }),
    strategy: Type.Optional(Strategy),
    pauseAfter: Type.Optional(PauseAfter),
    canaryPercent: Type.Optional(CanaryPercent),
  }),
  reply: Deployment,
});
export const getDeployment = endpoint({
  id: "getDeployment",
  method: "GET",
  path: "/v1/apps/:app/deployments/:id",
  summary: "Show a deployment; SSE sends it whole at each change until it ends",
  permission: "app:read",
  params: DeploymentParams,
  reply: Deployment,
  item: Deployment,
});
export const cancelDeployment = endpoint({
  id: "cancelDeployment",
  method: "POST",
  path: "/v1/apps/:app/deployments/:id/cancel",
  summary: "Cancel: it goes back to the earlier release, which serves on all the while",
  permission: "app:write",
  params: DeploymentParams,
  body: object({}),
  reply: Deployment,
  status: 202,
});
export const pauseDeployment = endpoint({
  id: "pauseDeployment",
  method: "POST",
  path: "/v1/apps/:app/deployments/:id/pause",
  summary:
    "Pause between two steps; what is half done is finished first. One that is paused already is answered as it is",
  permission: "app:write",
  params: DeploymentParams,
  body: object({}),
  reply: Deployment,
  status: 202,
});
export const resumeDeployment = endpoint({
  id: "resumeDeployment",
  method: "POST",
  path: "/v1/apps/:app/deployments/:id/resume",
  summary:
    "Go on with a paused deployment. Without `pauseAfter` a canary of its release ends, and requests go to every job alike",
  permission: "app:write",
  params: DeploymentParams,
  body: object({ pauseAfter: Type.Optional(PauseAfter) }),
  reply: Deployment,
  status: 202,
});
export const rollbackApp = endpoint({
  id: "rollbackApp",
  method: "POST",
  idempotent: true,
  path: "/v1/apps/:app/rollback",
  location: "/v1/apps/:app/deployments/{id}",
  summary: "Deploy an earlier release, the previous one unless named",
  permission: "app:write",
  faults: ["gone"],
  params: AppParams,
  status: 202,
  body: object({ release: Type.Optional(Type.String({ maxLength: 64 })) }),
  reply: Deployment,
});
