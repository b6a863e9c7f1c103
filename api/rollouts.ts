// Rollouts: something new is given to machines in cohorts, each of which has to show that it and the apps on it are well before the next
// begins. One that fails, or is called off, goes back by itself. Boot images are its only subject so far.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { Id, IdParams, listOf, Name, object, oneOf, PageQuery, Time } from "./schema.ts";

export const RolloutState = oneOf(
  ["running", "paused", "going-back", "done", "failed", "cancelled"],
  "paused: nothing further is begun. going-back: what was changed boots what it booted before. done: what was rolled out is the current one. failed, cancelled: all is as it was before, but for machines that are `stuck`.",
);
export type RolloutState = Static<typeof RolloutState>;

export const RolloutMachineState = oneOf(
  ["waiting", "draining", "rebooting", "ready", "skipped", "back-draining", "back-rebooting", "back", "stuck"],
  "draining: its jobs move elsewhere. rebooting: told to boot anew, and not back yet. ready: back with what is rolled out, and takes jobs. skipped: it takes it at its next boot. back-draining, back-rebooting, back: the same on the way back. stuck: it did not come back with what it had before.",
);
export type RolloutMachineState = Static<typeof RolloutMachineState>;

export const RolloutMachine = object({
  machineId: Id,
  name: Name,
  stage: Type.Integer({ minimum: 0, description: "Which stage it belongs to, from 0." }),
  state: RolloutMachineState,
  reason: Type.String({ maxLength: 400, description: "In plain words; empty when there is nothing to say." }),
  since: Time,
});
export type RolloutMachine = Static<typeof RolloutMachine>;

export const RolloutStage = object({
  name: Type.String({ description: "As it was asked for: a count, a share, or all." }),
  machines: Type.Integer({ minimum: 0, description: "Machines that it adds." }),
});

export const Rollout = object({
  id: Id,
  subject: object({
    kind: oneOf(["boot-image"]),
    id: Id,
    from: Type.Optional(Type.Unsafe<string>({ ...Id, description: "What was current before." })),
  }),
  state: RolloutState,
  stages: Type.Array(RolloutStage, {
    description: "Empty: it became current at once, and machines take it at their next boot.",
  }),
  stage: Type.Integer({ minimum: 0, description: "The one under way, from 0." }),
  step: Type.String({ maxLength: 400, description: "What is being done, in plain words." }),
  reason: Type.String({
    maxLength: 400,
    description: "Why it went back or stands still; empty when there is nothing to say.",
  }),
  maxUnavailable: Type.Integer({ minimum: 1, description: "Machines that are taken down at a time." }),
  gateSeconds: Type.Integer({ minimum: 0, description: "How long machines and jobs of a stage have to be well." }),
  counts: Type.Unsafe<Partial<Record<RolloutMachineState, number>>>(
    Type.Record(Type.String(), Type.Integer(), { description: "Machines by their state." }),
  ),
  machines: Type.Optional(Type.Array(RolloutMachine, { description: "In the order they are taken; not in lists." })),
  createdAt: Time,
  createdBy: Type.String({ maxLength: 128 }),
  endedAt: Type.Optional(Time),
});
export type Rollout = Static<typeof Rollout>;

/** True for one of which nothing more is to come. */
export const hasEnded = ({ state }: Pick<Rollout, "state">): boolean =>
  state === "done" || state === "failed" || state === "cancelled";

export const RolloutWish = object({
  stages: Type.Optional(
    Type.Array(Type.String({ maxLength: 8, pattern: "^([1-9]\\d{0,4}|[1-9]\\d?%|100%|all)$" }), {
      minItems: 1,
      maxItems: 20,
      description:
        "Machines that have it after each stage: a count, a share, and at last `all`. Left out: it is current at once, and machines take it at their next boot.",
    }),
  ),
  maxUnavailable: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 1_000, description: "Machines taken down at a time; 1 when left out." }),
  ),
  gateSeconds: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 86_400,
      description: "How long machines and jobs of a stage have to be well before the next; 60 when left out.",
    }),
  ),
});
export type RolloutWish = Static<typeof RolloutWish>;

export const rolloutBootImage = endpoint({
  id: "rolloutBootImage",
  method: "POST",
  path: "/v1/boot-images/:id/rollout",
  summary: "Roll an image out in stages, or make it at once the one that machines boot next",
  permission: "machine:write",
  params: IdParams,
  body: RolloutWish,
  reply: Rollout,
  faults: ["conflict"],
});
export const listRollouts = endpoint({
  id: "listRollouts",
  method: "GET",
  path: "/v1/rollouts",
  summary: "List rollouts, the newest first",
  permission: "machine:read",
  query: object(PageQuery),
  reply: listOf(Rollout),
});
export const getRollout = endpoint({
  id: "getRollout",
  method: "GET",
  path: "/v1/rollouts/:id",
  summary: "Show a rollout with its machines; as a stream, each change until its end",
  permission: "machine:read",
  params: IdParams,
  reply: Rollout,
  item: Rollout,
});
export const pauseRollout = endpoint({
  id: "pauseRollout",
  method: "POST",
  path: "/v1/rollouts/:id/pause",
  summary: "Begin nothing further; what was begun is done",
  permission: "machine:write",
  params: IdParams,
  body: object({}),
  reply: Rollout,
  faults: ["conflict"],
});
export const resumeRollout = endpoint({
  id: "resumeRollout",
  method: "POST",
  path: "/v1/rollouts/:id/resume",
  summary: "Go on with a paused rollout",
  permission: "machine:write",
  params: IdParams,
  body: object({}),
  reply: Rollout,
  faults: ["conflict"],
});
export const cancelRollout = endpoint({
  id: "cancelRollout",
  method: "POST",
  path: "/v1/rollouts/:id/cancel",
  summary: "Go back: machines that were changed boot what they booted before",
  permission: "machine:write",
  params: IdParams,
  body: object({}),
  reply: Rollout,
  faults: ["conflict"],
});
