// What the cluster has before control starts: hosts and routers with certificates of its own authority, apps without jobs, and
// machines with a past. Written straight into the store, as joins and pushes would have.
import { join } from "node:path";
import type { App } from "#api/apps.ts";
import type { Artifact } from "#api/artifacts.ts";
import type { Machine, TimelineEvent } from "#api/machines.ts";
import type { HttpRoute } from "#api/routes.ts";
import { silentLog } from "#lib/log.ts";
import { newCsr, newKeyPem } from "#lib/x509.ts";
import { type ControlConfig, loadControlConfig } from "../../../control/config.ts";
import { firstStart } from "../../../control/first-start.ts";
import { openAuthority } from "../../../control/identity/authority.ts";
import { keys } from "../../../control/keys.ts";
import type { HostRecord, MemberRecord, ReleaseRecord } from "../../../control/records.ts";
import { type Change, openStore, type Store } from "../../../control/store/store.ts";

const GIB = 1024 ** 3;
const AT = "2026-01-01T00:00:00.000Z";

export interface Seed {
  hosts: number;
  apps: number;
  jobsPerApp: number;
  routers: number;
  /** Apps that have a route. */
  routed: number;
  /** Events of each machine's timeline. */
  timeline: number;
}

/** What the simulator shows; one key for all, since only the certificate says who somebody is. */
export interface Credentials {
  caPem: string;
  key: string;
  hosts: { id: string; subnet: string; certificate: string }[];
  routers: { id: string; certificate: string }[];
}

export const appIdOf = (at: number): string => `app-${String(at).padStart(5, "0")}`;
export const releaseIdOf = (at: number): string => `rel-${String(at).padStart(5, "0")}`;
const hostIdOf = (at: number): string => `host-${String(at).padStart(5, "0")}`;
const machineIdOf = (at: number): string => `machine-${String(at).padStart(5, "0")}`;

export const configOf = (directory: string): ControlConfig => ({
  ...loadControlConfig(),
  stateDir: directory,
  address: "127.0.0.1",
  port: 0,
  clusterRange: "100.64.0.0/10",
  logLevel: "warn",
});

export async function seed(directory: string, size: Seed): Promise<{ token: string; credentials: Credentials }> {
  const store = await openStore({ directory: join(directory, "store"), log: silentLog() });
  try {
    const authority = await openAuthority(join(directory, "ca"));
    const token = (await firstStart(store, configOf(directory), new Date()))!;
    const key = newKeyPem();
    const csrPem = await newCsr(key, "member");
    const issue = (role: "host" | "router", id: string) => authority.issueMember({ role, id, csrPem, days: 30 });
    const hosts: Credentials["hosts"] = [];
    const changes: Change[] = [];
    for (let at = 0; at < size.hosts; at++) {
      const id = hostIdOf(at);
      const { certificate, keySha256 } = await issue("host", id);
      const record = hostRecord(at, keySha256);
      hosts.push({ id, subnet: record.subnet, certificate });
      changes.push({ key: keys.host(id), value: record }, ...machineChanges(at, size.timeline));
    }
    const routers: Credentials["routers"] = [];
    for (let at = 0; at < size.routers; at++) {
      const id = `router-${at}`;
      const { certificate, keySha256, publicKeyPem } = await issue("router", id);
      const value: MemberRecord = { id, name: id, keySha256, publicKeyPem, joinedAt: AT };
      routers.push({ id, certificate });
      changes.push({ key: keys.router(id), value });
    }
    for (let at = 0; at < size.apps; at++) changes.push(...appChanges(at, at < size.routed));
    await write(store, changes);
    return { token, credentials: { caPem: authority.caPem, key, hosts, routers } };
  } finally {
    await store.close();
  }
}

