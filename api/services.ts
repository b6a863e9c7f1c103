// The registry of what listens, and the one call that makes a service from an image.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { HealthCheck, JobState } from "./jobs.ts";
import { LogLine, LogQuery } from "./logs.ts";
import { Domain } from "./routes.ts";
import { Env, Id, listOf, Name, Nothing, object, PageQuery, ProcessName, ProcessText } from "./schema.ts";

export const Instance = object({
  jobId: Type.Optional(Type.Unsafe<string>({ ...Id, description: "Absent for what runs outside of the cluster." })),
  hostId: Type.Optional(Id),
  address: Type.Optional(Type.String()),
  port: Type.Optional(Type.Integer()),
  state: JobState,
  healthy: Type.Boolean(),
});
export const Service = object({
  name: Type.String({
    description: "<app> for process web, <app>-<process> for others; of what runs outside of the cluster its own.",
  }),
  external: Type.Optional(
    Type.Boolean({
      description: "It runs outside of the cluster, see /v1/external-services: no app, image or release.",
    }),
  ),
  app: Type.Optional(Name),
  process: Type.Optional(ProcessName),
  image: Type.String(),
  version: Type.Integer(),
  count: Type.Integer(),
  port: Type.Optional(Type.Integer()),
  domains: Type.Array(Type.String()),
  instances: Type.Array(Instance),
  deploymentId: Type.Optional(Id),
});
export type Service = Static<typeof Service>;

const NameParams = object({ name: Name });
export const listServices = endpoint({
  id: "listServices",
  method: "GET",
  path: "/v1/services",
  summary: "Every process that listens, and every external service, with its instances",
  permission: "app:read",
  query: object(PageQuery),
  reply: listOf(Service),
});
export const getService = endpoint({
  id: "getService",
  method: "GET",
  path: "/v1/services/:name",
  summary: "One service; SSE sends it whole at each change",
  permission: "app:read",
  versioned: true,
  params: NameParams,
  reply: Service,
  item: Service,
});
export const createService = endpoint({
  id: "createService",
  method: "POST",
  idempotent: true,
  path: "/v1/services",
  location: "/v1/services/{name}",
  bulk: true,
  summary: "Create a service from an uploaded image: app, release, formation and route in one call",
  permission: "app:write",
  status: 202,
  body: object({
    name: Name,
    artifactId: Type.Optional(Id),
    image: Type.Optional(
      Type.String({ maxLength: 255, description: "An image of the local Docker, where the appliance has one." }),
    ),
    count: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000, default: 1 })),
    port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535, default: 8080 })),
    command: Type.Optional(Type.Array(ProcessText(4096), { maxItems: 64 })),
    env: Type.Optional(Env),
    health: Type.Optional(HealthCheck),
    domain: Type.Optional(Domain),
  }),
  reply: Service,
});
export const updateService = endpoint({
  id: "updateService",
  method: "PATCH",
  path: "/v1/services/:name",
  bulk: true,
  summary: "Scale a service or give it a new image",
  permission: "app:write",
  versioned: true,
  conditional: true,
  params: NameParams,
  status: 202,
  body: object({
    count: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000 })),
    artifactId: Type.Optional(Id),
    image: Type.Optional(Type.String({ maxLength: 255 })),
  }),
  reply: Service,
});
export const deleteService = endpoint({
  id: "deleteService",
  method: "DELETE",
  path: "/v1/services/:name",
  summary: "Delete a service",
  permission: "app:write",
  conditional: true,
  params: NameParams,
  reply: Nothing,
});
export const serviceLog = endpoint({
  id: "serviceLog",
  method: "GET",
  path: "/v1/services/:name/log",
  summary: "A service's log lines; SSE follows",
  permission: "app:read",
  faults: ["rate-limited"],
  params: NameParams,
  query: object(LogQuery),
  reply: object({ items: Type.Array(LogLine) }),
  item: LogLine,
});
