// What a turn of a deployment writes that ends without its release or goes back to the earlier one: failed, cancelled, returned, or
// stranded on the way. Pure but for reading the store.
import type { App, Formation } from "#api/apps.ts";
import type { Deployment } from "#api/deployments.ts";
import type { Job } from "#api/jobs.ts";
import type { LogLine } from "#api/logs.ts";
import { eventChanges, plainText } from "../events.ts";
import { keys } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import { canariesEnded, canariesHeld } from "../routing/canary.ts";
import type { Change } from "../store/store.ts";
import { recalling, type Turn } from "./changes.ts";
import { formationsBeside, type StoreView } from "./formations.ts";
import { type DeploymentRecord, fittingTail } from "./record.ts";

export type Outcome = Pick<Deployment, "reason"> & { state: "failed" | "cancelled"; logTail?: LogLine[] };
type Ended = Outcome & { at: Date };
/** What goes does not wait for anybody. */
const unpaused = ({ pausedAt, pauseAfter }: DeploymentRecord): Partial<DeploymentRecord> =>
  pausedAt === undefined && pauseAfter === undefined ? {} : { pausedAt: undefined, pauseAfter: undefined };

const told = ({ reason, logTail = [] }: Outcome): Pick<Deployment, "reason" | "logTail"> => ({
  reason: plainText(reason, 1_000),
  logTail: fittingTail(logTail),
});

/** Nothing of the earlier release was touched, or there is none: it need not go back. */
export const hasNoWayBack = ({ state, releasing, fromReleaseId }: DeploymentRecord): boolean =>
  state === "pending" || releasing === true || fromReleaseId === undefined;

/** Failed or cancelled with nothing to go back to; also when its app is deleted. */
export function ending(store: StoreView, deployment: DeploymentRecord, app: App | undefined, outcome: Ended): Turn {
  const { appId, toReleaseId } = deployment;
  const { at, state } = outcome;
  const untouched =
    app === undefined || app.deleting || deployment.state === "pending" || deployment.releasing === true;
  const undone: Change[] =
    untouched || app.releaseId === toReleaseId ? [] : [{ key: keys.formation(appId, toReleaseId), value: null }];
  return {
    changed: {
      state,
      step: deployment.releasing && app?.releaseId ? "the earlier release goes on serving" : "",
      releasing: false,
      goingBack: undefined,
      ...unpaused(deployment),
      ...told(outcome),
      finishedAt: at.toISOString(),
    },
    more: [...undone, ...ended(store, deployment, app, outcome)],
    expect: [],
  };
}

/** Failed or cancelled while it was under way: from now on it is a deployment back. What serves goes on serving meanwhile. */
export function turningBack(store: StoreView, deployment: DeploymentRecord, app: App, outcome: Ended): Turn {
  const { id, toVersion } = deployment;
  const { at, state, reason } = outcome;
  const back = versionOf(store, deployment, deployment.fromReleaseId);
  // What was kept serves again in the same moment.
  const { changed, more } = recalling(store, deployment);
  return {
    changed: { ...changed, ...unpaused(deployment), goingBack: state, step: `going back to ${back}`, ...told(outcome) },
    more: [
      ...more,
      ...canariesHeld(store, deployment.appId, deployment.toReleaseId),
      ...eventChanges(store, at, {
        type: "deployment.going-back",
        subject: id,
        app: app.name,
        actor: "deployer",
        message: `v${toVersion} of ${app.name} ${state === "failed" ? "failed" : "was cancelled"}, it goes back to ${back}: ${reason}`,
      }),
    ],
    expect: [],
  };
}

/** The earlier release is all there again. */
export function returned(store: StoreView, deployment: DeploymentRecord, app: App, at: Date): Turn {
  const { appId, fromReleaseId, before, goingBack: state = "failed", reason } = deployment;
  const restored: Formation = { appId, releaseId: fromReleaseId!, processes: before };
  return {
    changed: {
      state,
      step: "the earlier release goes on serving",
      goingBack: undefined,
      finishedAt: at.toISOString(),
    },
    more: [
      ...formationsBeside(store, appId, fromReleaseId!).map(({ key }) => ({ key, value: null })),
      { key: keys.formation(appId, fromReleaseId!), value: restored },
      ...ended(store, deployment, app, { state, reason, at }),
    ],
    expect: [],
  };
}

/** The way back failed as well: what serves goes on serving, the earlier release is asked for whole, and it is said what to do. */
export function stranded(
  store: StoreView,
  deployment: DeploymentRecord,
  app: App,
  { why, jobs, at }: { why: string; jobs: readonly Job[]; at: Date },
): Turn {
  const { appId, fromReleaseId, before, goingBack: state = "failed" } = deployment;
  const going = formationsBeside(store, appId, fromReleaseId!);
  const isEmpty = ({ processes }: Formation) => Object.values(processes).every(({ count }) => count === 0);
  const back = versionOf(store, deployment, fromReleaseId);
  const reason = plainText(`${deployment.reason}; going back to ${back} failed too: ${why}`, 1_000);
  const next = `put right what keeps ${back} from starting, then: flynn -a ${app.name} rollback ${back}, or deploy another release`;
  return {
    changed: {
      state,
      step: `${serves(jobs)}; ${next}`,
      goingBack: undefined,
      reason,
      finishedAt: at.toISOString(),
    },
    more: [
      ...going.filter(({ value }) => isEmpty(value)).map(({ key }) => ({ key, value: null })),
      { key: keys.formation(appId, fromReleaseId!), value: { appId, releaseId: fromReleaseId, processes: before } },
      ...ended(store, deployment, app, { state, reason, at }),
    ],
    expect: [],
  };
}

/** `v1 web 3, v2 web 6 go on serving`. */
function serves(jobs: readonly Job[]): string {
  const counts = new Map<string, number>();
  for (const { version, process, state, desired } of jobs) {
    const name = `v${version} ${process}`;
    if (state === "up" && desired === "run") counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  if (counts.size === 0) return "nothing serves";
  return `what serves goes on: ${[...counts]
    .map(([name, count]) => `${name}=${count}`)
    .sort()
    .join(", ")}`;
}

const versionOf = (store: StoreView, { appId }: DeploymentRecord, releaseId: string | undefined): string => {
  const release = releaseId && store.get<ReleaseRecord>(keys.release(appId, releaseId))?.value;
  return release ? `v${release.version}` : "the earlier release";
};

function ended(
  store: StoreView,
  { id, appId, toReleaseId, toVersion }: DeploymentRecord,
  app: App | undefined,
  { state, reason, at }: Ended,
): Change[] {
  return [
    ...canariesEnded(store, appId, toReleaseId),
    ...eventChanges(store, at, {
      type: `deployment.${state}`,
      subject: id,
      app: app?.name,
      actor: "deployer",
      message: `v${toVersion}${app ? ` of ${app.name}` : ""} ${state}: ${reason}`,
    }),
  ];
}
