// Drives one deployment to its end: looks at what is, decides the next step, writes it, waits until something changed.
import type { App } from "#api/apps.ts";
import { isFault } from "#api/fault.ts";
import type { LogLine } from "#api/logs.ts";
import { causeChain } from "#lib/run.ts";
import { formationOf } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { keys } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import { gate } from "../scheduler/gate.ts";
import type { Entry } from "../store/store.ts";
import type { Tasks } from "../tasks/tasks.ts";
import { beginning, completing, ending, type Outcome, scaling, shownOf, type Turn } from "./changes.ts";
import { type Forward, forwardClock, type Stability, stabilityClock } from "./clocks.ts";
import { phaseDriver } from "./drive-phase.ts";
import { type DeploymentRecord, hasEnded } from "./record.ts";
import { nextStep, type Progress, type Step } from "./step.ts";
import type { Counts } from "./strategy.ts";

export interface DeployParts {
  /** Every live router serves the newest generation. */
  routersAcknowledged: () => boolean;
  onRouterReport: (listener: () => void) => () => void;
  logTail: (app: string, jobIds: readonly string[]) => Promise<LogLine[]>;
  tasks: Tasks;
}

/** Of one deployment, as long as it is driven. */
interface Clocks {
  forward: Forward;
  stability: Stability;
}
type Look = "again" | number;

export interface Driver {
  drive(appId: string, id: string, signal: AbortSignal): Promise<void>;
  end(entry: Entry<DeploymentRecord>, outcome: Outcome): Promise<void>;
}

const TICK_MS = 500;
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

  const end = async (entry: Entry<DeploymentRecord>, outcome: Outcome): Promise<void> => {
    // Read again: gathering the log took a while.
    const current = store.get<DeploymentRecord>(entry.key) ?? entry;
    const app = store.get<App>(keys.app(entry.value.appId))?.value;
    await write(current, ending(store, current.value, app, { ...outcome, at: now() }));
  };

  const phase = phaseDriver(context, { tasks: parts.tasks, logTail: parts.logTail, write, end });

  const progressOf = (
    deployment: DeploymentRecord,
    app: App,
    stability: Stability,
  ): Omit<Progress, "sinceProgressMs"> => {
    const { fromReleaseId, toReleaseId, strategy } = deployment;
    const counts = (releaseId: string | undefined): Counts => {
      const processes = releaseId === undefined ? {} : (formationOf(store, app.id, releaseId)?.value.processes ?? {});
      return Object.fromEntries(Object.entries(processes).map(([name, { count }]) => [name, count]));
    };
    // The durable index: what counts here has been told to the routers' generation as well.
    const jobs = context.jobs
      .ofApp(app.id)
      .filter(({ state, task }) => state !== "down" && state !== "lost" && task === undefined);
    const newJobs = jobs.filter(({ releaseId }) => releaseId === toReleaseId);
    const types = store.get<ReleaseRecord>(keys.release(app.id, toReleaseId))?.value.processes ?? {};
    return {
      strategy,
      batchSize: app.batchSize,
      wanted: Object.fromEntries(Object.entries(deployment.processes).map(([name, { wanted }]) => [name, wanted])),
      newCounts: counts(toReleaseId),
      oldCounts: counts(fromReleaseId),
      newJobs,
      oldJobs: jobs.filter(({ releaseId }) => releaseId !== toReleaseId),
      routersAcknowledged: parts.routersAcknowledged(),
      unstableMs: stability(newJobs, (process) => types[process]?.health?.stableMs ?? config.stableMs),
      timeoutMs: app.deployTimeoutMs,
      timeoutsMs: Object.fromEntries(
        Object.entries(types).map(([name, { deployTimeoutMs }]) => [name, deployTimeoutMs ?? app.deployTimeoutMs]),
      ),
      endingTimeoutMs: config.drainTimeoutMs + ENDING_GRACE_MS,
    };
  };

  const act = async (
    entry: Entry<DeploymentRecord>,
    app: Entry<App>,
    step: Step,
    progress: Progress,
  ): Promise<void> => {
    const { value: deployment } = entry;
    const processes = shownOf(deployment, progress);
    if (step.type === "fail") {
      const logTail = await parts.logTail(app.value.name, step.jobIds);
      await end(entry, { state: "failed", reason: step.reason, logTail });
    } else if (step.type === "complete") {
      const turn = completing(store, deployment, app, now());
      await write(entry, { ...turn, changed: { ...turn.changed, processes } });
    } else if (step.type === "scale") {
      await write(entry, { changed: { step: step.words, processes }, more: scaling(store, deployment, step) });
    } else if (step.words !== deployment.step || JSON.stringify(processes) !== JSON.stringify(deployment.processes)) {
      await write(entry, { changed: { step: step.words, processes } });
    }
  };

  /** One look: `again` when something was done, else how long there is nothing to do unless something changes. */
  const look = async (entry: Entry<DeploymentRecord>, { forward, stability }: Clocks): Promise<Look> => {
    const { value: deployment } = entry;
    const app = store.get<App>(keys.app(deployment.appId));
    if (app === undefined || app.value.deleting || deployment.cancel) {
      await phase.stop(deployment, "deployer");
      await end(entry, { state: "cancelled", reason: deployment.cancel ?? "the app was deleted" });
      return "again";
    }
    if (deployment.releasing) return (await phase.look(entry, app)) ? "again" : TICK_MS;
    if (deployment.state === "pending") {
      if (phase.isDue(deployment, app.value)) await phase.start(entry, app.value);
      else await write(entry, beginning(store, deployment, app, now()));
      return "again";
    }
    const seen = progressOf(deployment, app.value, stability);
    const progress: Progress = { ...seen, sinceProgressMs: forward(seen) };
    const step = nextStep(progress);
    await act(entry, app, step, progress);
    if (step.type !== "wait") return "again";
    return Math.min(TICK_MS, ...Object.values(seen.unstableMs).filter((leftMs) => leftMs > 0));
  };

  return {
    end,
    async drive(appId, id, signal) {
      const clocks = { forward: forwardClock(), stability: stabilityClock() };
      const woken = gate();
      const stops = [
        store.onDurable(({ mutations }) => {
          if (mutations.some(({ key }) => key.includes(appId))) woken.poke();
        }),
        parts.onRouterReport(woken.poke),
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
            if (isFault(error, "unavailable")) throw error;
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
