// Where each noun lives in the store. One prefix per noun; ids sort by time of making.

export const PREFIX = {
  hosts: "hosts/",
  machines: "machines/",
  machineDisks: "machine-disks/",
  machineInventory: "machine-inventory/",
  machineWipes: "machine-wipes/",
  machineOrders: "machine-orders/",
  machineBmcs: "machine-bmcs/",
  profiles: "profiles/",
  bootImages: "boot-images/",
  bootServers: "boot-servers/",
  routers: "routers/",
  apps: "apps/",
  appNames: "app-names/",
  releases: "releases/",
  formations: "formations/",
  jobs: "jobs/",
  taskEnvs: "task-envs/",
  deadImages: "dead-images/",
  builds: "builds/",
  buildPlans: "build-plans/",
  buildCaches: "build-caches/",
  artifacts: "artifacts/",
  deployments: "deployments/",
  routes: "routes/",
  routeClaims: "route-claims/",
  certificates: "certificates/",
  certificateNames: "certificate-names/",
  appPages: "app-pages/",
  logDrains: "log-drains/",
  externalServices: "external-services/",
  networkRules: "network-rules/",
  networkPairs: "network-pairs/",
  tokens: "tokens/",
  joinTokens: "join-tokens/",
  usedGrants: "used-grants/",
  timeline: "timeline/",
  events: "events/",
  sshKeys: "ssh-keys/",
  alerts: "alerts/",
} as const;

export const keys = {
  cluster: "cluster/settings",
  /** What removed hosts had: RestingSubnet[]. */
  restingSubnets: "cluster/resting-subnets",
  /** How the state was restored last, and what was decided on what it does not know. */
  restored: "cluster/restored",
  /** Addresses of control's own machine, when they changed while it ran. */
  controlAddresses: "cluster/control-addresses",
  /** Builder and runner images of the stack that buildpack builds use. */
  stack: "cluster/stack",
  /** Repository and digest of an artifact that was collected, until it left the registry. */
  deadImage: (artifactId: string) => `${PREFIX.deadImages}${artifactId}`,
  /** The image uploaded last as this part; becomes the stack only together with the other. */
  stackUpload: (part: string) => `cluster/stack-uploads/${part}`,
  host: (id: string) => `${PREFIX.hosts}${id}`,
  machine: (id: string) => `${PREFIX.machines}${id}`,
  /** Its disks as last reported, and the order to wipe one. */
  machineDisks: (id: string) => `${PREFIX.machineDisks}${id}`,
  /** What it is made of, as it last said. */
  machineInventory: (id: string) => `${PREFIX.machineInventory}${id}`,
  /** Its last order to wipe, disk by disk, and the proofs of all. */
  machineWipe: (id: string) => `${PREFIX.machineWipes}${id}`,
  machineOrder: (machineId: string, id: string) => `${PREFIX.machineOrders}${machineId}/${id}`,
  /** How it is switched; the password sealed. */
  machineBmc: (machineId: string) => `${PREFIX.machineBmcs}${machineId}`,
  machineOrdersOf: (machineId: string) => `${PREFIX.machineOrders}${machineId}/`,
  profile: (name: string) => `${PREFIX.profiles}${name}`,
  bootImage: (id: string) => `${PREFIX.bootImages}${id}`,
  /** Of each architecture; amd64 was the only one. */
  currentBootImage: (architecture: string) =>
    `cluster/current-boot-image${architecture === "amd64" ? "" : `-${architecture}`}`,
  bootServer: (id: string) => `${PREFIX.bootServers}${id}`,
  router: (id: string) => `${PREFIX.routers}${id}`,
  app: (id: string) => `${PREFIX.apps}${id}`,
  /** Value: the app's id. Written with the app, so that two apps never share a name. */
  appName: (name: string) => `${PREFIX.appNames}${name}`,
  release: (appId: string, id: string) => `${PREFIX.releases}${appId}/${id}`,
  releasesOf: (appId: string) => `${PREFIX.releases}${appId}/`,
  formation: (appId: string, releaseId: string) => `${PREFIX.formations}${appId}/${releaseId}`,
  formationsOf: (appId: string) => `${PREFIX.formations}${appId}/`,
  job: (appId: string, id: string) => `${PREFIX.jobs}${appId}/${id}`,
  jobsOf: (appId: string) => `${PREFIX.jobs}${appId}/`,
  /** Variables of one job that runs once, on top of its release's. */
  taskEnv: (appId: string, jobId: string) => `${PREFIX.taskEnvs}${appId}/${jobId}`,
  build: (appId: string, id: string) => `${PREFIX.builds}${appId}/${id}`,
  buildsOf: (appId: string) => `${PREFIX.builds}${appId}/`,
  /** The settings a build was made with. */
  buildPlan: (appId: string, id: string) => `${PREFIX.buildPlans}${appId}/${id}`,
  buildPlansOf: (appId: string) => `${PREFIX.buildPlans}${appId}/`,
  /** Value: how often the app's cache was cleared. */
  buildCache: (appId: string) => `${PREFIX.buildCaches}${appId}`,
  artifact: (id: string) => `${PREFIX.artifacts}${id}`,
  deployment: (appId: string, id: string) => `${PREFIX.deployments}${appId}/${id}`,
  deploymentsOf: (appId: string) => `${PREFIX.deployments}${appId}/`,
  route: (id: string) => `${PREFIX.routes}${id}`,
  /** Value: the route's id. One per domain and path, so that a domain is never routed twice. */
  routeClaim: (domain: string, path: string) => `${PREFIX.routeClaims}${domain}${path}`,
  /** The same for a port of TCP routes; no domain begins with a colon. */
  portClaim: (port: number) => `${PREFIX.routeClaims}:${port}`,
  certificate: (id: string) => `${PREFIX.certificates}${id}`,
  /** Value: the certificate's id. A name is shown with one certificate. */
  certificateName: (name: string) => `${PREFIX.certificateNames}${name}`,
  pages: (appId: string) => `${PREFIX.appPages}${appId}`,
  logDrain: (id: string) => `${PREFIX.logDrains}${id}`,
  externalService: (name: string) => `${PREFIX.externalServices}${name}`,
  networkRule: (id: string) => `${PREFIX.networkRules}${id}`,
  /** Value: the rule's id. One per pair, so that a pair has one rule. */
  networkPair: (fromId: string, toId: string) => `${PREFIX.networkPairs}${fromId}/${toId}`,
  token: (sha256: string) => `${PREFIX.tokens}${sha256}`,
  joinToken: (sha256: string) => `${PREFIX.joinTokens}${sha256}`,
  usedGrant: (nonce: string) => `${PREFIX.usedGrants}${nonce}`,
  timeline: (machineId: string, seq: number) => `${PREFIX.timeline}${machineId}/${padded(seq)}`,
  timelineOf: (machineId: string) => `${PREFIX.timeline}${machineId}/`,
  /** By sha256 of its fingerprint: one key is there once. */
  sshKey: (sha256: string) => `${PREFIX.sshKeys}${sha256}`,
  alert: (id: string) => `${PREFIX.alerts}${id}`,
  event: (seq: number) => `${PREFIX.events}${padded(seq)}`,
} as const;

/** Numbers in keys are padded, so that key order is number order. */
export const padded = (n: number): string => String(n).padStart(14, "0");
