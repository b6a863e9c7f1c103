// Services that run outside of the cluster: an address and a port in the registry beside those of apps, with whether it answers.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { Ipv4, listOf, Name, Nothing, object, oneOf, PageQuery, Time } from "./schema.ts";

const Address = Type.Unsafe<string>({
  ...Ipv4,
  description: "IPv4 address outside of the cluster; none of the machine itself, of a link or of the platform.",
});
const Port = Type.Integer({ minimum: 1, maximum: 65_535, description: "TCP port." });
const Description = Type.String({ maxLength: 200, description: "What it is, for people." });

export const ExternalServiceState = oneOf(
  ["unknown", "up", "unhealthy"],
  "Whether control could open a TCP connection to it last. unknown: not tried since control started.",
);
export const ExternalService = object({
  name: Name,
  address: Address,
  port: Port,
  description: Type.Optional(Description),
  state: ExternalServiceState,
  reason: Type.String({ description: "Why it is unhealthy; empty otherwise." }),
  checkedAt: Type.Optional(Time),
  createdAt: Time,
});
export type ExternalService = Static<typeof ExternalService>;

const NameParams = object({ name: Name });
export const listExternalServices = endpoint({
  id: "listExternalServices",
  method: "GET",
  path: "/v1/external-services",
  summary: "List services that run outside of the cluster",
  permission: "app:read",
  query: object(PageQuery),
  reply: listOf(ExternalService),
});
export const createExternalService = endpoint({
  id: "createExternalService",
  method: "POST",
  idempotent: true,
  path: "/v1/external-services",
  location: "/v1/external-services/{name}",
  summary: "Register a service that runs outside of the cluster; apps reach it once a network rule lets them",
  permission: "cluster:write",
  status: 201,
  body: object({ name: Name, address: Address, port: Port, description: Type.Optional(Description) }),
  reply: ExternalService,
});
export const getExternalService = endpoint({
  id: "getExternalService",
  method: "GET",
  path: "/v1/external-services/:name",
  summary: "Show a service that runs outside of the cluster, and whether it answers",
  permission: "app:read",
  versioned: true,
  params: NameParams,
  reply: ExternalService,
});
export const updateExternalService = endpoint({
  id: "updateExternalService",
  method: "PATCH",
  path: "/v1/external-services/:name",
  summary: "Give it another address or port; network rules to it follow",
  permission: "cluster:write",
  versioned: true,
  conditional: true,
  params: NameParams,
  body: object({
    address: Type.Optional(Address),
    port: Type.Optional(Port),
    description: Type.Optional(Description),
  }),
  reply: ExternalService,
});
export const deleteExternalService = endpoint({
  id: "deleteExternalService",
  method: "DELETE",
  path: "/v1/external-services/:name",
  summary: "Take it out of the registry, with the network rules to it",
  permission: "cluster:write",
  conditional: true,
  params: NameParams,
  reply: Nothing,
});
