// Configuration of `flynn up`: one machine's appliance. Defaults < file < FLYNN_UP_* < flags.
import { homedir } from "node:os";
import { join } from "node:path";
import { type Static, Type } from "typebox";
import { loadConfig } from "#lib/config.ts";

export const UpConfig = Type.Object({
  stateDir: Type.String({
    default: "",
    description: "Everything the appliance keeps: /var/lib/flynn as root, ~/.flynn/state otherwise.",
  }),
  address: Type.String({
    default: "",
    description:
      "IPv4 address that hosts and people reach this machine by; the interface's, else the one of the default route.",
  }),
  interface: Type.String({
    default: "",
    description:
      "Network interface to boot machines on. Empty: no DHCP, no TFTP, no boot plane: nothing on the LAN is surprised.",
  }),
  dhcp: Type.Unsafe<"proxy" | "full">({
    type: "string",
    enum: ["proxy", "full"],
    default: "proxy",
    description: "proxy: beside the LAN's own DHCP server. full: we are it.",
  }),
  dhcpRange: Type.String({ default: "", description: "Addresses to give out in full mode, first-last." }),
  unknownMachines: Type.Unsafe<"wait" | "auto">({
    type: "string",
    enum: ["wait", "auto"],
    default: "wait",
    description: "auto: machines are approved when first seen. For labs.",
  }),
  diskPolicy: Type.Unsafe<"ram" | "find-empty">({
    type: "string",
    enum: ["ram", "find-empty"],
    default: "ram",
    description: "Disk policy of the default profile of a new cluster.",
  }),
  host: Type.Boolean({ default: true, description: "Run apps on this machine's Docker too." }),
  dockerSocket: Type.String({ default: "/var/run/docker.sock", description: "Local Docker." }),
  port: Type.Integer({ default: 7777, minimum: 1, maximum: 65_535, description: "API." }),
  httpPort: Type.Integer({ default: 80, minimum: 1, maximum: 65_535, description: "Router, HTTP." }),
  httpsPort: Type.Integer({ default: 443, minimum: 0, maximum: 65_535, description: "Router, HTTPS; 0: none." }),
  registryPort: Type.Integer({
    default: 5000,
    minimum: 1,
    maximum: 65_535,
    description: "Registry, read-only, for hosts.",
  }),
  registryPushPort: Type.Integer({
    default: 5001,
    minimum: 1,
    maximum: 65_535,
    description: "Registry, writable, loopback only.",
  }),
  bootPort: Type.Integer({ default: 7780, minimum: 1, maximum: 65_535, description: "Boot plane, HTTP." }),
  hostPort: Type.Integer({ default: 7779, minimum: 1, maximum: 65_535, description: "Agent of this machine." }),
  ssh: Type.Boolean({
    default: true,
    description: "Serve git over SSH too; needs root. Git over HTTPS is always there.",
  }),
  sshPort: Type.Integer({ default: 7722, minimum: 1, maximum: 65_535, description: "Git over SSH." }),
  imagesDir: Type.String({ default: "", description: "Boot images; images/ in the state directory when empty." }),
  salvage: Type.Boolean({
    default: false,
    description: "State that is damaged in both copies: open it with what verifies. For one start, not for a file.",
  }),
  appDomain: Type.String({
    default: "",
    description: "New apps answer at NAME.<appDomain>; point *.<appDomain> at this machine in the DNS.",
  }),
  drainAllow: Type.Array(Type.String(), {
    default: [],
    description:
      "Private address ranges (CIDR) that log drains may send to, such as 10.0.0.0/8; public ones need none.",
  }),
  clusterRange: Type.String({ default: "100.64.0.0/16", description: "Range that hosts get their /24 from." }),
});
export type UpConfig = Static<typeof UpConfig>;

export function loadUpConfig(options: {
  file?: string;
  flags: Record<string, unknown>;
  env: NodeJS.ProcessEnv;
  root: boolean;
}): UpConfig {
  const { file, flags, env, root } = options;
  const config = loadConfig(UpConfig, { file, flags, env: { prefix: "FLYNN_UP", variables: env } });
  const stateDir = config.stateDir || (root ? "/var/lib/flynn" : join(env["HOME"] || homedir(), ".flynn", "state"));
  return { ...config, ssh: config.ssh && root, stateDir, imagesDir: config.imagesDir || join(stateDir, "images") };
}
