// `hostd explain JOB`: the plan's decision about a job, made again from the inputs kept on disk, and those inputs.

import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import type { HostTarget } from "#api/host-agents.ts";
import { readJson } from "#lib/files.ts";
import { LABELS } from "./engine/engine.ts";
import { plan, type Step } from "./plan.ts";
import { loadState } from "./state-file.ts";

export interface ExplainOptions {
  stateDir: string;
  /** Where the target is kept. */
  targetDir: string;
  jobId: string;
}

export async function explain({ stateDir, targetDir, jobId }: ExplainOptions): Promise<string> {
  const target = await readJson<HostTarget>(join(targetDir, "target.json"));
  const state = await loadState(stateDir);
  if (target === undefined || state === undefined)
    throw new Fault("not-found", `${stateDir} holds no target or no job records yet`);
  const decisions = plan({
    target,
    fresh: state.fresh,
    containers: state.containers,
    records: new Map(state.records.map((record) => [record.jobId, record])),
    busy: new Map(state.busy as [string, Step["do"]][]),
    engineHealthy: state.engineHealthy,
    captured: new Set(state.captured),
    attached: new Set(state.attached),
    nowMs: state.nowMs,
  });
  const decision = decisions.find((found) => found.jobId === jobId);
  const job = target.jobs.find(({ id }) => id === jobId);
  if (decision === undefined) throw new Fault("not-found", `job ${jobId} is neither in the target nor on this host`);
  const { step, why } = decision;
  const what = step === undefined ? "nothing to do" : step.do === "signal" ? `send ${step.signal}` : step.do;
  const inputs = {
    target: { term: target.term, seq: target.seq, fromControl: state.fresh },
    // Environment values may be secrets; their names explain enough.
    job: job && { ...job, env: Object.keys(job.env) },
    record: state.records.find((record) => record.jobId === jobId),
    containers: state.containers.filter(({ labels }) => labels[LABELS.job] === jobId),
    engineHealthy: state.engineHealthy,
    busy: new Map(state.busy).get(jobId),
  };
  return `${jobId}: ${what}: ${why}\nas of ${state.savedAt}\n${JSON.stringify(inputs, null, 2)}\n`;
}
