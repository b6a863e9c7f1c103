// What each turn of a deployment writes: the record's new fields and what goes into the same commit. Pure but for reading the
// store, so that a deployment and the formations it moves never disagree.
import type { App, Formation } from "#api/apps.ts";
import type { Deployment } from "#api/deployments.ts";
import type { Job } from "#api/jobs.ts";
import type { LogLine } from "#api/logs.ts";
import { formationOf } from "../apps/find.ts";
import { eventChanges, plainText } from "../events.ts";
import { keys } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import type { Change, Entry, Store } from "../store/store.ts";
import { type DeploymentRecord, fittingTail } from "./record.ts";
import { RELEASE_PROCESS } from "./release-phase.ts";
import type { Progress } from "./step.ts";
import type { Counts } from "./strategy.ts";

export interface Turn {
  changed: Partial<DeploymentRecord>;
  more: Change[];
  expect: { key: string; version: number }[];
}

type Shown = Deployment["processes"];

/** Pending -> running: the new release gets a formation of zeros, and what it is to reach is fixed. */
export function beginning(store: Store, deployment: DeploymentRecord, app: Entry<App>, at: Date): Turn {
  const { id: appId, releaseId } = app.value;
  const { toReleaseId } = deployment;
  const release = store.get<ReleaseRecord>(keys.release(appId, toReleaseId))?.value;
  const old = releaseId === undefined ? undefined : formationOf(store, appId, releaseId)?.value;
  const names = Object.keys(release?.processes ?? {}).filter((name) => name !== RELEASE_PROCESS);
  const same = old !== undefined && releaseId === toReleaseId;
  const before = (name: string) => old?.processes[name]?.count;
  const first = (name: string) => (old === undefined && name === "web" ? 1 : 0);
  const wanted = (name: string) => deployment.processes[name]?.wanted ?? before(name) ?? first(name);
  const processes = names.map((name) => [
    name,
    { count: same ? wanted(name) : 0, tags: old?.processes[name]?.tags ?? {} },
  ]);
  const formation: Formation = { appId, releaseId: toReleaseId, processes: Object.fromEntries(processes) };
  const shown = names.map((name) => [name, { wanted: wanted(name), healthy: 0, oldLeft: before(name) ?? 0 }]);
  return {
    changed: {
      state: "running",
      step: "starting",
      startedAt: deployment.startedAt ?? at.toISOString(),
      releasing: false,
      before: old?.processes ?? {},
      ...(old && !same ? { fromReleaseId: old.releaseId } : {}),
      processes: Object.fromEntries(shown) as Shown,
    },
    more: [{ key: keys.formation(appId, toReleaseId), value: formation }],
    expect: [{ key: app.key, version: app.version }],
  };
}

/** Pending -> running its release phase: the job is made in the same record, so there is never a second one. */
export function releasing({ job, changes }: { job: Job; changes: Change[] }, at: Date): Turn {
  return {
    changed: {
      state: "running",
      releasing: true,
      releaseJobId: job.id,
      step: `release phase: ${job.id} is made`,
      startedAt: at.toISOString(),
    },
    more: changes,
    expect: [],
  };
}

/** How far each process is, as people see it. */
export function shownOf({ processes }: Deployment, { newJobs, oldJobs }: Progress): Shown {
  const healthy = newJobs.filter(({ state, desired }) => state === "up" && desired === "run");
  return Object.fromEntries(
    Object.entries(processes).map(([name, { wanted }]) => [
      name,
      {
        wanted,
        healthy: healthy.filter(({ process }) => process === name).length,
        oldLeft: oldJobs.filter(({ process }) => process === name).length,
      },
    ]),
  );
}

export function scaling(
  store: Store,
  { appId, fromReleaseId, toReleaseId }: DeploymentRecord,
  counts: { newCounts: Counts; oldCounts: Counts },
): Change[] {
  const old = fromReleaseId ? scaled(store, appId, fromReleaseId, counts.oldCounts) : [];
  return [...scaled(store, appId, toReleaseId, counts.newCounts), ...old];
}

function scaled(store: Store, appId: string, releaseId: string, counts: Counts): Change[] {
  const entry = formationOf(store, appId, releaseId);
  if (entry === undefined) return [];
  const processes = Object.fromEntries(
    Object.entries(entry.value.processes).map(([name, value]) => [
      name,
      { ...value, count: counts[name] ?? value.count },
    ]),
  );
  return [{ key: entry.key, value: { ...entry.value, processes } }];
}

/** Running -> complete: the app's release is the new one, the old formation goes. */
export function completing(store: Store, deployment: DeploymentRecord, app: Entry<App>, at: Date): Turn {
  const { appId, fromReleaseId, toReleaseId, toVersion } = deployment;
  return {
    changed: { state: "complete", step: "done", finishedAt: at.toISOString() },
    more: [
      { key: app.key, value: { ...app.value, releaseId: toReleaseId } },
      ...(fromReleaseId ? [{ key: keys.formation(appId, fromReleaseId), value: null }] : []),
      ...eventChanges(store, at, {
        type: "deployment.complete",
        subject: deployment.id,
        app: app.value.name,
        actor: "deployer",
        message: `v${toVersion} of ${app.value.name} is live`,
      }),
    ],
    expect: [{ key: app.key, version: app.version }],
  };
}

export type Outcome = Pick<Deployment, "state" | "reason"> & { logTail?: LogLine[] };

/** Failed or cancelled: the new jobs go, the old release has again what it had. */
export function ending(
  store: Store,
  deployment: DeploymentRecord,
  app: App | undefined,
  outcome: Outcome & { at: Date },
): Turn {
  const { appId, fromReleaseId, toReleaseId, toVersion, before } = deployment;
  const { state, at } = outcome;
  const untouched =
    app === undefined || app.deleting || deployment.state === "pending" || deployment.releasing === true;
  const undone: Change[] =
    app?.releaseId === toReleaseId ? [] : [{ key: keys.formation(appId, toReleaseId), value: null }];
  const restored: Formation | undefined = fromReleaseId
    ? { appId, releaseId: fromReleaseId, processes: before }
    : undefined;
  return {
    changed: {
      state,
      step: (deployment.releasing ? app?.releaseId : fromReleaseId) ? "the earlier release goes on serving" : "",
      releasing: false,
      reason: plainText(outcome.reason, 1_000),
      logTail: fittingTail(outcome.logTail ?? []),
      finishedAt: at.toISOString(),
    },
    more: [
      ...(untouched ? [] : undone),
      ...(untouched || !restored ? [] : [{ key: keys.formation(appId, restored.releaseId), value: restored }]),
      ...eventChanges(store, at, {
        type: `deployment.${state}`,
        subject: deployment.id,
        app: app?.name,
        actor: "deployer",
        message: `v${toVersion}${app ? ` of ${app.name}` : ""} ${state}: ${outcome.reason}`,
      }),
    ],
    expect: [],
  };
}
