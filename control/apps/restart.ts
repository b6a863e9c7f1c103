// Restarting an app: by a deployment of an identical release where requests would be lost otherwise, else by stopping its jobs, in whose
// place the formation starts others. One decision and one record, so that a client that goes away changes nothing. Pure.
import { Fault } from "#api/fault.ts";
import type { Job } from "#api/jobs.ts";
import type { ReleaseRecord } from "../records.ts";

export interface RestartWish {
  process?: string | undefined;
  job?: string | undefined;
}

export type Restart =
  /** Everything, by a deployment: each old job stays until a new one serves. */
  { type: "deploy" } | { type: "stop"; jobs: Job[] };

/** `live`: the app's jobs that are not over. */
export function restartOf(
  app: string,
  { processes }: Pick<ReleaseRecord, "processes">,
  live: readonly Job[],
  { process, job }: RestartWish,
): Restart {
  if (process !== undefined && job !== undefined) throw new Fault("invalid", "give a process or a job, not both");
  if (process !== undefined && !Object.hasOwn(processes, process))
    throw new Fault("not-found", `app ${app} has no process ${process}; it has ${Object.keys(processes).join(", ")}`);
  if (process === undefined && job === undefined) return { type: "deploy" };
  const wanted = live.filter(({ task, desired }) => task === undefined && desired === "run");
  const jobs = wanted.filter((each) => (job === undefined ? each.process === process : each.id === job));
  if (job !== undefined && jobs.length === 0)
    throw new Fault("not-found", `no job ${job} of app ${app} runs; see: flynn -a ${app} ps`);
  const loses = jobs.some(({ process: name }) => {
    const serves = processes[name]?.port !== null;
    return serves && !wanted.some((each) => each.process === name && each.state === "up" && !jobs.includes(each));
  });
  return loses ? { type: "deploy" } : { type: "stop", jobs };
}
