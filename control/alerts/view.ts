// The view that rules look at, taken together from the store, from what members last said, and from control's own parts.

import type { Alert } from "#api/alerts.ts";
import type { App } from "#api/apps.ts";
import type { Certificate } from "#api/certificates.ts";
import { isEnded, type Job } from "#api/jobs.ts";
import type { Quarantine } from "#api/quarantine.ts";
import { deadline } from "#lib/time.ts";
import type { Context } from "../context.ts";
import { releaseBefore } from "../deploy/release-before.ts";
import { keys, PREFIX } from "../keys.ts";
import { lastBackup } from "../last-backup.ts";
import type { BmcRecord } from "../power/bmcs.ts";
import type { Presence, SeenRouter } from "../presence.ts";
import type { HostRecord, MachineRecord, MemberRecord } from "../records.ts";
import type { LogRecord } from "../store/log.ts";
import type { Store } from "../store/store.ts";
import type { AlertView, CertificateLife, RouterView } from "./rule.ts";

/** What control's own parts know. */
export interface AlertSources {
  brake: () => AlertView["brake"];
  registryProblem: () => Promise<string | undefined>;
  snapshotProblem: () => string | undefined;
  failingLoops: () => AlertView["failingLoops"];
  failingApps: () => { appId: string; reason: string }[];
  ownCertificates: () => CertificateLife[];
  /** Newest that routers are sent. */
  routing: () => { term: number; generation: number };
}

/** What is not in memory, as it was read last. */
export type SlowFacts = Pick<AlertView, "disk" | "registryProblem" | "lastBackup">;

const ANSWER_MS = 5_000;

export async function slowFacts({ room, config }: Context, { registryProblem }: AlertSources): Promise<SlowFacts> {
  const [disk, problem, backup] = await Promise.all([
    deadline(room.state(), ANSWER_MS, "reading the free space").catch(() => undefined),
    deadline(registryProblem(), ANSWER_MS, "its answer").catch((error: Error) => error.message),
    deadline(lastBackup(config.stateDir), ANSWER_MS, "reading of the last backup").catch(() => undefined),
  ]);
  return { disk, registryProblem: problem, lastBackup: backup };
}

function hasReleaseBefore(store: Store, appId: string): boolean {
  const app = store.get<App>(keys.app(appId))?.value;
  return app !== undefined && releaseBefore(store, app) !== undefined;
}

export function alertView(
  { store, presence, now }: Context,
  { sources, slow, restarted }: { sources: AlertSources; slow: SlowFacts; restarted: Job[] },
): AlertView {
  const newest = sources.routing();
  return {
    ...slow,
    nowMs: now().getTime(),
    hosts: valuesOf<HostRecord>(store, PREFIX.hosts),
    reports: presence.hosts,
    routers: valuesOf<MemberRecord>(store, PREFIX.routers).map(({ id, name }) => {
      const seen = presence.routers.get(id);
      const silentMs = presence.nowMs() - (seen?.atMs ?? presence.startedMs);
      const refusal = presence.members.get(id)?.refusal;
      if (refusal !== undefined) return { id, name, silentMs: 0, healthy: false, reason: refusal };
      return {
        id,
        name,
        silentMs,
        healthy: seen?.report.healthy ?? true,
        reason: seen?.report.reason ?? "",
        ...behind(seen, newest, presence.nowMs()),
      };
    }),
    machines: valuesOf<MachineRecord>(store, PREFIX.machines),
    factoryBmcs: valuesOf<BmcRecord>(store, PREFIX.machineBmcs).flatMap(
      ({ factoryPassword, machineId, address = "", user = "" }) =>
        factoryPassword ? [{ machineId, address, user }] : [],
    ),
    lans: valuesOf<MemberRecord>(store, PREFIX.bootServers).map(({ id, name }) => ({
      id,
      name,
      servers: presence.dhcpServers.get(id),
    })),
    certificates: valuesOf<Certificate>(store, PREFIX.certificates),
    ownCertificates: [...sources.ownCertificates(), ...memberCertificates(store, presence)],
    restarted,
    canGoBack: new Set([...new Set(restarted.map(({ appId }) => appId))].filter((id) => hasReleaseBefore(store, id))),
    quarantineDecision: store.get<Quarantine>(keys.restored)?.value.decision,
    brake: sources.brake(),
    pausedWrites: store.paused?.message,
    worstWriteMs: store.worstWriteMs,
    snapshotProblem: sources.snapshotProblem(),
    failingLoops: sources.failingLoops(),
    failingApps: sources.failingApps().map(({ appId: id, reason }) => {
      return { id, name: store.get<App>(keys.app(id))?.value.name ?? id, reason };
    }),
  };
}

/** A router of another term serves what a control decided that is no more. */
export function behind(
  seen: Pick<SeenRouter, "report" | "advancedMs"> | undefined,
  newest: { term: number; generation: number },
  nowMs: number,
): Pick<RouterView, "behindMs"> {
  if (seen === undefined) return {};
  const { term, generation } = seen.report;
  return term === newest.term && generation >= newest.generation ? {} : { behindMs: nowMs - seen.advancedMs };
}

const MEMBERS = [
  ["host", PREFIX.hosts],
  ["router", PREFIX.routers],
  ["boot-server", PREFIX.bootServers],
] as const;

/** As they were shown last. */
function memberCertificates(store: Store, { members }: Pick<Presence, "members">): CertificateLife[] {
  return MEMBERS.flatMap(([of, prefix]) =>
    valuesOf<MemberRecord>(store, prefix).flatMap(({ id, name }) => {
      const certificate = members.get(id)?.certificate;
      return certificate === undefined ? [] : [{ id, name, of, ...certificate }];
    }),
  );
}

const valuesOf = <T>(store: Store, prefix: string): T[] => store.list<T>(prefix).map(({ value }) => value);

const KEY_OF: Record<string, ((id: string) => string) | undefined> = {
  host: keys.host,
  machine: keys.machine,
  router: keys.router,
  "boot-server": keys.bootServer,
  app: keys.app,
  certificate: keys.certificate,
};

/** False: it was deleted. */
export function isThere(store: Store, { kind, id }: Alert["subject"]): boolean {
  const key = KEY_OF[kind]?.(id);
  return key === undefined || store.get(key) !== undefined;
}

/** Follows the jobs that were started again and live: few of all there are, and nobody walks through those. */
export function restartedJobs(store: Store): {
  list: () => Job[];
  apply: (record: Pick<LogRecord, "mutations">) => void;
} {
  const jobs = new Map<string, Job>();
  const see = (key: string, job: Job | null) => {
    if (job === null || job.restarts === 0 || isEnded(job)) jobs.delete(key);
    else jobs.set(key, job);
  };
  for (const { key, value } of store.list<Job>(PREFIX.jobs)) see(key, value);
  return {
    list: () => [...jobs.values()],
    apply({ mutations }) {
      for (const { key, value } of mutations) if (key.startsWith(PREFIX.jobs)) see(key, value as unknown as Job | null);
    },
  };
}
