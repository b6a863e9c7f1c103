// Drives one deployment to its end: looks at what is, decides the next step, writes it, waits until something changed.
import type { App } from "#api/apps.ts";
import { isFault } from "#api/fault.ts";
import type { LogLine } from "#api/logs.ts";
import { causeChain } from "#lib/run.ts";
import { formationOf } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { keys } from "../keys.ts";
import { gate } from "../scheduler/gate.ts";
import type { Entry } from "../store/store.ts";
import { beginning, completing, ending, type Outcome, scaling, shownOf, type Turn } from "./changes.ts";
import { type DeploymentRecord, hasEnded } from "./record.ts";
import { type Counts, nextStep, type Progress, type Step } from "./step.ts";

export interface DeployParts {
  /** Every live router serves the newest generation. */
  routersAcknowledged: () => boolean;
  onRouterReport: (listener: () => void) => () => void;
  logTail: (app: string, jobIds: readonly string[]) => Promise<LogLine[]>;
}

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

  const progressOf = (deployment: DeploymentRecord, app: App): Omit<Progress, "sinceProgressMs"> => {
    const { fromReleaseId, toReleaseId, strategy } = deployment;
    const counts = (releaseId: string | undefined): Counts => {
      const processes = releaseId === undefined ? {} : (formationOf(store, app.id, releaseId)?.value.processes ?? {});
      return Object.fromEntries(Object.entries(processes).map(([name, { count }]) => [name, count]));
    };
    // The durable index: what counts here has been told to the routers' generation as well.
    const jobs = context.jobs
      .ofApp(app.id)
      .filter(({ state, task }) => state !== "down" && state !== "lost" && task === undefined);
    return {
      strategy,
      wanted: Object.fromEntries(Object.entries(deployment.processes).map(([name, { wanted }]) => [name, wanted])),
      newCounts: counts(toReleaseId),
      oldCounts: counts(fromReleaseId),
      newJobs: jobs.filter(({ releaseId }) => releaseId === toReleaseId),
      oldJobs: jobs.filter(({ releaseId }) => releaseId !== toReleaseId),
      routersAcknowledged: parts.routersAcknowledged(),
      timeoutMs: app.deployTimeoutMs,
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

  /** One look; false when there is nothing to do until something changes. */
  const look = async (entry: Entry<DeploymentRecord>, forward: Forward): Promise<boolean> => {
    const { value: deployment } = entry;
    const app = store.get<App>(keys.app(deployment.appId));
    if (app === undefined || app.value.deleting || deployment.cancel) {
      await end(entry, { state: "cancelled", reason: deployment.cancel ?? "the app was deleted" });
      return true;
    }
    if (deployment.state === "pending") {
      await write(entry, beginning(store, deployment, app, now()));
      return true;
    }
    const seen = progressOf(deployment, app.value);
    const progress: Progress = { ...seen, sinceProgressMs: forward(seen) };
    const step = nextStep(progress);
    await act(entry, app, step, progress);
    return step.type !== "wait";
  };

  return {
    end,
    async drive(appId, id, signal) {
      const forward = forwardClock();
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
          try {
            if (await look(entry, forward)) continue;
          } catch (error) {
            if (isFault(error, "unavailable")) throw error;
            if (!isFault(error, "precondition") && !isFault(error, "conflict"))
              log.error({ deploymentId: id, causes: causeChain(error) }, "deployment step failed, trying again");
          }
          await woken.wait(TICK_MS, signal);
        }
      } finally {
        for (const stop of stops) stop();
      }
    },
  };
}

type Forward = (seen: Pick<Progress, "newCounts" | "oldCounts" | "newJobs">) => number;

/** Milliseconds since the last step forward: another formation, or more healthy jobs than ever. One that comes and goes is neither. */
function forwardClock(): Forward {
  let atMs = performance.now();
  let formations = "";
  let mostUp = 0;
  return ({ newCounts, oldCounts, newJobs }) => {
    const next = JSON.stringify([newCounts, oldCounts]);
    const up = newJobs.filter(({ state }) => state === "up").length;
    if (next !== formations || up > mostUp) {
      formations = next;
      mostUp = up;
      atMs = performance.now();
    }
    return performance.now() - atMs;
  };
}
