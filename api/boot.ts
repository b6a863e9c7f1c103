// What boots machines: images, profiles, and the boot server's side of the contract.
//
// Join grant: the boot server signs, with the key of its own client certificate, that one boot of one machine may join.
// `fjg_<base64url JSON payload>.<base64url ECDSA P-256 SHA-256 signature (IEEE P1363) over the payload text>`.
// So a machine can boot while control is away; control accepts each nonce once.
import { type KeyLike, sign, verify } from "node:crypto";
import { type Static, Type } from "typebox";
import { BootGuard } from "./boot-guard.ts";
import { RogueDhcpServer } from "./dhcp-servers.ts";
import { DiskMedia, GivenUp, WipeOrder } from "./disks.ts";
import { endpoint } from "./endpoint.ts";
import { Fault } from "./fault.ts";
import { Claimed, Observed } from "./machine-identity.ts";
import { BootOnceTarget } from "./machine-life.ts";
import { Level, MachineTarget, Stage } from "./machines.ts";
import {
  Id,
  IdParams,
  listOf,
  Mac,
  Name,
  Nothing,
  object,
  oneOf,
  PageQuery,
  recordOf,
  Sha256,
  Tags,
  Time,
} from "./schema.ts";

export const BootFile = object({ sha256: Sha256, sizeBytes: Type.Integer({ minimum: 1 }) });

/** The manifest that `flynn image build` writes and signs (ed25519 over the exact bytes of manifest.json). */
export const BootImageManifest = Type.Object({
  id: Id,
  name: Type.String(),
  createdAt: Time,
  architecture: Type.String(),
  kernel: Type.Object({ sha256: Sha256, sizeBytes: Type.Integer(), version: Type.Optional(Type.String()) }),
  initrd: Type.Object({ sha256: Sha256, sizeBytes: Type.Integer() }),
  squashfs: Type.Object({ sha256: Sha256, sizeBytes: Type.Integer() }),
  uki: Type.Optional(Type.Object({ sha256: Sha256, sizeBytes: Type.Integer() })),
  cmdline: Type.Array(Type.String({ pattern: "^[\\x21-\\x7e]+$" })),
  memoryNeedBytes: Type.Integer({ description: "Least memory a machine needs to boot this image, in bytes." }),
});
export type BootImageManifest = Static<typeof BootImageManifest>;

export const BootImage = object({
  id: Id,
  name: Type.String(),
  architecture: Type.String(),
  kernel: BootFile,
  initrd: BootFile,
  squashfs: BootFile,
  cmdline: Type.Array(Type.String()),
  memoryNeedBytes: Type.Integer(),
  kernelVersion: Type.Optional(Type.String()),
  createdAt: Time,
  current: Type.Boolean({
    description: "True for the image that machines of its architecture without one of their own boot.",
  }),
});
export type BootImage = Static<typeof BootImage>;

/**
 * Which disk may be written. `ram`: none. `find-empty`: the one that carries this machine's mark, else the largest of which every
 * byte was read as zero. `named`: that disk, on the same conditions. A disk that holds anything is taken only by an order to wipe it.
 */
export const DiskMode = oneOf(["ram", "find-empty", "named"]);
export const DiskVerify = oneOf(
  ["all", "ends"],
  "What is read before a disk counts as empty. all (the default): every byte. ends: 4 MiB at both ends and 64 samples of 1 MiB between; data elsewhere is LOST.",
);
export const DiskPreference = oneOf(
  ["largest", "smallest"],
  "Which of several that are empty; largest when left out. A name, never a permission.",
);
export const DiskPolicy = object({
  name: Type.String({
    minLength: 1,
    maxLength: 63,
    description: "The policy's name; it appears on the timeline wherever a disk is touched.",
  }),
  mode: DiskMode,
  serial: Type.Optional(Type.String({ maxLength: 128 })),
  wwn: Type.Optional(Type.String({ maxLength: 128 })),
  path: Type.Optional(Type.String({ pattern: "^/dev/[a-zA-Z0-9/_.:-]+$" })),
  minSizeBytes: Type.Optional(Type.Integer({ minimum: 0 })),
  maxSizeBytes: Type.Optional(Type.Integer({ minimum: 1 })),
  transport: Type.Optional(
    Type.String({ pattern: "^[a-z0-9-]{1,16}$", description: "Only disks attached so, such as nvme, sata or sas." }),
  ),
  media: Type.Optional(DiskMedia),
  prefer: Type.Optional(DiskPreference),
  verify: Type.Optional(DiskVerify),
});
export type DiskPolicy = Static<typeof DiskPolicy>;

