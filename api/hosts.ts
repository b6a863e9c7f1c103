// Hosts: machines that run jobs. Identity is a key pair; the name is a label.
import { type Static, Type } from "typebox";
import { DiskPolicy } from "./boot.ts";
import { BuildSpec } from "./builds.ts";
import { endpoint } from "./endpoint.ts";
import { JobReport, JobSpec } from "./jobs.ts";
import { Level, Stage } from "./machines.ts";
import {
  Id,
  IdParams,
  Ipv4,
  listOf,
  Mac,
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

export const HostState = oneOf(
  ["joining", "ready", "unhealthy", "lost"],
  "joining: has a certificate, has not reported. ready: runs jobs. unhealthy: reports, but its container engine does not work. lost: silent for 10 s.",
);
export type HostState = Static<typeof HostState>;

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
  subnet: Type.String({ description: "Its own /24 of the cluster range." }),
  capacity: Resources,
  used: Resources,
  jobs: Type.Integer(),
  tags: Tags,
  agentVersion: Type.Optional(Type.String()),
  engineVersion: Type.Optional(Type.String()),
  bootId: Type.Optional(Type.String()),
  joinedAt: Time,
  lastSeenAt: Type.Optional(Time),
});
export type Host = Static<typeof Host>;

/** What an agent knows of its machine, told at join and with each report when changed. */
export const HostFacts = object({
  hostname: Type.String({ maxLength: 63 }),
  address: Type.Optional(Type.Unsafe<string>({ ...Ipv4, description: "IPv4 address that reaches control." })),
  capacity: Resources,
  architecture: Type.String({ maxLength: 16 }),
  bootId: Type.String({ maxLength: 64, description: "The kernel's boot id: changes at each boot." }),
  macs: Type.Array(Mac, { maxItems: 64 }),
  uuid: Type.Optional(Type.String({ maxLength: 64 })),
  serial: Type.Optional(Type.String({ maxLength: 64 })),
  agentVersion: Type.String({ maxLength: 64 }),
});
export type HostFacts = Static<typeof HostFacts>;

export const Peer = object({ hostId: Id, subnet: Type.String(), address: Type.String() });

/** Everything one host should be; pushed whole at each change. hostd refuses a term smaller than it has seen. */
export const HostTarget = object({
  term: Type.Integer(),
  seq: Type.Integer(),
  hostId: Id,
  subnet: Type.String({ description: "This host's /24 of the cluster range." }),
  clusterRange: Type.String({ description: "All hosts' subnets lie in it, 100.64.0.0/16 by default." }),
  peers: Type.Array(Peer),
  registry: Type.String({
    description: "host:port that images are pulled from, TLS with the cluster CA and the host's own certificate.",
  }),
  jobs: Type.Array(JobSpec),
  builds: Type.Optional(Type.Array(BuildSpec)),
  stack: Type.Optional(
    object(
      {
        name: Type.String(),
        builder: Type.String(),
        runner: Type.String(),
        prefetch: Type.Optional(Type.Boolean({ description: "Builds may come to this host: both are fetched ahead." })),
      },
      "Images by digest that builds on this host use; hosts keep them, also as flynn/builder and flynn/runner.",
    ),
  ),
});
export type HostTarget = Static<typeof HostTarget>;

/** Sent every 2 s and at each change: the liveness frame. */
export const HostReport = object({
  term: Type.Integer(),
  seq: Type.Integer({ description: "seq of the target last applied." }),
  facts: HostFacts,
  engine: object({
    healthy: Type.Boolean(),
    version: Type.Optional(Type.String({ maxLength: 64 })),
    reason: Type.String({ maxLength: 4096 }),
  }),
  jobs: Type.Array(JobReport, { maxItems: 4096 }),
  events: Type.Optional(
    Type.Array(object({ at: Time, stage: Stage, level: Level, message: Type.String({ maxLength: 400 }) }), {
      maxItems: 50,
      description: "Boot steps the agent saw (disk, docker, ready), sent once.",
    }),
  ),
});
export type HostReport = Static<typeof HostReport>;

