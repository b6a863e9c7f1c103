// Runs the release phase of a deployment: makes its job in the record that starts the deployment, then only watches it. What was
// asked of it is on record, so a restart of control goes on watching and never starts a second one.
import type { App } from "#api/apps.ts";
import { isFault } from "#api/fault.ts";
import type { LogLine } from "#api/logs.ts";
import { liveJobs } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { keys } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Tasks } from "../tasks/tasks.ts";
import { beginning, releasing, type Turn } from "./changes.ts";
import type { Clocks } from "./clocks.ts";
import type { Outcome } from "./going-back.ts";
import type { DeploymentRecord } from "./record.ts";
import { hasReleasePhase, phaseStep, RELEASE_PROCESS } from "./release-phase.ts";

export interface PhaseParts {
  tasks: Tasks;
  logTail: (app: App, jobIds: readonly string[]) => Promise<LogLine[]>;
  write: (entry: Entry<DeploymentRecord>, turn: Partial<Turn>) => Promise<void>;
  callOff: (entry: Entry<DeploymentRecord>, outcome: Outcome) => Promise<void>;
}

export interface PhaseDriver {
  /** Redeploying what runs releases nothing: its release phase ran when it was new. */
  isDue(deployment: DeploymentRecord, app: App): boolean;
  start(entry: Entry<DeploymentRecord>, app: App): Promise<void>;
  /** True when something was written. */
  look(entry: Entry<DeploymentRecord>, app: Entry<App>, clocks: Clocks): Promise<boolean>;
  /** Ends the job of a deployment that is called off. */
  stop(deployment: DeploymentRecord, by: string): Promise<void>;
}

export function phaseDriver({ store, now }: Context, { tasks, logTail, write, callOff }: PhaseParts): PhaseDriver {
  const processesOf = ({ appId, toReleaseId }: DeploymentRecord) =>
    store.get<ReleaseRecord>(keys.release(appId, toReleaseId))?.value.processes ?? {};
  const timeoutOf = (deployment: DeploymentRecord, app: App): number =>
    processesOf(deployment)[RELEASE_PROCESS]?.deployTimeoutMs ?? app.deployTimeoutMs;

  const stop: PhaseDriver["stop"] = async ({ appId, releaseJobId, releasing: runs }, by) => {
    if (runs && releaseJobId !== undefined) await tasks.stop(appId, releaseJobId, by);
  };

  return {
    stop,
    isDue: (deployment, app) => app.releaseId !== deployment.toReleaseId && hasReleasePhase(processesOf(deployment)),
    async start(entry, app) {
      const { toReleaseId } = entry.value;
      const timeoutMs = timeoutOf(entry.value, app);
      const task = { kind: "release" as const, attach: false, tty: false, timeoutMs, createdBy: "deployer" };
      try {
        const draft = tasks.draft({ appId: app.id, releaseId: toReleaseId, process: RELEASE_PROCESS, task });
        await write(entry, releasing(draft, now()));
      } catch (error) {
        // No room among the app's one-off jobs now: said at once, not tried for ever.
        if (!isFault(error, "rate-limited")) throw error;
        await callOff(entry, { state: "failed", reason: `release phase: ${error.message}` });
      }
    },
    async look(entry, app, clocks) {
      const { value: deployment } = entry;
      const { job, ended = true } = tasks.get(app.value.id, deployment.releaseJobId!) ?? {};
      // On the monotonic clock, so a restart of control gives it its time again; its host bounds it as well.
      const sinceMs = clocks.sinceMs(deployment.releaseJobId!);
      const step = phaseStep({ job, ended, sinceMs, timeoutMs: timeoutOf(deployment, app.value) });
      if (step.type === "passed") {
        const jobs = liveJobs(store, app.value.id).filter(({ task }) => task === undefined);
        await write(entry, beginning(store, deployment, { app, jobs, at: now() }));
      } else if (step.type === "fail") {
        if (step.stop) await stop(deployment, "deployer");
        const tail = await logTail(app.value, [deployment.releaseJobId!]);
        await callOff(entry, { state: "failed", reason: step.reason, logTail: tail });
      } else {
        if (step.words === deployment.step) return false;
        await write(entry, { changed: { step: step.words } });
      }
      return true;
    },
  };
}
