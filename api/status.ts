// How the whole stands, and what happened.
import { type Static, Type } from "typebox";
import { Alert } from "./alerts.ts";
import { endpoint } from "./endpoint.ts";
import { Id, listOf, object, oneOf, PageQuery, Time } from "./schema.ts";
import { Hello } from "./version.ts";

export const PartState = oneOf(["ok", "degraded", "down"]);
export const Part = object({ name: Type.String(), state: PartState, message: Type.String() });
export type Part = Static<typeof Part>;
export const Status = object({
  version: Type.String(),
  hello: Type.Optional(Type.Unsafe<Hello>({ ...Hello, description: "What control says of itself." })),
  clusterId: Id,
  term: Type.Integer(),
  seq: Type.Integer(),
  startedAt: Time,
  state: PartState,
  parts: Type.Array(Part),
  counts: object({
    machines: Type.Integer(),
    hosts: Type.Integer(),
    hostsReady: Type.Integer(),
    apps: Type.Integer(),
    jobs: Type.Integer(),
    jobsUp: Type.Integer(),
    routes: Type.Integer(),
  }),
  alerts: Type.Optional(
    object({
      critical: Type.Integer(),
      warning: Type.Integer(),
      newest: Type.Array(Alert, { maxItems: 10, description: "Of those that stand, critical ones first." }),
    }),
  ),
});
export type Status = Static<typeof Status>;
export const getStatus = endpoint({
  id: "getStatus",
  method: "GET",
  path: "/v1/status",
  summary: "Every part, its version and its health",
  permission: "cluster:read",
  reply: Status,
});
export const getHealth = endpoint({
  id: "getHealth",
  method: "GET",
  path: "/healthz",
  summary: "200 while the API can answer",
  permission: "public",
  reply: object({ ok: Type.Boolean() }),
});
export const getOpenapi = endpoint({
  id: "getOpenapi",
  method: "GET",
  path: "/v1/openapi.json",
  summary: "This API as OpenAPI 3.1",
  permission: "public",
  reply: Type.Any(),
});

export const getAgentsOpenapi = endpoint({
  id: "getAgentsOpenapi",
  method: "GET",
  path: "/v1/openapi-agents.json",
  summary: "What hosts, routers and boot servers ask of control, as OpenAPI 3.1; no interface for others",
  permission: "public",
  reply: Type.Any(),
});

export const Event = object({
  seq: Type.Integer(),
  at: Time,
  type: Type.String({ description: "noun.verb, such as app.created or host.lost." }),
  subject: Type.String({ description: "Id of the object." }),
  app: Type.Optional(Type.String()),
  message: Type.String({ description: "Plain words." }),
  actor: Type.String(),
});
export type Event = Static<typeof Event>;
export const listEvents = endpoint({
  id: "listEvents",
  method: "GET",
  path: "/v1/events",
  summary: "What happened, newest first; SSE sends it oldest first, follows, and resumes by seq",
  permission: "cluster:read",
  faults: ["gone"],
  query: object({
    app: Type.Optional(Id),
    type: Type.Optional(Type.String({ maxLength: 64 })),
    after: Type.Optional(Type.Integer({ minimum: 0, description: "Only what came after the event of that seq." })),
    ...PageQuery,
  }),
  reply: listOf(Event),
  item: Event,
});