function hostRecord(at: number, keySha256: string): HostRecord {
  return {
    id: hostIdOf(at),
    name: `h${at}`,
    state: "ready",
    reason: "",
    cordoned: false,
    machineId: machineIdOf(at),
    address: addressOf(at),
    addresses: [addressOf(at)],
    subnet: `100.${64 + ((at + 1) >> 8)}.${(at + 1) & 255}.0/24`,
    capacity: { cpuMillis: 16_000, memoryBytes: 64 * GIB, diskBytes: 1000 * GIB },
    tags: { zone: `z${at % 5}`, rack: `r${at % 50}` },
    keySha256,
    agentVersion: "0.1.0",
    engineVersion: "20.10",
    bootId: `kernel-boot-${at}`,
    joinedAt: AT,
  };
}

export const addressOf = (at: number): string => `10.1.${at >> 8}.${at & 255}`;

function machineChanges(at: number, timeline: number): Change[] {
  const id = machineIdOf(at);
  const mac = `52:54:00:00:${(at >> 8).toString(16).padStart(2, "0")}:${(at & 255).toString(16).padStart(2, "0")}`;
  const machine = {
    id,
    name: `m${at}`,
    macs: [mac],
    state: "ready",
    reason: "",
    profile: "default",
    tags: {},
    hostId: hostIdOf(at),
    bootId: `boot-${at}`,
    firstSeenAt: AT,
    lastSeenAt: AT,
    approvedAt: AT,
  } as unknown as Machine;
  const events = Array.from({ length: timeline }, (_, n): Change => {
    const ready = n === timeline - 1;
    const value: TimelineEvent = {
      level: "info",
      at: AT,
      stage: ready ? "ready" : "note",
      message: ready ? `host h${at} is ready for jobs (Docker 20.10)` : `step ${n} of a boot: fetched 1 of 3 files`,
      machineId: id,
      bootId: `boot-${at}`,
      seq: n + 1,
    };
    return { key: keys.timeline(id, n + 1), value };
  });
  return [{ key: keys.machine(id), value: machine }, ...events];
}

function appChanges(at: number, isRouted: boolean): Change[] {
  const [appId, releaseId, name] = [appIdOf(at), releaseIdOf(at), `a${at}`];
  const app: App = { id: appId, name, releaseId, strategy: "rolling", deployTimeoutMs: 120_000, createdAt: AT };
  const artifact: Artifact = {
    id: `art-${at}`,
    appId,
    repository: `apps/${name}`,
    digest: `sha256:${String(at).padStart(64, "0")}`,
    source: "seed",
    sizeBytes: 1,
    architecture: "amd64",
    createdAt: AT,
  };
  const release: ReleaseRecord = {
    id: releaseId,
    appId,
    version: 1,
    artifactId: artifact.id,
    processes: { web: { port: 8080, cpuMillis: 100, memoryBytes: GIB / 4 } },
    env: { DATABASE_URL: `postgres://app${at}:secret@db.internal:5432/app${at}`, LOG_LEVEL: "info", REGION: "eu-1" },
    description: "",
    createdAt: AT,
    createdBy: "seed",
  };
  const route: HttpRoute = {
    id: `route-${at}`,
    appId,
    app: name,
    process: "web",
    createdAt: AT,
    type: "http",
    domain: `${name}.example.com`,
    path: "/",
  };
  return [
    { key: keys.app(appId), value: app },
    { key: keys.appName(name), value: appId },
    { key: keys.artifact(artifact.id), value: artifact },
    { key: keys.release(appId, releaseId), value: release },
    { key: keys.formation(appId, releaseId), value: { appId, releaseId, processes: { web: { count: 0, tags: {} } } } },
    ...(isRouted
      ? [
          { key: keys.route(route.id), value: route },
          { key: keys.routeClaim(route.domain, route.path), value: route.id },
        ]
      : []),
  ];
}

async function write(store: Store, changes: Change[]): Promise<void> {
  for (let at = 0; at < changes.length; at += 5_000)
    await Promise.all(
      Array.from({ length: 10 }, (_, n) => changes.slice(at + n * 500, at + n * 500 + 500))
        .filter(({ length }) => length > 0)
        .map((mutations) => store.commit({ actor: "seed", mutations })),
    );
}