/** A word of the kernel command line as iPXE passes it on: nothing that iPXE expands, quotes or splits at. */
export const isKernelWord = (word: string): boolean =>
  /^[\x21-\x7e]{1,200}$/.test(word) && !/[$"'\\`#]|^(&&|\|\||;)$/.test(word);

export const Secrets = oneOf(
  ["disk", "ram"],
  "Where a host keeps what jobs are given in clear (variables). disk, when left out: on its state disk, so that jobs start again after a reboot while control is away; who takes the disk reads them. ram: nowhere but in memory; after a reboot jobs wait for control.",
);
export type Secrets = Static<typeof Secrets>;

export const Install = oneOf(
  ["none", "disk"],
  "disk: the disk that the disk policy names is divided while it is empty: two boot images and the state, and the machine boots from it without a network. none, when left out: every boot comes from the network.",
);
export type Install = Static<typeof Install>;

export const Profile = object({
  name: Name,
  image: Type.Unsafe<string>({ ...Id, description: "`current` (of the machine's architecture) or a boot image id." }),
  cmdline: Type.Array(
    Type.String({
      pattern: "^[\\x21-\\x7e]+$",
      maxLength: 200,
      description: "One word, such as console=ttyS0,115200n8.",
    }),
    {
      maxItems: 32,
      description: "Words added to the kernel command line.",
    },
  ),
  tags: Tags,
  diskPolicy: DiskPolicy,
  install: Type.Optional(Install),
  secrets: Type.Optional(Secrets),
  sshKeys: Type.Array(Type.String({ maxLength: 4096, pattern: "^[\\x20-\\x7e]+$" }), {
    maxItems: 32,
    description: "Public keys that log in as root over SSH. Without any, no sshd runs on the hosts.",
  }),
  cloudConfig: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 16_384,
      description:
        "A cloud-config document (YAML) of the user's own, merged into what the platform gives a host: bootcmd, runcmd, write_files, users, groups, ca_certs, timezone, phone_home. No place for secrets: whoever reads profiles reads it.",
    }),
  ),
});
export type Profile = Static<typeof Profile>;

export const BootMachine = object({
  id: Id,
  hostname: Name,
  macs: Type.Array(Mac),
  uuid: Type.Optional(Type.String()),
  serial: Type.Optional(Type.String()),
  rejected: Type.Optional(Type.Boolean({ description: "A person refused it: no boot file." })),
  joinedBootId: Type.Optional(
    Type.Unsafe<string>({ ...Id, description: "The boot that joined last: its token is used up." }),
  ),
  target: MachineTarget,
  imageId: Type.Optional(Id),
  profile: Profile,
  tags: Tags,
  wipeOrder: Type.Optional(WipeOrder),
  guard: Type.Optional(BootGuard),
  once: Type.Optional(
    object(
      { id: Id, target: BootOnceTarget },
      "Given at one boot instead of `target`; an id that was given is not given again.",
    ),
  ),
  givenUp: Type.Optional(GivenUp),
});
export type BootMachine = Static<typeof BootMachine>;

export const UnknownMachines = oneOf(
  ["wait", "inventory", "auto"],
  "wait: an operator approves. inventory: the same, and meanwhile the machine runs the current image without any secret and says what it is made of. auto: approved when seen (labs).",
);
export type UnknownMachines = Static<typeof UnknownMachines>;

/** Everything a boot server decides from; it keeps its last copy on disk and answers from that when control is away. */
export const BootTarget = object({
  term: Type.Integer(),
  seq: Type.Integer(),
  controlUrls: Type.Array(Type.String()),
  caPem: Type.String(),
  unknownMachines: UnknownMachines,
  requireTpm: Type.Optional(Type.Boolean({ description: "Hosts show a quote of their TPM when they join." })),
  jobNetworks: Type.Optional(
    Type.Array(Type.String(), {
      description: "CIDR ranges of jobs: what comes from there is dropped before it is read.",
    }),
  ),
  machines: Type.Array(BootMachine, { description: "Those a person or policy decided on; any other card waits." }),
  images: Type.Array(BootImage),
});
export type BootTarget = Static<typeof BootTarget>;

const EventDetailName = Type.String({ pattern: "^[a-zA-Z0-9._-]{1,64}$" });
export const BootEvent = object({
  eventId: Type.String({ maxLength: 64, description: "Unique; a repeated one is ignored." }),
  at: Time,
  claimed: Claimed,
  observed: Observed,
  bootId: Type.Optional(Id),
  imageId: Type.Optional(Id),
  stage: Stage,
  level: Level,
  message: Type.String({ maxLength: 400 }),
  detail: Type.Optional(
    Type.Unsafe<Record<string, string | number>>({
      ...recordOf(EventDetailName, Type.Union([Type.String({ maxLength: 200 }), Type.Number()])),
      maxProperties: 24,
    }),
  ),
});
export type BootEvent = Static<typeof BootEvent>;

export const bootTarget = endpoint({
  id: "bootTarget",
  method: "GET",
  path: "/v1/boot-servers/:id/target",
  summary: "What a boot server decides from; whole state at each change",
  permission: "boot",
  params: IdParams,
  reply: BootTarget,
  item: BootTarget,
});
export const postBootEvents = endpoint({
  id: "postBootEvents",
  method: "POST",
  path: "/v1/boot-servers/:id/events",
  summary: "Report what machines did; unknown machines become discovered",
  permission: "boot",
  params: IdParams,
  body: object({
    events: Type.Array(BootEvent, { maxItems: 500 }),
    dhcpServers: Type.Optional(
      Type.Array(RogueDhcpServer, {
        maxItems: 32,
        description: "Other DHCP servers of its network that should not be there, all of them; left out: as before.",
      }),
    ),
  }),
  reply: object({ machines: Type.Array(object({ mac: Mac, machineId: Id })) }),
});

