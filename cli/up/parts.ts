// What `flynn up` starts, as data: each part's argv and the config file it is given. The same files a cluster host uses.
import { join, resolve } from "node:path";
import { parseSize } from "#lib/units.ts";
import { reservationsOf, type UpConfig } from "./config.ts";
import { RELAY, SESSION_UID, sshdConfig } from "./ssh-config.ts";

export interface Part {
  name: "control" | "registry" | "registry-push" | "router" | "hostd" | "boot server" | "sshd";
  argv: string[];
  /** Config file to write before each start: path and content (YAML is a superset of JSON). */
  file: { path: string; content: string };
  /** Ports it listens on, checked before anything starts. */
  ports: { protocol: "tcp" | "udp"; port: number }[];
  /** Directory it needs to exist. */
  stateDir: string;
  /** Certificate, PEM, that it reads only when it starts. */
  certificate?: string;
}

export interface PartOptions {
  config: UpConfig;
  address: string;
  /** Absolute path of the tree, for the programs' main.ts. */
  treeDir: string;
  node: string;
  /** A secret for the registry's upload sessions; new at each start. */
  registrySecret: string;
  hostname: string;
}

export function parts(options: PartOptions): Part[] {
  const { config, address, treeDir, node, hostname } = options;
  const { stateDir } = config;
  const at = (...names: string[]) => join(stateDir, ...names);
  const program = (name: Part["name"], folder: string, settings: object, ports: Part["ports"]): Part => {
    const path = at("run", `${folder}.json`);
    return {
      name,
      argv: [node, join(treeDir, folder, "main.ts"), ...(folder === "hostd" ? ["run"] : []), "--config", path],
      file: { path, content: `${JSON.stringify(settings, null, 2)}\n` },
      ports,
      stateDir: at(folder),
    };
  };
  const controlUrls = [`https://127.0.0.1:${config.port}`];
  const caFile = at("control", "pki", "ca.pem");
  const localJoin = [...(config.host ? ["host"] : []), "router", ...(config.interface ? ["boot"] : [])];
  const list: Part[] = [
    program(
      "control",
      "control",
      {
        stateDir: at("control"),
        port: config.port,
        advertise: [address],
        clusterRange: config.clusterRange,
        ...(config.hostNet === undefined ? {} : { hostNet: config.hostNet }),
        appDomain: config.appDomain,
        buildCa: config.buildCa === "" ? "" : resolve(config.buildCa),
        buildProxy: config.buildProxy,
        buildNoProxy: config.buildNoProxy,
        buildEnv: config.buildEnv,
        drainAllow: config.drainAllow,
        appNetwork: config.appNetwork,
        appEgress: config.appEgress,
        closedNetworks: [...config.bootNetworks, ...config.bmcNetworks],
        ...diskLimits(config),
        registry: `${address}:${config.registryPort}`,
        registryListen: `0.0.0.0:${config.registryPort}`,
        registryRead: `127.0.0.1:${config.registryReadPort}`,
        registryPush: `127.0.0.1:${config.registryPushPort}`,
        registryDirectory: at("registry"),
        unknownMachines: config.unknownMachines,
        requireTpm: config.requireTpm,
        diskPolicy: config.diskPolicy,
        salvage: config.salvage,
        imageKey: at("image-signing.pub"),
        dockerSocket: config.dockerSocket,
        localJoin,
        ...(config.ssh
          ? { sshRelay: RELAY, sshUid: SESSION_UID, sshPort: config.sshPort, sshHostKeys: at("ssh") }
          : {}),
      },
      [config.port, config.registryPort].map((port) => ({ protocol: "tcp", port })),
    ),
    registryPart("registry", options, `127.0.0.1:${config.registryReadPort}`, true),
    registryPart("registry-push", options, `127.0.0.1:${config.registryPushPort}`, false),
    program(
      "router",
      "router",
      {
        name: hostname,
        controlUrls,
        caFile,
        stateDir: at("router"),
        httpPort: config.httpPort,
        httpsPort: config.httpsPort,
        trustedFronts: config.trustedFronts,
        proxySources: config.proxySources,
        address,
      },
      [config.httpPort, config.httpsPort].filter(Boolean).map((port) => ({ protocol: "tcp", port })),
    ),
  ];
  if (config.host)
    list.push(
      program(
        "hostd",
        "hostd",
        {
          name: hostname,
          controlUrls,
          caFile,
          stateDir: at("hostd"),
          dockerSocket: config.dockerSocket,
          address,
          port: config.hostPort,
        },
        [{ protocol: "tcp", port: config.hostPort }],
      ),
    );
  if (config.ssh) list.push(sshPart(options));
  if (config.interface) {
    list.push(
      program(
        "boot server",
        "bootstrap",
        {
          interface: config.interface,
          address,
          mode: config.dhcp,
          range: config.dhcpRange,
          ...(config.dhcp === "full" ? addressing(config) : {}),
          relays: config.dhcpRelay,
          httpPort: config.bootPort,
          controlUrls,
          caFile,
          joinTokenFile: at("control", "local-join", "boot"),
          name: hostname,
          stateDir: at("bootstrap"),
          imagesDir: config.imagesDir,
          imageKeyFile: at("image-signing.pub"),
          loadersDir: at("loaders"),
        },
        [
          { protocol: "udp", port: 67 },
          { protocol: "udp", port: 69 },
          { protocol: "udp", port: 4011 },
          { protocol: "tcp", port: config.bootPort },
        ],
      ),
    );
  }
  return list;
}

