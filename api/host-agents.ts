// What control and the agents of hosts say to one another: the target, the report, and the frame that keeps a host alive.
import { type Static, type TSchema, Type } from "typebox";
import { BuildSpec } from "./builds.ts";
import { ControlUrls } from "./control-urls.ts";
import { endpoint } from "./endpoint.ts";
import { HostSpace } from "./hosts.ts";
import { JobReport, JobSpec } from "./jobs.ts";
import { Level, Stage } from "./machines.ts";
import { Quarantine, QuarantinedJob } from "./quarantine.ts";
import { Reach, ReachApp } from "./reach.ts";
import { Id, IdParams, Ipv4, Mac, object, oneOf, Resources, Sha256, Time } from "./schema.ts";
import { WipeTask } from "./wipes.ts";

/** What an agent knows of its machine, told at join and with each report when changed. */
export const HostSlot = object(
  { slot: oneOf(["a", "b"]), imageId: Id },
  "It booted from its own disk, this slot of it; left out by one that booted from the network.",
);

export const HostFacts = object({
  hostname: Type.String({ maxLength: 63 }),
  address: Type.Optional(Type.Unsafe<string>({ ...Ipv4, description: "IPv4 address that reaches control." })),
  capacity: Resources,
  addresses: Type.Optional(
    Type.Array(Ipv4, {
      maxItems: 64,
      description:
        "Every IPv4 address of the machine but loopback, link-local and the bridges of jobs and builds: closed to jobs and builds of all hosts.",
    }),
  ),
  architecture: Type.String({ maxLength: 16 }),
  bootId: Type.String({ maxLength: 64, description: "The kernel's boot id: changes at each boot." }),
  macs: Type.Array(Mac, { maxItems: 64 }),
  uuid: Type.Optional(Type.String({ maxLength: 64 })),
  serial: Type.Optional(Type.String({ maxLength: 64 })),
  agentVersion: Type.String({ maxLength: 64 }),
  slot: Type.Optional(HostSlot),
});
export type HostFacts = Static<typeof HostFacts>;

export const Peer = object({ hostId: Id, subnet: Type.String(), address: Type.String() });

export const TargetStack = object(
  {
    name: Type.String(),
    builder: Type.String(),
    runner: Type.String(),
    prefetch: Type.Optional(Type.Boolean({ description: "Builds may come to this host: both are fetched ahead." })),
  },
  "Images by digest that builds on this host use; hosts keep them, also as flynn/builder and flynn/runner.",
);

export const RebootOrder = object(
  { orderId: Id, bootId: HostFacts.properties.bootId },
  "End this boot of the kernel and begin another. Of any other boot it was obeyed already, and says nothing.",
);

const InstallFile = object({ sha256: Sha256, sizeBytes: Type.Integer({ minimum: 1 }) });
export const InstallImage = object(
  { id: Id, kernel: InstallFile, initrd: InstallFile, squashfs: InstallFile, cmdline: Type.Array(Type.String()) },
  "The boot image that its profile wants on its disk; it is written once the host is ready, later ones when it is told to reboot.",
);
export type InstallImage = Static<typeof InstallImage>;

/** Everything one host should be; pushed whole at each change. hostd refuses a term smaller than it has seen. */
export const HostTarget = object({
  term: Type.Integer(),
  seq: Type.Integer(),
  hostId: Id,
  subnet: Type.String({
    description:
      "This host's part of the cluster range; another one than before is used once no job has an address of that.",
  }),
  clusterRange: Type.String({ description: "All hosts' subnets lie in it, 100.64.0.0/16 by default." }),
  peers: Type.Array(Peer),
  controlUrls: Type.Optional(ControlUrls),
  quarantine: Type.Optional(Quarantine),
  registry: Type.String({
    description: "host:port that images are pulled from, TLS with the cluster CA and the host's own certificate.",
  }),
  jobs: Type.Array(JobSpec),
  builds: Type.Optional(Type.Array(BuildSpec)),
  reach: Type.Optional(
    Type.Unsafe<Static<typeof Reach>>({
      ...Reach,
      description: "Left out by an older control: each job then reaches its own app on this host, and the internet.",
    }),
  ),
  stack: Type.Optional(TargetStack),
  reboot: Type.Optional(RebootOrder),
  install: Type.Optional(InstallImage),
  wipes: Type.Optional(
    Type.Array(WipeTask, {
      maxItems: 64,
      description: "Disks that a person ordered to be wiped, one after the other.",
    }),
  ),
});
export type HostTarget = Static<typeof HostTarget>;

const listChanges = <T extends TSchema>(row: T) =>
  Type.Optional(
    object(
      { put: Type.Array(row), gone: Type.Array(Type.String()) },
      "Rows new or other than before, and keys of those gone.",
    ),
  );

/**
 * A target as streamed to a host whose hello says `job-parts`: of the lists that grow with the cluster or with what the host runs, what has
 * changed since the item before. The first item of a stream is whole.
 */