export const JoinRole = oneOf(["host", "router", "boot"]);
export type JoinRole = Static<typeof JoinRole>;

export const JoinRequest = object({
  token: Type.String({
    maxLength: 4096,
    description: "Single use: a join token (fjt_...) or a boot server's grant (fjg_...).",
  }),
  role: JoinRole,
  name: Type.String({ maxLength: 63 }),
  csr: Type.String({ maxLength: 8192, description: "PKCS #10, PEM; the key never leaves the joiner." }),
  facts: Type.Optional(HostFacts),
  addresses: Type.Optional(
    Type.Array(Type.String({ maxLength: 45 }), {
      maxItems: 16,
      description: "IP addresses the certificate is to be good for.",
    }),
  ),
  tags: Type.Optional(
    Type.Unsafe<Tags>({
      ...Tags,
      description: "A host's first tags, when no machine is known for it; later ones are set at control.",
    }),
  ),
});
export type JoinRequest = Static<typeof JoinRequest>;

export const JoinReply = object({
  id: Id,
  certificate: Type.String({ description: "PEM." }),
  caPem: Type.String(),
  expiresAt: Time,
  clusterRange: Type.String(),
  subnet: Type.Optional(Type.String()),
});
export type JoinReply = Static<typeof JoinReply>;

export const RenewReply = object({
  certificate: Type.String({ description: "PEM." }),
  expiresAt: Time,
  caPem: Type.String(),
});
export type RenewReply = Static<typeof RenewReply>;

/** /etc/flynn/hostd.json as the boot seed writes it: all a fresh host needs to become one. */
export const HostSeed = object({
  controlUrls: Type.Array(Type.String(), { minItems: 1 }),
  caPem: Type.String(),
  joinToken: Type.String(),
  machineId: Type.Optional(Id),
  bootId: Type.Optional(Id),
  hostname: Name,
  tags: Tags,
  diskPolicy: DiskPolicy,
});
export type HostSeed = Static<typeof HostSeed>;

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

export const joinCluster = endpoint({
  id: "joinCluster",
  method: "POST",
  path: "/v1/hosts/join",
  summary: "Trade a single-use token and a CSR for a certificate",
  permission: "join",
  body: JoinRequest,
  reply: JoinReply,
  status: 201,
});
export const renewMember = endpoint({
  id: "renewMember",
  method: "POST",
  path: "/v1/members/:id/renew",
  summary: "A new certificate for a member's next key; the present one is good until the new one is first used",
  permission: "member",
  params: IdParams,
  body: object({ csr: JoinRequest.properties.csr }),
  reply: RenewReply,
});
export const createJoinToken = endpoint({
  id: "createJoinToken",
  method: "POST",
  idempotent: true,
  path: "/v1/join-tokens",
  summary: "Make a single-use join token",
  permission: "cluster:write",
  status: 201,
  body: object({
    role: JoinRole,
    ttlMs: Type.Optional(Type.Integer({ minimum: 1_000, maximum: 7 * 86_400_000, default: 3_600_000 })),
  }),
  reply: object({ token: Type.String(), expiresAt: Time }),
});
export const hostTarget = endpoint({
  id: "hostTarget",
  method: "GET",
  path: "/v1/hosts/:id/target",
  summary: "What a host should be; whole state at each change",
  permission: "agent",
  params: IdParams,
  reply: HostTarget,
  item: HostTarget,
});
export const reportHost = endpoint({
  id: "reportHost",
  method: "POST",
  path: "/v1/hosts/:id/report",
  summary: "Liveness frame and job states of a host",
  permission: "agent",
  params: IdParams,
  body: HostReport,
  reply: object({ term: Type.Integer(), seq: Type.Integer() }),
});