/** What machines are told beside their address, when we are the LAN's DHCP server. */
const addressing = (config: UpConfig): object => ({
  router: config.dhcpRouter,
  dns: config.dhcpDns,
  ntp: config.dhcpNtp,
  domain: config.dhcpDomain,
  leaseTime: config.dhcpLease,
  reservations: Object.fromEntries(reservationsOf(config)),
});

/** What control's disk is guarded by, as far as the operator says so. */
function diskLimits({ freeFloor, appGitLimit, appSourceLimit, appImageLimit, imageLimit }: UpConfig): object {
  const bytes = {
    freeFloorBytes: parseSize(freeFloor),
    appGitBytes: parseSize(appGitLimit),
    appSourceBytes: parseSize(appSourceLimit),
    appImageBytes: parseSize(appImageLimit),
    imageBytes: parseSize(imageLimit),
  };
  return Object.fromEntries(Object.entries(bytes).filter(([, value]) => value !== undefined));
}

/** OpenSSH's own server for git alone, in a mount namespace of its own (ssh-server.ts). */
function sshPart({ config, treeDir, node }: PartOptions): Part {
  const { stateDir, sshPort: port } = config;
  const path = join(stateDir, "run", "sshd_config");
  const hostKeyDir = join(stateDir, "ssh");
  const own = [
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "--",
    node,
    join(treeDir, "cli", "up", "ssh-server.ts"),
  ];
  return {
    name: "sshd",
    argv: [
      ...own,
      path,
      hostKeyDir,
      join(treeDir, "control", "git", "relay"),
      join(stateDir, "control", "git", "door"),
    ],
    file: { path, content: sshdConfig({ port, address: "0.0.0.0", hostKeyDir }) },
    ports: [{ protocol: "tcp", port }],
    stateDir: hostKeyDir,
  };
}

/** CNCF distribution 2.8: TLS with the cluster CA; only holders of a certificate of that CA get in. Both on loopback: hosts read through control. */
function registryPart(
  name: "registry" | "registry-push",
  { config, registrySecret }: PartOptions,
  listen: string,
  readOnly: boolean,
): Part {
  const { stateDir } = config;
  const pki = join(stateDir, "control", "pki");
  const certificate = join(pki, "registry.crt");
  const settings = {
    version: "0.1",
    log: { level: "warn", formatter: "json", accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: join(stateDir, "registry") },
      delete: { enabled: true },
      maintenance: {
        readonly: { enabled: readOnly },
        uploadpurging: { enabled: !readOnly, age: "168h", interval: "24h", dryrun: false },
      },
    },
    http: {
      addr: listen,
      secret: registrySecret,
      draintimeout: "15s", // what is being fetched when it is ended gets so long
      headers: { "X-Content-Type-Options": ["nosniff"] },
      tls: { certificate, key: join(pki, "registry.key"), clientcas: [join(pki, "ca.pem")] },
    },
  };
  const path = join(stateDir, "run", `${name}.yml`);
  return {
    name,
    argv: ["docker-registry", "serve", path],
    file: { path, content: JSON.stringify(settings, null, 2) },
    ports: [{ protocol: "tcp", port: Number(listen.split(":")[1]) }],
    stateDir: join(stateDir, "registry"),
    certificate,
  };
}
