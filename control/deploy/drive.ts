// Drives one deployment to its end: looks at what is, decides the next step, writes it, waits until something changed.

import type { App } from "#api/apps.ts";
import { hasEnded } from "#api/deployments.ts";
import { isFault } from "#api/fault.ts";
import { isEnded, type Job } from "#api/jobs.ts";
import type { LogLine } from "#api/logs.ts";
import { causeChain } from "#lib/run.ts";
import { createWake } from "#lib/wake.ts";
import type { Context } from "../context.ts";
import { keys } from "../keys.ts";
import type { Entry } from "../store/entry.ts";
import type { Tasks } from "../tasks/tasks.ts";
import { beginning, type Turn } from "./changes.ts";
import { type Clocks, deploymentClocks } from "./clocks.ts";
import { phaseDriver } from "./drive-phase.ts";
import { ending, hasNoWayBack, type Outcome, turningBack } from "./going-back.ts";
import { progressOf, turnOf } from "./look.ts";
import type { DeploymentRecord } from "./record.ts";
import { nextStep } from "./step.ts";

export interface DeployParts {
  /** Every live router serves these jobs as they are. */
  routersServe: (jobs: readonly Job[]) => boolean;
  /** Hosts that do not let the app's jobs as they are now through yet, by name. */
  hostsBehind: (appId: string) => string[];
  /** A router's report, or a host's that enforces another reach than before. */
  onReport: (listener: () => void) => () => void;
  /** Why a job waits for a host, as of now; of any other its reason as it is. */
  whyWaiting: (job: Job) => string;
  logTail: (app: App, jobIds: readonly string[]) => Promise<LogLine[]>;
  tasks: Tasks;
}

type Look = "again" | number;

export interface Driver {
  drive(appId: string, id: string, signal: AbortSignal): Promise<void>;
  /** Failed or cancelled: over at once where nothing was switched yet, else the way back begins. */
  callOff(entry: Entry<DeploymentRecord>, outcome: Outcome): Promise<void>;
}

const TICK_MS = 500;
const HELD = "paused before its first step";
/** Old jobs may take so long beyond the drain before a deployment is complete without them. */
const ENDING_GRACE_MS = 40_000;

export function driver(context: Context, parts: DeployParts): Driver {
  const { store, now, log, config } = context;

  const write = async ({ key, value, version }: Entry<DeploymentRecord>, turn: Partial<Turn>): Promise<void> => {
    const { changed = {}, more = [], expect = [] } = turn;
    await store.commit({
      actor: "deployer",
      expect: [{ key, version }, ...expect],
      mutations: [{ key, value: { ...value, ...changed } }, ...more],
    });
  };

  const callOff = async (entry: Entry<DeploymentRecord>, outcome: Outcome): Promise<void> => {
    // Read again: gathering the log took a while.
    const current = store.get<DeploymentRecord>(entry.key) ?? entry;
    if (hasEnded(current.value)) return;
    const app = store.get<App>(keys.app(entry.value.appId))?.value;
    const over = app === undefined || app.deleting || hasNoWayBack(current.value);
    const turn = over ? ending : turningBack;
    await write(current, turn(store, current.value, app!, { ...outcome, at: now() }));
  };

  const phase = phaseDriver(context, { tasks: parts.tasks, logTail: parts.logTail, write, callOff });

  // The durable index: what counts here has been told to the routers' generation as well.
  const jobsOf = (appId: string): Job[] =>
    context.jobs
      .ofApp(appId)
      .filter((job) => !isEnded(job) && job.task === undefined)
      .map((job) => (job.hostId === undefined ? { ...job, reason: parts.whyWaiting(job) } : job));

  /** One look: `again` when something was done, else how long there is nothing to do unless something changes. */
  const look = async (entry: Entry<DeploymentRecord>, clocks: Clocks): Promise<Look> => {
    const { value: deployment } = entry;
    const app = store.get<App>(keys.app(deployment.appId));
    if (app === undefined || app.value.deleting || (deployment.cancel && deployment.goingBack === undefined)) {
      await phase.stop(deployment, "deployer");
      await callOff(entry, { state: "cancelled", reason: deployment.cancel ?? "the app was deleted" });
      return "again";
    }
    if (deployment.releasing) return (await phase.look(entry, app, clocks)) ? "again" : TICK_MS;
    const jobs = jobsOf(deployment.appId);
    if (deployment.state === "pending") {
      if (deployment.pausedAt !== undefined) {
        if (deployment.step !== HELD) await write(entry, { changed: { step: HELD } });
        return TICK_MS;
      }
      if (phase.isDue(deployment, app.value)) await phase.start(entry, app.value);
      else await write(entry, beginning(store, deployment, { app, jobs, at: now() }));
      return "again";
    }
    const progress = progressOf(store, deployment, {
      ...{ app: app.value, jobs, clocks, config },
      routersServe: parts.routersServe,
      hostsBehind: parts.hostsBehind(deployment.appId),
      endingTimeoutMs: config.drainTimeoutMs + ENDING_GRACE_MS,
    });
    const step = nextStep(progress);
    if (step.type === "fail" && deployment.goingBack === undefined) {
      const logTail = await parts.logTail(app.value, step.jobIds);
      await callOff(entry, { state: "failed", reason: step.reason, logTail });
      return "again";
    }
    const turn = turnOf(store, deployment, { app, jobs, step, at: now() });
    if (turn !== undefined) await write(entry, turn);
    if (step.type === "wait" && step.paused) clocks.rest();
    if (step.type !== "wait") return "again";
    return Math.min(TICK_MS, ...Object.values(progress.unstableMs).filter((leftMs) => leftMs > 0));
  };

  return {
    callOff,
    async drive(appId, id, signal) {
      const clocks = deploymentClocks();
      const woken = createWake();
      const stops = [
        store.onDurable(({ mutations }) => {
          if (mutations.some(({ key }) => key.includes(appId))) woken.ring();
        }),
        parts.onReport(woken.ring),
      ];
      try {
        while (!signal.aborted) {
          const entry = store.get<DeploymentRecord>(keys.deployment(appId, id));
          if (entry === undefined || hasEnded(entry.value)) return;
          let waitMs = TICK_MS;
          try {
            const looked = await look(entry, clocks);
            if (looked === "again") continue;
            waitMs = looked;
          } catch (error) {
            if (store.ended) throw error;
            if (!isFault(error, "precondition") && !isFault(error, "conflict"))
              log.error({ deploymentId: id, causes: causeChain(error) }, "deployment step failed, trying again");
          }
          await woken.wait(waitMs, signal);
        }
      } finally {
        for (const stop of stops) stop();
      }
    },
  };
}
