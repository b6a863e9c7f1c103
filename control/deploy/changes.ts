// What each turn of a deployment writes: the record's new fields and what goes into the same commit. Pure but for reading the
// store, so that a deployment and the formations it moves never disagree.
import type { App, Formation } from "#api/apps.ts";
import type { Deployment } from "#api/deployments.ts";
import type { Job } from "#api/jobs.ts";
import { eventChanges } from "../events.ts";
import { keys } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import { canariesAtStart, canariesEnded } from "../routing/canary.ts";
import type { Entry } from "../store/entry.ts";
import type { Change } from "../store/store.ts";
import {
  comingId,
  countsOf,
  formationsBeside,
  keptBack,
  lowered,
  recalled,
  type StoreView,
  unkept,
  withCounts,
} from "./formations.ts";
import type { DeploymentRecord } from "./record.ts";
import { RELEASE_PROCESS } from "./release-phase.ts";
import type { Counts } from "./strategy.ts";

export interface Turn {
  changed: Partial<DeploymentRecord>;
  more: Change[];
  expect: { key: string; version: number }[];
}

type Shown = Deployment["processes"];

/** Pending -> running: the new release gets a formation of zeros, and what it is to reach is fixed. */
export function beginning(
  store: StoreView,
  deployment: DeploymentRecord,
  { app, jobs, at }: { app: Entry<App>; jobs: readonly Job[]; at: Date },
): Turn {
  const { id: appId, releaseId } = app.value;
  const { toReleaseId, canaryPercent, pauseAfter } = deployment;
  const release = store.get<ReleaseRecord>(keys.release(appId, toReleaseId))?.value;
  const old = releaseId === undefined ? undefined : store.get<Formation>(keys.formation(appId, releaseId))?.value;
  const there = store.get<Formation>(keys.formation(appId, toReleaseId))?.value;
  const names = Object.keys(release?.processes ?? {}).filter((name) => name !== RELEASE_PROCESS);
  const same = old !== undefined && releaseId === toReleaseId;
  const before = (name: string) => old?.processes[name]?.count;
  const first = (name: string) => (old === undefined && name === "web" ? 1 : 0);
  const wanted = (name: string) => deployment.processes[name]?.wanted ?? before(name) ?? first(name);
  // What an earlier deployment of this release left serving is where this one begins.
  const begun = (name: string) => Math.min(wanted(name), there?.processes[name]?.count ?? 0);
  const processes = names.map((name) => [
    name,
    { count: same ? wanted(name) : begun(name), tags: old?.processes[name]?.tags ?? {} },
  ]);
  const formation: Formation = { appId, releaseId: toReleaseId, processes: Object.fromEntries(processes) };
  const left = countsOf(formationsBeside(store, appId, toReleaseId).map(({ value }) => value));
  const shown = names.map((name) => [name, { wanted: wanted(name), healthy: 0, oldLeft: left[name] ?? 0 }]);
  const hadHealthy: Counts = {};
  for (const { process, state, desired } of jobs)
    if (state === "up" && desired === "run") hadHealthy[process] = (hadHealthy[process] ?? 0) + 1;
  return {
    changed: {
      state: "running",
      step: "starting",
      startedAt: deployment.startedAt ?? at.toISOString(),
      releasing: false,
      before: old?.processes ?? {},
      hadHealthy,
      ...(old && !same ? { fromReleaseId: old.releaseId } : {}),
      processes: Object.fromEntries(shown) as Shown,
    },
    more: [
      { key: keys.formation(appId, toReleaseId), value: formation },
      // Before the first job comes, so that no request slips through; a share is of a staged deployment, and of no other.
      ...canariesAtStart(store, appId, {
        toReleaseId,
        toVersion: deployment.toVersion,
        isStaged: pauseAfter !== undefined,
        ...(canaryPercent === undefined || pauseAfter === undefined || same ? {} : { percent: canaryPercent }),
        processes: names,
      }),
    ],
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

/** How far each process is, as people see it: of the release that is deployed, also while it goes again. */
export function shownOf(
  { processes, toReleaseId }: Pick<DeploymentRecord, "processes" | "toReleaseId">,
  jobs: readonly Job[],
): Shown {
  const count = (process: string, which: (job: Job) => boolean) =>
    jobs.filter((job) => job.process === process && which(job)).length;
  return Object.fromEntries(
    Object.entries(processes).map(([name, { wanted }]) => [
      name,
      {
        wanted,
        healthy: count(
          name,
          ({ releaseId, state, desired }) => releaseId === toReleaseId && state === "up" && desired === "run",
        ),
        oldLeft: count(name, ({ releaseId }) => releaseId !== toReleaseId),
      },
    ]),
  );
}

/** What the formations ask for from now on. */
export function scaling(
  store: StoreView,
  deployment: DeploymentRecord,
  { comingCounts, goingCounts, jobs }: { comingCounts: Counts; goingCounts: Counts; jobs: readonly Job[] },
): Change[] {
  const { appId, fromReleaseId, before } = deployment;
  const coming = comingId(deployment);
  const key = keys.formation(appId, coming);
  const formation: Formation = store.get<Formation>(key)?.value ?? { appId, releaseId: coming, processes: before };
  const going = formationsBeside(store, appId, coming);
  const last = deployment.goingBack === undefined ? fromReleaseId : undefined;
  return [withCounts(key, formation, comingCounts), ...lowered(going, { totals: goingCounts, jobs, last })];
}

/** It waits for somebody to say how it goes on. `by`: who paused it by hand, which is not the pause it comes to by itself. */
export function pausing(
  store: StoreView,
  { id, toVersion }: DeploymentRecord,
  app: App,
  { words, at, by }: { words: string; at: Date; by?: string },
): Turn {
  return {
    changed: { pausedAt: at.toISOString(), ...(by === undefined ? { pauseAfter: undefined } : {}), step: words },
    more: eventChanges(store, at, {
      type: "deployment.paused",
      subject: id,
      app: app.name,
      actor: by ?? "deployer",
      message: `the deployment of v${toVersion} of ${app.name} is paused`,
    }),
    expect: [],
  };
}

/** It goes on; with `pauseAfter`, or its own that it has not come to, to that pause, and canaries stay as they are. */
export function resuming(
  store: StoreView,
  { id, appId, toReleaseId, toVersion, pauseAfter: own }: DeploymentRecord,
  app: App,
  { pauseAfter = own, at, by }: { pauseAfter?: number | undefined; at: Date; by: string },
): Turn {
  return {
    changed: { pausedAt: undefined, pauseAfter, step: "resumed" },
    more: [
      ...(pauseAfter === undefined ? canariesEnded(store, appId, toReleaseId) : []),
      ...eventChanges(store, at, {
        type: "deployment.resumed",
        subject: id,
        app: app.name,
        actor: by,
        message: `the deployment of v${toVersion} of ${app.name} goes on`,
      }),
    ],
    expect: [],
  };
}

/** What goes is drained, and kept until what came has stayed healthy. */
export function keeping(store: StoreView, { appId, toReleaseId }: DeploymentRecord, processes: string[]): Change[] {
  return keptBack(formationsBeside(store, appId, toReleaseId), processes);
}

/** What came serves alone: from now on its release is the app's. */
export function goingLive(app: Entry<App>, { toReleaseId }: DeploymentRecord, at: Date): Turn {
  return {
    changed: { liveAt: at.toISOString() },
    more: [{ key: app.key, value: { ...app.value, releaseId: toReleaseId } }],
    expect: [{ key: app.key, version: app.version }],
  };
}

/** What was kept serves again, all of it, and the app's release is the earlier one. */
export function recalling(store: StoreView, deployment: DeploymentRecord): Pick<Turn, "changed" | "more"> {
  const { appId, toReleaseId, keeping: isKept, liveAt } = deployment;
  return {
    changed: { ...(isKept ? { keeping: false, recalled: true } : {}), ...(liveAt ? { liveAt: undefined } : {}) },
    more: [
      ...(isKept ? recalled(formationsBeside(store, appId, toReleaseId)) : []),
      ...(liveAt === undefined ? [] : onRelease(store, deployment, deployment.fromReleaseId!)),
    ],
  };
}

/** What was kept is let go of, and ends. */
export function lettingGo(store: StoreView, { appId, toReleaseId }: DeploymentRecord): Pick<Turn, "changed" | "more"> {
  const more = formationsBeside(store, appId, toReleaseId).map(({ key, value }) => ({ key, value: unkept(value) }));
  return { changed: { keeping: false }, more };
}

function onRelease(store: StoreView, { appId }: DeploymentRecord, releaseId: string): Change[] {
  const app = store.get<App>(keys.app(appId));
  return app === undefined ? [] : [{ key: app.key, value: { ...app.value, releaseId } }];
}

/** Running -> complete: the app's release is the new one, every other formation goes. */
export function completing(store: StoreView, deployment: DeploymentRecord, app: Entry<App>, at: Date): Turn {
  const { appId, toReleaseId, toVersion } = deployment;
  return {
    changed: { state: "complete", step: "done", finishedAt: at.toISOString() },
    more: [
      { key: app.key, value: { ...app.value, releaseId: toReleaseId } },
      ...formationsBeside(store, appId, toReleaseId).map(({ key }) => ({ key, value: null })),
      ...canariesEnded(store, appId, toReleaseId),
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