export const listBootImages = endpoint({
  id: "listBootImages",
  method: "GET",
  path: "/v1/boot-images",
  summary: "List boot images",
  permission: "machine:read",
  query: object(PageQuery),
  reply: listOf(BootImage),
});
export const getBootImage = endpoint({
  id: "getBootImage",
  method: "GET",
  path: "/v1/boot-images/:id",
  summary: "Show a boot image",
  permission: "machine:read",
  params: IdParams,
  reply: BootImage,
});
export const registerBootImage = endpoint({
  id: "registerBootImage",
  method: "POST",
  idempotent: true,
  path: "/v1/boot-images",
  location: "/v1/boot-images/{id}",
  summary: "Register a built image by its signed manifest; the first of its architecture becomes current",
  permission: "machine:write",
  status: 201,
  body: object({
    manifest: Type.String({ maxLength: 1 << 20, description: "Exact text of manifest.json." }),
    signature: Type.String({ maxLength: 512, description: "Text of manifest.sig." }),
  }),
  reply: BootImage,
});

export const listProfiles = endpoint({
  id: "listProfiles",
  method: "GET",
  path: "/v1/profiles",
  summary: "List profiles",
  permission: "machine:read",
  query: object(PageQuery),
  reply: listOf(Profile),
});
export const getProfile = endpoint({
  id: "getProfile",
  method: "GET",
  path: "/v1/profiles/:name",
  summary: "Show a profile",
  permission: "machine:read",
  versioned: true,
  params: object({ name: Name }),
  reply: Profile,
});
export const renderProfile = endpoint({
  id: "renderProfile",
  method: "GET",
  path: "/v1/profiles/:name/render",
  summary: "Show what a machine of a profile would get to start with, without secrets",
  permission: "machine:read",
  params: object({ name: Name }),
  reply: object({
    userData: Type.String({
      description: "The cloud-config document (YAML), the platform's and the profile's own merged.",
    }),
    cmdline: Type.Array(Type.String(), { description: "Words that are added to the kernel command line." }),
  }),
});
export const putProfile = endpoint({
  id: "putProfile",
  method: "PUT",
  path: "/v1/profiles/:name",
  summary: "Make or replace a profile",
  permission: "machine:write",
  conditional: true,
  params: object({ name: Name }),
  body: Profile,
  reply: Profile,
});
export const deleteProfile = endpoint({
  id: "deleteProfile",
  method: "DELETE",
  path: "/v1/profiles/:name",
  summary: "Delete a profile no machine uses",
  permission: "machine:write",
  conditional: true,
  params: object({ name: Name }),
  reply: Nothing,
});

export interface JoinGrant {
  bootServerId: string;
  machineId: string;
  bootId: string;
  mac: string;
  /** Milliseconds since the epoch. */
  expiresAtMs: number;
  nonce: string;
}

export function signJoinGrant(grant: JoinGrant, privateKey: KeyLike): string {
  const payload = Buffer.from(JSON.stringify(grant)).toString("base64url");
  const signature = sign("sha256", Buffer.from(payload), { key: privateKey as never, dsaEncoding: "ieee-p1363" });
  return `fjg_${payload}.${signature.toString("base64url")}`;
}

/** The payload, unverified: its bootServerId says whose public key to verify with. */
export function readJoinGrant(token: string): JoinGrant | undefined {
  const match = /^fjg_([A-Za-z0-9_-]{1,2000})\.([A-Za-z0-9_-]{86})$/.exec(token);
  if (!match) return undefined;
  try {
    const grant: unknown = JSON.parse(Buffer.from(match[1]!, "base64url").toString("utf8"));
    const fields = grant as Record<string, unknown>;
    const texts = ["bootServerId", "machineId", "bootId", "mac", "nonce"].every(
      (name) => typeof fields[name] === "string",
    );
    return texts && typeof fields["expiresAtMs"] === "number" ? (grant as JoinGrant) : undefined;
  } catch {
    return undefined;
  }
}

/** The grant if the signature is right and it has not expired; else a Fault `unauthenticated`. */
export function verifyJoinGrant(token: string, publicKey: KeyLike, nowMs: number): JoinGrant {
  const grant = readJoinGrant(token);
  if (grant === undefined) throw new Fault("unauthenticated", "join grant is malformed");
  const [payload, signature] = token.slice(4).split(".") as [string, string];
  const good = verify(
    "sha256",
    Buffer.from(payload),
    { key: publicKey as never, dsaEncoding: "ieee-p1363" },
    Buffer.from(signature, "base64url"),
  );
  if (!good) throw new Fault("unauthenticated", "join grant is not signed by its boot server");
  if (grant.expiresAtMs < nowMs) throw new Fault("unauthenticated", "join grant has expired");
  return grant;
}