export const HostTargetPart = object({
  ...HostTarget.properties,
  peers: Type.Optional(HostTarget.properties.peers),
  peerChanges: listChanges(Peer),
  jobs: Type.Optional(HostTarget.properties.jobs),
  jobChanges: listChanges(JobSpec),
  reach: Type.Optional(
    object({
      ...Reach.properties,
      closed: Type.Optional(Reach.properties.closed),
      apps: Type.Optional(Reach.properties.apps),
    }),
  ),
  closedChanges: listChanges(Type.String()),
  appChanges: Type.Optional(
    Type.Unsafe<{ put: ReachApp[]; gone: string[] }>({
      ...object({ put: Type.Array(ReachApp), gone: Type.Array(Id) }),
      description: "Of `reach.apps`, by their ids.",
    }),
  ),
});
export type HostTargetPart = Static<typeof HostTargetPart>;

/** Jobs of one host. */
export const REPORTED_JOBS_MOST = 4_096;
/** Characters of the reasons of all jobs together: what one report can carry. */
export const REPORTED_REASONS_MOST = 1 << 20;
const Digest = Type.String({ pattern: "^[0-9a-f]{16,64}$" });

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
  now: Type.Optional(Time),
  reachVersion: Type.Optional(
    Type.Integer({ minimum: 0, description: "Version of `reach` that the kernel enforces now." }),
  ),
  space: Type.Optional(HostSpace),
  quarantined: Type.Optional(
    Type.Array(QuarantinedJob, {
      maxItems: 4096,
      description: "Containers that run and that a restored state does not know.",
    }),
  ),
  subnetWaits: Type.Optional(
    Type.String({ maxLength: 400, description: "Why its jobs cannot have addresses of the target's subnet yet." }),
  ),
  jobs: Type.Array(JobReport, { maxItems: REPORTED_JOBS_MOST }),
  since: Type.Optional(
    Type.Unsafe<string>({
      ...Digest,
      description:
        "Of the report before, at a control whose hello says `report-changes`: `jobs` has those that are new or other than there.",
    }),
  ),
  gone: Type.Optional(
    Type.Array(Id, {
      maxItems: REPORTED_JOBS_MOST,
      description: "With `since`: jobs of that report that are no more.",
    }),
  ),
  digest: Type.Optional(
    Type.Unsafe<string>({ ...Digest, description: "Of what the host's beats say is still so, made by the host." }),
  ),
  events: Type.Optional(
    Type.Array(
      object({
        at: Time,
        stage: Stage,
        level: Level,
        message: Type.String({ maxLength: 400 }),
        code: Type.Optional(
          Type.String({
            pattern: "^[a-z][a-z0-9-]{0,39}$",
            description: "What it is (`detail.code` of the timeline).",
          }),
        ),
      }),
      { maxItems: 50, description: "Boot steps the agent saw (disk, docker, ready), sent once." },
    ),
  ),
});
export type HostReport = Static<typeof HostReport>;

/** The liveness frame of a host that has nothing new to report, at a control whose hello says `beats`. */
export const HostBeat = object({
  term: Type.Integer(),
  seq: Type.Integer({ description: "seq of the target last applied." }),
  now: Time,
  reachVersion: HostReport.properties.reachVersion,
  digest: Type.Unsafe<string>({
    ...Digest,
    description:
      "As in the report that still holds but for this frame's fields and for what jobs and disks have in use.",
  }),
});
export type HostBeat = Static<typeof HostBeat>;

export const hostTarget = endpoint({
  id: "hostTarget",
  method: "GET",
  path: "/v1/hosts/:id/target",
  summary: "What a host should be; whole state at each change",
  permission: "agent",
  params: IdParams,
  reply: HostTarget,
  item: HostTargetPart,
});
const EveryMs = Type.Optional(
  Type.Integer({
    minimum: 1,
    description: "A host whose state does not change says so this often, in milliseconds; 2,000 when left out.",
  }),
);
export const reportHost = endpoint({
  id: "reportHost",
  method: "POST",
  path: "/v1/hosts/:id/report",
  summary: "Liveness frame and job states of a host",
  permission: "agent",
  params: IdParams,
  body: HostReport,
  reply: object({
    term: Type.Integer(),
    seq: Type.Integer(),
    known: Type.Optional(
      Type.Boolean({
        description: "False: control has no report `since` (any more), and took nothing; send it whole.",
      }),
    ),
    everyMs: EveryMs,
  }),
});
export const beatHost = endpoint({
  id: "beatHost",
  method: "POST",
  path: "/v1/hosts/:id/beat",
  summary: "Liveness frame of a host whose last report still holds",
  permission: "agent",
  params: IdParams,
  body: HostBeat,
  reply: object({
    term: Type.Integer(),
    seq: Type.Integer(),
    known: Type.Boolean({ description: "False: control has no such report (any more); send it." }),
    everyMs: EveryMs,
  }),
});
