// hostd's configuration: a file of its own, or the seed that the boot server wrote, which holds all a fresh host needs.
import { existsSync, readFileSync } from "node:fs";
import { type Static, Type } from "typebox";
import { Secrets } from "#api/boot.ts";
import { HostSeed } from "#api/members.ts";
import { Tags } from "#api/schema.ts";
import { loadConfig } from "#lib/config.ts";
import { type DiskOwner, diskOwner } from "./state-disk/mark.ts";

export const HostdConfig = Type.Object({
  controlUrls: Type.Array(Type.String({ pattern: "^https://" }), {
    minItems: 1,
    description: "Control's API addresses.",
  }),
  caPem: Type.Optional(Type.String({ description: "The cluster CA." })),
  caFile: Type.Optional(Type.String({ description: "File with the cluster CA, instead of caPem." })),
  joinToken: Type.Optional(Type.String({ description: "Single use; needed until an identity is kept." })),
  name: Type.String({ minLength: 1, maxLength: 63, description: "The host's name." }),
  stateDir: Type.String({ default: "/var/lib/flynn/hostd", description: "Identity, target, job records and logs." }),
  dockerSocket: Type.String({ default: "/var/run/docker.sock" }),
  dockerCertsDir: Type.String({ default: "/etc/docker/certs.d", description: "Where Docker looks for registry CAs." }),
  address: Type.Optional(
    Type.String({ description: "IPv4 address on the LAN; default: the one that reaches control." }),
  ),
  allowedAddresses: Type.Array(Type.String(), {
    default: [],
    description: "Addresses beside peers and control that may open connections to containers.",
  }),
  dns: Type.Array(Type.String(), {
    default: [],
    description: "Name servers of containers; default: the host's own, else the bridge's gateway.",
  }),
  manageNetwork: Type.Boolean({ default: true, description: "False: routes and iptables are somebody else's work." }),
  port: Type.Integer({ default: 7779, minimum: 0, maximum: 65_535, description: "Log server, mutual TLS." }),
  dockerDir: Type.String({
    default: "/var/lib/docker",
    description: "Where Docker keeps its files: whose disk is looked at.",
  }),
  secrets: Type.Unsafe<Static<typeof Secrets>>({
    ...Secrets,
    default: "disk",
    description: "Where what jobs are given in clear is kept: on the state disk, or in memory (runDir) alone.",
  }),
  diskReserveBytes: Type.Optional(
    Type.Integer({
      minimum: 1 << 20,
      description: "Kept free for hostd and Docker; default: a twentieth of the disk, 1 GiB at most.",
    }),
  ),
  logMaxBytes: Type.Integer({ default: 16 << 20, minimum: 1 << 16, description: "Kept log lines per app." }),
  logTotalBytes: Type.Integer({
    default: 256 << 20,
    minimum: 1 << 20,
    description: "Kept log lines of all apps; beyond it the app with most gives its oldest.",
  }),
  runDir: Type.String({ default: "/run/flynn", description: "What this boot did: disk.json." }),
  machineId: Type.Optional(
    Type.String({ maxLength: 64, description: "The machine as control knows it; in the seed." }),
  ),
  tags: Type.Unsafe<Static<typeof Tags>>({
    ...Tags,
    default: {},
    description: "As in the seed. Told at the first join; afterwards control's own count.",
  }),
});
export type HostdConfig = Static<typeof HostdConfig>;

/** Where the target is kept, which holds every job's variables in clear. */
export const targetDirOf = ({ secrets, stateDir, runDir }: HostdConfig): string =>
  secrets === "ram" ? runDir : stateDir;

/** Whose disks are this host's. */
export const ownerOf = ({ caPem, machineId, name }: HostdConfig): DiskOwner =>
  diskOwner({ caPem: caPem!, machineId, hostname: name });

export const SEED_FILE = "/etc/flynn/hostd.json";

export function loadHostdConfig(options: { file?: string; seedFile?: string; env?: NodeJS.ProcessEnv }): HostdConfig {
  const { file, seedFile = SEED_FILE, env = process.env } = options;
  if (file === undefined && existsSync(seedFile)) {
    const { controlUrls, caPem, joinToken, hostname, machineId, tags, secrets } = readSeed(seedFile);
    return withCa(
      loadConfig(HostdConfig, {
        env: { prefix: "FLYNN_HOSTD", variables: env },
        flags: { controlUrls, caPem, joinToken, name: hostname, machineId, tags, secrets },
      }),
    );
  }
  return withCa(loadConfig(HostdConfig, { file, env: { prefix: "FLYNN_HOSTD", variables: env } }));
}

/** The seed, checked; unknown fields of a newer boot server are no error. */
export function readSeed(path: string): HostSeed {
  const text = readFileSync(path, "utf8");
  return loadConfig(HostSeed, { flags: known(JSON.parse(text) as Record<string, unknown>) });
}

const known = (seed: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.keys(HostSeed.properties).map((name) => [name, seed[name]]));

function withCa(config: HostdConfig): HostdConfig {
  if (config.caPem !== undefined) return config;
  if (config.caFile === undefined) throw new Error("configuration: one of caPem and caFile is needed");
  return { ...config, caPem: readFileSync(config.caFile, "utf8") };
}
