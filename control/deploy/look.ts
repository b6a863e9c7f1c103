// One look at a deployment that runs, forward or on its way back: what is, as the rule of the next step needs it, and what that step
// writes. Pure but for reading the store.
import type { App } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import type { ControlConfig } from "../config.ts";
import { keys } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import {
  completing,
  goingLive,
  keeping,
  lettingGo,
  pausing,
  recalling,
  scaling,
  shownOf,
  type Turn,
} from "./changes.ts";
import type { Clocks } from "./clocks.ts";
import { comingId, countsOf, formationsBeside, type StoreView } from "./formations.ts";
import { returned, stranded } from "./going-back.ts";
import type { DeploymentRecord } from "./record.ts";
import type { Progress, Step } from "./step.ts";

export interface Seen {
  app: App;
  /** Of the app, not over; those that run once left out. */
  jobs: readonly Job[];
  clocks: Clocks;
  config: Pick<ControlConfig, "stableMs">;
  routersServe: (jobs: readonly Job[]) => boolean;
  hostsBehind: readonly string[];
  endingTimeoutMs: number;
}

/** The way back is not given up for being as slow as a release may be that is tried: it is known to have run. */
const BACK_TIMEOUT_LEAST_MS = 60_000;

export function progressOf(store: StoreView, deployment: DeploymentRecord, seen: Seen): Progress {
  const { app, jobs, clocks, config, routersServe, hostsBehind, endingTimeoutMs } = seen;
  const { strategy, goingBack, before, hadHealthy, processes } = deployment;
  const coming = comingId(deployment);
  const formation = formationsOf(store, app.id).find(({ value }) => value.releaseId === coming)?.value;
  const comingJobs = jobs.filter(({ releaseId }) => releaseId === coming);
  const goingJobs = jobs.filter(({ releaseId }) => releaseId !== coming);
  const types = store.get<ReleaseRecord>(keys.release(app.id, coming))?.value.processes ?? {};
  const least = goingBack === undefined ? 0 : BACK_TIMEOUT_LEAST_MS;
  const timeoutMs = Math.max(least, app.deployTimeoutMs);
  const stableMs = (process: string) => types[process]?.health?.stableMs ?? config.stableMs;
  const counts = {
    comingCounts: countsOf(formation === undefined ? [] : [formation]),
    goingCounts: countsOf(formationsBeside(store, app.id, coming).map(({ value }) => value)),
    comingJobs,
  };
  return {
    strategy,
    batchSize: app.batchSize,
    goingBack: goingBack !== undefined,
    wanted:
      goingBack === undefined
        ? Object.fromEntries(Object.entries(processes).map(([name, { wanted }]) => [name, wanted]))
        : Object.fromEntries(Object.entries(before).map(([name, { count }]) => [name, count])),
    ...(goingBack === undefined || hadHealthy === undefined ? {} : { hadHealthy: withZeros(hadHealthy, before) }),
    ...counts,
    goingJobs,
    paused: deployment.pausedAt !== undefined,
    ...(deployment.pauseAfter === undefined ? {} : { pauseAfter: deployment.pauseAfter }),
    keeping: deployment.keeping === true,
    recalled: deployment.recalled === true,
    routersLeft: deployment.keeping === true && routersServe(goingJobs),
    routersAcknowledged: routersServe(comingJobs),
    hostsBehind,
    unstableMs: clocks.unstableMs({ jobs, coming, stableMs }),
    sinceProgressMs: clocks.forwardMs(counts, goingBack !== undefined),
    timeoutMs,
    timeoutsMs: Object.fromEntries(
      Object.entries(types).map(([name, { deployTimeoutMs }]) => [name, Math.max(least, deployTimeoutMs ?? timeoutMs)]),
    ),
    endingTimeoutMs,
  };
}

const formationsOf = (store: StoreView, appId: string) => formationsBeside(store, appId, "");

const withZeros = (counts: Record<string, number>, names: object) =>
  Object.fromEntries(Object.keys(names).map((name) => [name, counts[name] ?? 0]));

/** What the step writes; undefined when there is nothing new to say. A failure on the way forward is not for here. */
export function turnOf(
  store: StoreView,
  deployment: DeploymentRecord,
  { app, jobs, step, at }: { app: Entry<App>; jobs: readonly Job[]; step: Step; at: Date },
): Partial<Turn> | undefined {
  const processes = shownOf(deployment, jobs);
  const withShown = (turn: Turn): Turn => ({ ...turn, changed: { ...turn.changed, processes } });
  switch (step.type) {
    case "fail":
      return withShown(stranded(store, deployment, app.value, { why: step.reason, jobs, at }));
    case "complete":
      return withShown(
        deployment.goingBack === undefined
          ? completing(store, deployment, app, at)
          : returned(store, deployment, app.value, at),
      );
    case "scale":
      return {
        changed: { step: stepWords(deployment, step.words), processes },
        more: scaling(store, deployment, { ...step, jobs }),
      };
    case "pause":
      return withShown(pausing(store, deployment, app.value, { words: step.words, at }));
    case "keep":
      return {
        changed: { keeping: true, step: step.words, processes },
        more: keeping(store, deployment, step.processes),
      };
    case "recall":
    case "release": {
      const { changed, more } = (step.type === "recall" ? recalling : lettingGo)(store, deployment);
      return { changed: { ...changed, step: step.words, processes }, more };
    }
    case "wait": {
      const words = stepWords(deployment, step.words);
      const same = words === deployment.step && JSON.stringify(processes) === JSON.stringify(deployment.processes);
      const live = step.live && deployment.liveAt === undefined ? goingLive(app, deployment, at) : undefined;
      if (live !== undefined) return { ...live, changed: { ...live.changed, step: words, processes } };
      return same ? undefined : { changed: { step: words, processes } };
    }
  }
}

const stepWords = ({ goingBack }: DeploymentRecord, words: string): string =>
  goingBack === undefined ? words : `going back: ${words}`;
