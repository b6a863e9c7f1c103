// A view of a cluster where nothing is wrong, for tests of rules to change one thing of.
import type { Job } from "#api/jobs.ts";
import type { AlertView } from "../../../control/alerts/rule.ts";
import type { HostRecord, MachineRecord } from "../../../control/records.ts";

export const AT = "2026-06-01T00:00:00.000Z";
export const DAY_MS = 86_400_000;

export const inDays = (days: number): string => new Date(Date.parse(AT) + days * DAY_MS).toISOString();

export const well = (over: Partial<AlertView> = {}): AlertView => ({
  nowMs: Date.parse(AT),
  hosts: [],
  reports: new Map(),
  routers: [],
  machines: [],
  lans: [],
  factoryBmcs: [],
  certificates: [],
  ownCertificates: [],
  restarted: [],
  canGoBack: new Set(),
  quarantineDecision: undefined,
  brake: { on: false, waiting: 0, allowedPerMinute: 1 },
  disk: {
    path: "/var/lib/flynn",
    freeBytes: 50 * 1024 ** 3,
    totalBytes: 100 * 1024 ** 3,
    floorBytes: 2 * 1024 ** 3,
    resumeBytes: 3 * 1024 ** 3,
    low: false,
  },
  pausedWrites: undefined,
  worstWriteMs: 4,
  registryProblem: undefined,
  snapshotProblem: undefined,
  lastBackup: null,
  failingLoops: [],
  failingApps: [],
  ...over,
});

export const host = (over: Partial<HostRecord> = {}): HostRecord => ({
  id: "h-1",
  name: "node-1",
  state: "ready",
  reason: "",
  cordoned: false,
  subnet: "100.64.1.0/24",
  capacity: { cpuMillis: 1, memoryBytes: 1, diskBytes: 1 },
  tags: {},
  keySha256: "",
  joinedAt: AT,
  ...over,
});

export const machine = (over: Partial<MachineRecord> = {}): MachineRecord =>
  ({
    id: "m-1",
    name: "node-1",
    state: "ready",
    reason: "",
    macs: [],
    tags: {},
    createdAt: AT,
    ...over,
  }) as MachineRecord;

export const job = (over: Partial<Job> = {}): Job => ({
  id: "j-1",
  appId: "a-1",
  app: "hello",
  releaseId: "r-1",
  version: 1,
  process: "web",
  desired: "run",
  state: "crashed",
  reason: "exited with 1",
  need: { cpuMillis: 1, memoryBytes: 1, diskBytes: 1 },
  tags: {},
  restarts: 3,
  createdAt: AT,
  ...over,
});
