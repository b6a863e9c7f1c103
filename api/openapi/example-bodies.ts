// A request of each endpoint that people use, as one would send it: of an app hello with processes web and worker, a host h1 and a machine
// that waits. A test sends them to a control that has these.

const DIGEST = `sha256:${"4f".repeat(32)}`;
const ID = "01jdvw3z5s8v7k";
const PEM = "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n";
const KEY = "-----BEGIN PRIVATE KEY-----\nMIGH...\n-----END PRIVATE KEY-----\n";
const SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKUq8BW/6OaWQsvyMR9Xr0dsFLbNXHC0hSlS8Uxwm4K4 ann@laptop";

export const BODIES: Record<string, unknown> = {
  createApp: { name: "shop" },
  updateApp: { strategy: "in-batches", batchSize: 2, deployTimeoutMs: 180_000, deployBranch: "main" },
  createRelease: {
    env: { LOG_LEVEL: "debug", OLD_NAME: null },
    processChanges: { web: { memoryBytes: 1_073_741_824 } },
    description: "more memory for web",
    deploy: true,
  },
  updateEnv: { env: { LOG_LEVEL: "debug", OLD_NAME: null } },
  updateFormation: { web: { count: 3 } },
  createDeployment: { release: "v1", strategy: "rolling", pauseAfter: 1 },
  resumeDeployment: { pauseAfter: 2 },
  rollbackApp: { release: "v1" },
  createJob: { command: ["node", "migrate.js"], env: { DRY_RUN: "1" }, timeoutMs: 600_000 },
  signalJob: { signal: "HUP" },
  createSession: { kind: "exec" },
  createService: {
    name: "billing",
    image: "billing:1",
    count: 2,
    port: 8080,
    env: { LOG_LEVEL: "info" },
    health: {
      type: "http",
      path: "/healthz",
      intervalMs: 1_000,
      timeoutMs: 2_000,
      rise: 1,
      fall: 3,
      startTimeoutMs: 60_000,
    },
    domain: "billing.example.com",
  },
  updateService: { count: 3 },
  createExternalService: { name: "legacy-db", address: "192.0.2.10", port: 5432, description: "the old database" },
  updateExternalService: { port: 5433 },
  restartApp: { process: "web" },
  createRoute: { app: "hello", domain: "www.example.com", path: "/", tls: "redirect", hstsSeconds: 31_536_000 },
  updateRoute: { sticky: true, hstsSeconds: null },
  createCertificate: { chain: PEM, key: KEY },
  updateCertificate: { chain: PEM, key: KEY },
  updatePages: { maintenance: true, message: "Back at noon" },
  createNetworkRule: { from: { name: "hello" }, to: { name: "other" } },
  setStack: { name: "flynn-12", builder: DIGEST, runner: DIGEST },
  addKey: { publicKey: SSH_KEY, name: "ann" },
  createLogDrain: { url: "syslog+tls://logs.example.com:6514" },
  createAppLogDrain: { url: "https://logs.example.com/hello", gzip: true },
  updateHost: { tags: { disk: "ssd", rack: null } },
  createJoinToken: { role: "host", ttlMs: 3_600_000 },
  adoptMachine: { card: "52:54:00:00:00:02" },
  approveMachine: { name: "rack1-node3", profile: "default" },
  rejectMachine: {},
  updateMachine: { tags: { rack: "1" }, target: "boot" },
  putMachineBmc: {
    kind: "redfish",
    address: "192.0.2.9",
    user: "flynn",
    password: "correct horse battery",
    pinSha256: "4f".repeat(32),
  },
  orderPower: { action: "cycle", boot: "pxe" },
  wipeMachineDisk: { fingerprint: "9c".repeat(32) },
  putProfile: {
    name: "storage",
    image: "current",
    cmdline: ["console=ttyS0,115200n8"],
    tags: { disk: "ssd" },
    diskPolicy: { name: "first-empty", mode: "find-empty", minSizeBytes: 107_374_182_400 },
    sshKeys: [SSH_KEY],
  },
  registerBootImage: { manifest: `{"id":"${ID}"}\n`, signature: "MEUCIQ..." },
  decideQuarantine: { decision: "keep" },
  createToken: { name: "ci", permissions: ["app:read", "app:write"], ttlMs: 7_776_000_000 },
};
