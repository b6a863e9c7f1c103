// Hosts: machines that run jobs, as people see them. Identity is a key pair; the name is a label. What hosts themselves are sent and report
// is in host-agents.ts.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import {
  Id,
  IdParams,
  listOf,
  Name,
  Nothing,
  object,
  oneOf,
  PageQuery,
  Resources,
  TagChanges,
  Tags,
  Time,
} from "./schema.ts";
import { Hello } from "./version.ts";

export const HostState = oneOf(
  ["joining", "ready", "unhealthy", "lost"],
  "joining: has a certificate, has not reported. ready: runs jobs. unhealthy: reports, but its container engine does not work. lost: silent for 10 s.",
);
export type HostState = Static<typeof HostState>;

export const Room = object({
  sizeBytes: Type.Integer({ minimum: 0 }),
  freeBytes: Type.Integer({ minimum: 0 }),
  reserveBytes: Type.Integer({ minimum: 0, description: "Kept for the agent and the container engine." }),
  inodes: Type.Optional(Type.Integer({ minimum: 0, description: "Files the disk can have; 0: it knows no bound." })),
  freeInodes: Type.Optional(Type.Integer({ minimum: 0, description: "Below 2 % of them the disk is short." })),
});

/** What a host has left. */
export const HostSpace = object({
  disk: Room,
  memory: Room,
  pressure: Type.Array(oneOf(["disk", "memory"]), {
    maxItems: 2,
    description: "What has less free than the reserve: no new jobs are placed here until half as much again is free.",
  }),
});

export const Host = object({
  id: Id,
  name: Name,
  state: HostState,
  reason: Type.String(),
  cordoned: Type.Boolean({ description: "True: no new jobs are placed here; what runs goes on." }),
  draining: Type.Optional(
    Type.Boolean({ description: "True: its jobs move elsewhere, each once its replacement serves." }),
  ),
  heldUntil: Type.Optional(Time),
  machineId: Type.Optional(Id),
  address: Type.Optional(Type.String({ description: "IPv4 address on the LAN." })),
  subnet: Type.String({
    description: "Its own part of the cluster range; it runs at most as many jobs as that has addresses, less three.",
  }),
  subnetWaits: Type.Optional(
    Type.String({ description: "Why it does not use that subnet yet, or when it gets a larger one." }),
  ),
  capacity: Resources,
  architecture: Type.Optional(
    Type.String({ description: "amd64 or arm64: only jobs whose image is for it are placed here." }),
  ),
  used: Resources,
  space: Type.Optional(HostSpace),
  clockOffMs: Type.Optional(
    Type.Integer({ description: "Its clock is ahead of control's by so many milliseconds, behind when negative." }),
  ),
  jobs: Type.Integer(),
  tags: Tags,
  agentVersion: Type.Optional(Type.String()),
  hello: Type.Optional(Type.Unsafe<Hello>({ ...Hello, description: "What it said of itself when it was heard last." })),
  engineVersion: Type.Optional(Type.String()),
  bootId: Type.Optional(Type.String()),
  joinedAt: Time,
  lastSeenAt: Type.Optional(Time),
});
export type Host = Static<typeof Host>;

export const listHosts = endpoint({
  id: "listHosts",
  method: "GET",
  path: "/v1/hosts",
  summary: "List hosts",
  permission: "cluster:read",
  query: object(PageQuery),
  reply: listOf(Host),
});
export const getHost = endpoint({
  id: "getHost",
  method: "GET",
  path: "/v1/hosts/:id",
  summary: "Show a host",
  permission: "cluster:read",
  versioned: true,
  params: IdParams,
  reply: Host,
});
export const updateHost = endpoint({
  id: "updateHost",
  method: "PATCH",
  path: "/v1/hosts/:id",
  summary: "Change a host's name or tags",
  permission: "cluster:write",
  conditional: true,
  params: IdParams,
  body: object({ name: Type.Optional(Name), tags: Type.Optional(TagChanges) }),
  reply: Host,
});
export const deleteHost = endpoint({
  id: "deleteHost",
  method: "DELETE",
  path: "/v1/hosts/:id",
  summary: "Remove a host; its certificate is refused from now on",
  permission: "cluster:write",
  conditional: true,
  params: IdParams,
  reply: Nothing,
});
export const cordonHost = endpoint({
  id: "cordonHost",
  method: "POST",
  path: "/v1/hosts/:id/cordon",
  summary: "Place no new jobs on a host",
  permission: "cluster:write",
  conditional: true,
  params: IdParams,
  body: Nothing,
  reply: Host,
});
export const drainHost = endpoint({
  id: "drainHost",
  method: "POST",
  path: "/v1/hosts/:id/drain",
  summary: "Cordon a host and move its jobs elsewhere, each once its replacement serves",
  permission: "cluster:write",
  conditional: true,
  params: IdParams,
  body: Nothing,
  reply: Host,
  status: 202,
});
export const uncordonHost = endpoint({
  id: "uncordonHost",
  method: "POST",
  path: "/v1/hosts/:id/uncordon",
  summary: "Place jobs on a host again",
  permission: "cluster:write",
  conditional: true,
  params: IdParams,
  body: Nothing,
  reply: Host,
});
