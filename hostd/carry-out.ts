// Carries out what the plan decided, one step per job at a time, and folds what comes of it into the job's record.
import type { HostTarget } from "#api/host-agents.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { joined, sleep } from "#lib/time.ts";
import { type Apply, StartError } from "./apply.ts";
import type { Container } from "./engine/engine.ts";
import { type JobRecord, LOST_SIGHT, newRecord, startFailed } from "./job-record.ts";
import type { Decision, Step } from "./plan.ts";
import type { JobStops } from "./stop/stop.ts";

export interface CarryOut {
  /** Steps under way, by job. */
  busy(): ReadonlyMap<string, Step["do"]>;
  begin(decision: Decision, target: HostTarget): void;
}

export interface CarryOutOptions {
  apply: Apply;
  stops: Pick<JobStops, "begin" | "kill">;
  records: ReadonlyMap<string, JobRecord>;
  containers: () => readonly Container[];
  put: (record: JobRecord) => void;
  /** Resolves when what was put is on disk, or that takes too long. */
  written: () => Promise<void>;
  clock: () => { nowMs: number; now: string };
  /** A step has ended. */
  onEnd: () => void;
  log: Log;
  signal: AbortSignal;
}

/** After a failure that is the engine's, a breath. */
const BREATH_MS = 1_000;

export function carryOut(options: CarryOutOptions): CarryOut {
  const { apply, stops, records, containers, put, written, clock, onEnd, log, signal } = options;
  const busy = new Map<string, { do: Step["do"]; controller: AbortController }>();

  const signalled = async (step: Step, why: string, record: JobRecord): Promise<boolean> => {
    if (step.do !== "signal") return false;
    const container = containers().find(({ name }) => name === step.container);
    const send = step.signal === "SIGTERM" ? stops.begin : stops.kill;
    // The stop time counts from now, however long the signal takes, and whoever comes after this hostd knows it before anybody is told.
    if (step.signal === "SIGTERM") {
      const stoppingSinceMs = (record.untold && record.stoppingSinceMs) || clock().nowMs;
      put({ ...record, state: "stopping", reason: why, stoppingSinceMs, stopReason: why, untold: true });
      await written();
    }
    return container !== undefined && (await send(container));
  };

  /** Uninterruptible sleep, most often, when it was killed before: its memory and address stay taken, and control should know. */
  const afterKill = (now: JobRecord, why: string, wasKilled: boolean): JobRecord => {
    const killedAtMs = clock().nowMs;
    const { stoppingSinceMs = killedAtMs, stopReason = why } = now;
    const reason = now.reason === LOST_SIGHT ? LOST_SIGHT : wasKilled ? "does not die of SIGKILL" : why;
    return { ...now, state: "stopping", reason, killedAtMs, stoppingSinceMs, stopReason };
  };

  return {
    busy: () => new Map([...busy].map(([jobId, step]) => [jobId, step.do])),
    begin({ jobId, step, why }, target) {
      if (step === undefined) return;
      if (step.do === "cancel") {
        busy.get(jobId)?.controller.abort(new Error(why));
        return;
      }
      const controller = new AbortController();
      busy.set(jobId, { do: step.do, controller });
      log.info({ jobId, step: step.do, why }, "step begins");
      const spec = target.jobs.find(({ id }) => id === jobId);
      const record = (): JobRecord =>
        records.get(jobId) ?? newRecord(spec ?? { id: jobId, app: "unknown", process: "unknown" });
      if (step.do === "create")
        put({ ...record(), state: "starting", reason: "", restarts: step.attempt, startedAt: undefined });
      const until = joined(signal, controller.signal);
      const onProgress = (reason: string) => {
        if (!controller.signal.aborted) put({ ...record(), reason });
      };
      const before = record();
      const work = async (): Promise<void> => {
        if (await signalled(step, why, before)) return;
        await apply(step, { target, signal: until.signal, onProgress });
      };
      const done = work().then(
        () => {
          if (step.do === "signal" && step.signal === "SIGKILL")
            put(afterKill(record(), why, before.killedAtMs !== undefined));
          if (step.do === "signal" && step.signal === "SIGTERM") put({ ...record(), untold: undefined });
        },
        async (error: unknown) => {
          if (until.signal.aborted) return;
          log.warn({ err: error, jobId, step: step.do }, "step failed");
          if (step.do === "signal" && step.signal === "SIGTERM") put(before); // nobody has it: it is sent anew
          if (error instanceof StartError) return put(startFailed(record(), error.message, { ...clock(), job: spec }));
          // The engine's trouble, not the job's: it is looked at again after a breath.
          if (step.do === "create") put({ ...record(), reason: causeChain(error).join(": ").slice(0, 300) });
          await sleep(BREATH_MS, signal);
        },
      );
      void done.finally(() => {
        until.release();
        busy.delete(jobId);
        onEnd();
      });
    },
  };
}
