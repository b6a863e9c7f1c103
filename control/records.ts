// What the store keeps, where that differs from what the API shows: no volatile counts, no secrets in the clear.

import type { Release } from "#api/apps.ts";
import type { Permission } from "#api/endpoint.ts";
import type { HostState } from "#api/hosts.ts";
import type { SshKey } from "#api/keys.ts";
import type { Machine } from "#api/machines.ts";
import type { JoinRole } from "#api/members.ts";
import type { Resources, Tags } from "#api/schema.ts";

export interface ClusterSettings {
  clusterId: string;
  /** CIDR; every host gets a part of it. */
  clusterRange: string;
  /** Length of the prefix of the parts that are given now; 24 when left out. */
  hostNet?: number;
  createdAt: string;
}

/** A host as stored. Frames that only say "still here" are kept in memory (control/liveness), never written. */
export interface HostRecord {
  id: string;
  name: string;
  state: HostState;
  reason: string;
  cordoned: boolean;
  /** Cordoned, and its jobs move elsewhere. */
  draining?: true;
  /** ISO time; a flapping host gets no new jobs before it. */
  heldUntil?: string;
  machineId?: string;
  address?: string;
  /** Every other one of its machine, as last reported. */
  addresses?: string[];
  subnet: string;
  capacity: Resources;
  /** As images name it; missing in records of before it was kept. */
  architecture?: string;
  /** What it is short of, as it last reported: no new jobs meanwhile. */
  shortOf?: "disk" | "memory";
  tags: Tags;
  /** sha256 hex of the public key (SPKI DER) of its one good certificate: an older boot's certificate is refused. */
  keySha256: string;
  next?: NextKey;
  /** When the certificate of that key was issued; not in records of before this was kept. */
  keyIssuedAt?: string;
  agentVersion?: string;
  engineVersion?: string;
  bootId?: string;
  joinedAt: string;
}

/** Records from before claim and approval were told apart are read as they are: their `identity` is what was approved. */
export type MachineRecord = Machine;

/** A release as stored. Its variables' values are read through apps/env-at-rest, never from here. */
export interface ReleaseRecord extends Omit<Release, "env"> {
  envNames?: string[];
  /** Envelope (secrets) of the environment as JSON. */
  sealed?: string;
  /** In the clear, as releases were kept before they were sealed; sealed at the next start. */
  env?: Record<string, string>;
  /** The release whose image, variables and processes it took over where nothing else was said; missing in records of before 0.2. */
  madeFromId?: string;
}

export interface MemberRecord {
  id: string;
  name: string;
  keySha256: string;
  /** SPKI PEM; a boot server's join grants are checked with it. */
  publicKeyPem: string;
  /** Of a router: IPv4 addresses it is reached by and opens connections from, and its HTTP and HTTPS ports, as seen last. */
  addresses?: string[];
  /** Of a router: every IPv4 address of its machine, as last reported. */
  localAddresses?: string[];
  ports?: number[];
  next?: NextKey;
  /** When the certificate of that key was issued; not in records of before this was kept. */
  keyIssuedAt?: string;
  /** Its key before the last renewal: grants that were signed by it just before are good for the rest of their time. */
  former?: { publicKeyPem: string; until: string };
  joinedAt: string;
}

/** A key certified at renewal and not used yet. Its first use makes it the one good key; until then the one before is. */
export interface NextKey {
  keySha256: string;
  publicKeyPem: string;
}

export interface TokenRecord {
  id: string;
  name: string;
  permissions: (Permission | "*")[];
  createdAt: string;
  createdBy?: string;
  expiresAt?: string;
  /** Within minutes; the newest is in `Presence`. */
  lastUsedAt?: string;
}

/** Jobs of `from` may open connections to jobs of `to`. */
export interface NetworkRuleRecord {
  id: string;
  from: { kind: "app"; id: string };
  /** An app, or a service outside of the cluster. */
  to: { kind: "app" | "service"; id: string };
  createdAt: string;
  createdBy: string;
}

/** An SSH key that may push. `blob`: the public key itself, base64. */
export type SshKeyRecord = SshKey & { blob: string };

/** A join token, or a boot server's grant once used. */
export interface JoinTokenRecord {
  role: JoinRole;
  expiresAt: string;
  spent?: Spent;
}

/** Whom a token let in, and by which key: the same joiner may ask again for an answer it never got. */
export interface Spent {
  id: string;
  keySha256: string;
}
