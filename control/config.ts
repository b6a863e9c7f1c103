// Configuration of the control plane: one schema with a default and a description per field.
import process from "node:process";
import { type Static, Type } from "typebox";
import type { UnknownMachines } from "#api/boot.ts";
import { type ConfigSources, loadConfig } from "#lib/config.ts";
import { HOST_NET_LARGEST } from "./identity/subnets.ts";

export const ControlConfig = Type.Object({
  stateDir: Type.String({ default: "/var/lib/flynn/control", description: "Everything control keeps." }),
  address: Type.String({ default: "0.0.0.0", description: "Address the API listens on." }),
  port: Type.Integer({ default: 7777, minimum: 0, maximum: 65_535 }),
  advertise: Type.Array(Type.String(), {
    default: [],
    description:
      "Addresses (IP or name) that hosts and people reach this API by; they go into its certificate. The first is told to new hosts.",
  }),
  clusterRange: Type.String({
    default: "100.64.0.0/16",
    pattern: "^\\d+\\.\\d+\\.\\d+\\.\\d+/\\d+$",
    description: "Every host gets a part of it. It may be made wider at a later start, and stays so.",
  }),
  hostNet: Type.Optional(
    Type.Integer({
      minimum: HOST_NET_LARGEST,
      maximum: 26,
      description:
        "Length of the prefix of the part that each host gets from now on, and with it how many jobs it runs: 22 (1021) to 26 (61). Left out: as before, 24 (253) at first. Hosts with a smaller part get one of this size once they have no jobs.",
    }),
  ),
  appDomain: Type.String({
    default: "",
    pattern: "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*)?$",
    description: "A new app is routed at NAME.<appDomain>; empty: apps have the routes they are given.",
  }),
  tcpPorts: Type.String({
    default: "3000-3500",
    pattern: "^\\d{1,5}-\\d{1,5}$",
    description: "Ports that TCP routes may have on every router.",
  }),
  registry: Type.String({
    default: "",
    description: "host:port hosts pull images from; empty means the first advertised address, port 5000.",
  }),
  registryListen: Type.String({
    default: "",
    description:
      "host:port to give images out at, to each host those it runs; empty: hosts pull from a registry that control does not stand before.",
  }),
  registryRead: Type.String({
    default: "127.0.0.1:5002",
    description: "host:port of the read-only registry behind it, reached only from here.",
  }),
  registryPush: Type.String({
    default: "127.0.0.1:5001",
    description: "host:port of the writable registry, reached only from here.",
  }),
  registryDirectory: Type.String({
    default: "",
    description:
      "Directory the registry keeps its layers in, for removing those no image uses; empty: they are left where they are.",
  }),
  unknownMachines: Type.Unsafe<UnknownMachines>({
    type: "string",
    enum: ["wait", "inventory", "auto"],
    default: "wait",
    description:
      "wait: they ask again until a person approves them. inventory: meanwhile they run the current boot image without any secret and report what they are made of. auto: approved when first seen. For labs.",
  }),
  diskPolicy: Type.Unsafe<"ram" | "find-empty">({
    type: "string",
    enum: ["ram", "find-empty"],
    default: "ram",
    description: "Disk policy of the profile `default` when it is first made.",
  }),
  imageKey: Type.String({
    default: "",
    description:
      "Public key (ed25519, PEM file) that boot image manifests are signed with; empty: the one beside the images.",
  }),
  dockerSocket: Type.String({
    default: "/var/run/docker.sock",
    description: "Local Docker that POST /v1/services may take images from.",
  }),
  localJoin: Type.Array(Type.Unsafe<"host" | "router" | "boot">({ type: "string", enum: ["host", "router", "boot"] }), {
    default: [],
    description:
      "Roles that programs on this machine may join with: a fresh single-use token for each is written to local-join/ at every start, readable by this user only.",
  }),
  salvage: Type.Boolean({
    default: false,
    description:
      "State that is damaged in both copies is refused; true opens it with what verifies and says what is lost.",
  }),
  sshRelay: Type.Array(Type.String(), {
    default: [],
    description:
      "Words that sshd's sessions start git's relay with, as they see the file system; empty: git is served over HTTPS only.",
  }),
  sshUid: Type.Integer({
    default: 60_777,
    minimum: 1,
    description: "Account of sshd's sessions; it owns the relays' socket.",
  }),
  sshPort: Type.Integer({
    default: 7722,
    minimum: 1,
    maximum: 65_535,
    description: "Port of that sshd, told to clients.",
  }),
  sshHostKeys: Type.String({
    default: "",
    description: "Directory of that sshd's host keys; the .pub files are told to clients.",
  }),
  appNetwork: Type.Unsafe<"app" | "cluster">({
    type: "string",
    enum: ["app", "cluster"],
    default: "app",
    description: "app: a job reaches its own app, and others only by a rule. cluster: every app's jobs.",
  }),
  appEgress: Type.Unsafe<"all" | "internet" | "none">({
    type: "string",
    enum: ["all", "internet", "none"],
    default: "internet",
    description:
      "What jobs and builds reach outside of the cluster. internet: public addresses only. all: private networks too. none: nothing but name servers.",
  }),
  closedNetworks: Type.Array(Type.String({ pattern: "^[0-9a-fA-F.:]+/\\d{1,3}$" }), {
    default: [],
    description:
      "Networks (CIDR) that no job and no build ever reaches: where machines boot, and where their BMCs are.",
  }),
  logLevel: Type.String({ default: "info" }),
  memberCertificateDays: Type.Integer({
    default: 30,
    minimum: 1,
    maximum: 365,
    description: "Life of the certificates of hosts, routers and boot servers; they renew after two thirds of it.",
  }),
  hostLostAfterMs: Type.Integer({
    default: 10_000,
    minimum: 2_000,
    description: "Silence after which a host is lost.",
  }),
  buildsAtOnce: Type.Integer({
    default: 2,
    minimum: 1,
    maximum: 1_000,
    description: "Builds that run at once in the whole cluster; the others wait their turn.",
  }),
  stableMs: Type.Integer({
    default: 2_000,
    minimum: 0,
    maximum: 600_000,
    description:
      "How long the first new job of each process must stay healthy before a deployment takes an old one away; a process's health check may say otherwise.",
  }),
  buildCa: Type.String({
    default: "",
    description:
      "PEM file of authorities that package installers of builds trust beside their image's own; read at the start.",
  }),
  buildProxy: Type.String({
    default: "",
    description: "URL of the proxy that builds use for HTTP and HTTPS; empty: none.",
  }),
  buildNoProxy: Type.String({
    default: "",
    description: "Names and addresses that builds reach without it, by commas.",
  }),
  buildEnv: Type.Array(Type.String({ pattern: "^[A-Za-z_][A-Za-z0-9_]*=[^\\x00\\r\\n]*$" }), {
    default: [],
    description:
      "NAME=VALUE of package installers of every build, such as npm_config_registry=https://npm.example/; apps do not get them.",
  }),
  drainAllow: Type.Array(Type.String({ pattern: "^[0-9a-fA-F.:]+(/\\d{1,3})?$" }), {
    default: [],
    description:
      "Address ranges (CIDR) that log drains may send to though they are private, such as 10.0.0.0/8; public ones need no entry.",
  }),
  freeFloorBytes: Type.Integer({
    default: 0,
    minimum: 0,
    description:
      "Free bytes below which uploads, pushes and results of builds are refused; 0: 2 % of the file system, at least 1 GiB and at most 10 GiB.",
  }),
  appGitBytes: Type.Integer({
    default: 1024 ** 3,
    minimum: 1024 ** 2,
    description: "Bytes that an app's git repository may hold.",
  }),
  appSourceBytes: Type.Integer({
    default: 4 * 1024 ** 3,
    minimum: 1024 ** 2,
    description: "Unpacked bytes of the sources of an app's builds that have not ended.",
  }),
  appImageBytes: Type.Integer({
    default: 50 * 1024 ** 3,
    minimum: 1024 ** 2,
    description: "Bytes of an app's images in the registry, each counted as it was sent.",
  }),
  imageBytes: Type.Integer({
    default: 0,
    minimum: 0,
    description: "The same of all apps together; 0: as many as leave the free space there is to be.",
  }),
  drainTimeoutMs: Type.Integer({
    default: 30_000,
    minimum: 0,
    description: "Longest wait for a job's open requests before it is stopped.",
  }),
});
export type ControlConfig = Static<typeof ControlConfig>;

export function loadControlConfig(file?: string, flags?: ConfigSources["flags"]): ControlConfig {
  return loadConfig(ControlConfig, { file, flags, env: { prefix: "FLYNN_CONTROL", variables: process.env } });
}
