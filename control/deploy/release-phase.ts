// The release phase: the process type `release` of the new release runs once, before anything is switched. Pure: what follows
// from its job as it stands. It is never run twice for one deployment, whoever restarts meanwhile.
import type { ProcessType } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";

/** A Procfile's name for it; it never has a formation. */
export const RELEASE_PROCESS = "release";

export const hasReleasePhase = (processes: Readonly<Record<string, ProcessType>>): boolean =>
  Object.hasOwn(processes, RELEASE_PROCESS);

export type PhaseStep =
  | { type: "wait"; words: string }
  | { type: "passed" }
  /** `stop`: it still runs and must be ended. */
  | { type: "fail"; reason: string; stop: boolean };

export interface Phase {
  /** Undefined when its record is gone. */
  job: Job | undefined;
  ended: boolean;
  sinceMs: number;
  timeoutMs: number;
}

export function phaseStep({ job, ended, sinceMs, timeoutMs }: Phase): PhaseStep {
  const failed = (why: string, stop = false): PhaseStep => ({ type: "fail", reason: `release phase: ${why}`, stop });
  if (job === undefined) return failed("its job is gone; whether it ran to its end is not known");
  const said = job.reason ? `: ${job.reason}` : "";
  if (ended && job.state === "lost")
    return failed(`the host of ${job.id} was lost; whether it ran to its end is not known`);
  if (ended && job.desired !== "run") return failed(`${job.id} was stopped${said}`);
  if (ended && job.exitCode === 0) return { type: "passed" };
  if (ended)
    return failed(
      `${job.id} ended with ${job.exitCode === undefined ? "no exit code" : `exit code ${job.exitCode}`}${said}`,
    );
  if (sinceMs >= timeoutMs)
    return failed(`${job.id} is ${job.state}${said} and did not end within ${Math.round(timeoutMs / 1000)} s`, true);
  return { type: "wait", words: `release phase: ${job.id} is ${job.state}${said}` };
}
