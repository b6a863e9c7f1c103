// Jobs, those of formations and those that run once: list, show, explain, stop, create.

import { Fault } from "#api/fault.ts";
import * as jobs from "#api/jobs.ts";
import { isEnded } from "#api/jobs.ts";
import { findApp, findRelease, liveJobs } from "../apps/find.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { keys } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { pageOf } from "../paging.ts";
import { needOf } from "../scheduler/job-rules.ts";
import type { HostVerdict } from "../scheduler/verdicts.ts";
import { createdEvent, type Tasks } from "../tasks/tasks.ts";

type JobReports = ReadonlyMap<string, jobs.JobReport>;

export interface JobParts {
  tasks: Tasks;
  explain: (job: jobs.Job) => HostVerdict[];
  /** Why a job waits for a host, as of now; of any other its reason as it is. */
  whyWaiting: (job: jobs.Job) => string;
}

export function mountJobs(mount: Mount, context: Context, { tasks, explain, whyWaiting }: JobParts): void {
  const { store, now } = context;

  /** What its host last said of its memory and disk; `said` holds the reports that were gone through already. */
  const withUse = (job: jobs.Job, said: Map<string, JobReports>): jobs.Job => {
    if (job.hostId === undefined) return { ...job, reason: whyWaiting(job) };
    const reports =
      said.get(job.hostId) ??
      new Map(context.presence.hosts.get(job.hostId)?.report.jobs.map((report) => [report.id, report]));
    said.set(job.hostId, reports);
    const { memoryBytes, disk } = (isEnded(job) ? undefined : reports.get(job.id)) ?? {};
    return { ...job, ...(memoryBytes === undefined ? {} : { memoryBytes }), ...(disk === undefined ? {} : { disk }) };
  };

  mount(jobs.listJobs, ({ params, query }) => {
    const { value: app } = findApp(store, params.app);
    const found = query.all
      ? store.list<jobs.Job>(keys.jobsOf(app.id)).map(({ value }) => value)
      : liveJobs(store, app.id);
    const said = new Map<string, JobReports>();
    const { items, ...rest } = pageOf(found, query);
    return { items: items.map((job) => withUse(job, said)), ...rest };
  });
  const findJob = (id: string): jobs.Job => {
    const job = context.jobs.get(id);
    if (job === undefined) throw new Fault("not-found", `no job ${id}`);
    return job;
  };
  mount(jobs.getJob, ({ params }) => withUse(findJob(params.id), new Map()));
  mount(jobs.stopJob, async ({ params, principal }) => {
    const job = findJob(params.id);
    if (job.task !== undefined) {
      await tasks.stop(job.appId, job.id, principal.name);
      return findJob(params.id);
    }
    const entry = store.get<jobs.Job>(keys.job(job.appId, job.id));
    if (entry?.value.desired === "run" && !isEnded(entry.value)) {
      const value: jobs.Job = {
        ...entry.value,
        desired: "drain",
        drainingSince: now().toISOString(),
        reason: `stopped by ${principal.name}`,
      };
      await store.commit({
        actor: principal.name,
        expect: [{ key: entry.key, version: entry.version }],
        mutations: [
          { key: entry.key, value },
          ...eventChanges(store, now(), {
            type: "job.killed",
            subject: job.id,
            app: job.app,
            actor: principal.name,
            message: `job ${job.id} was told to stop`,
          }),
        ],
      });
    }
    return findJob(params.id);
  });
  mount(jobs.createJob, async ({ params, body, principal, idempotent, earlier }) => {
    const { value: app } = findApp(store, params.app);
    const made = await earlier<jobs.Job>();
    if (made !== undefined) return context.jobs.get(made.id) ?? made;
    const { command, process = "run", release: wanted, env, attach = false, tty = false, timeoutMs } = body;
    if (tty && !attach) throw new Fault("invalid", "a terminal needs a client: give attach too");
    if (command?.length === 0) throw new Fault("invalid", "the command is empty; leave it out for the process's own");
    const releaseId = wanted === undefined ? app.releaseId : findRelease(store, app.id, wanted).id;
    const type = releaseId === undefined ? undefined : findRelease(store, app.id, releaseId).processes[process];
    const need = needOf(type ?? { port: null });
    const { job, changes } = tasks.draft({
      appId: app.id,
      releaseId,
      process,
      task: {
        kind: "run",
        ...(command ? { command } : {}),
        attach,
        tty,
        ...(timeoutMs ? { timeoutMs } : {}),
        createdBy: principal.name,
      },
      env,
      need: {
        ...need,
        cpuMillis: body.cpuMillis ?? need.cpuMillis,
        memoryBytes: body.memoryBytes ?? need.memoryBytes,
      },
    });
    const { result } = await store.commit({
      actor: principal.name,
      ...idempotent,
      mutations: [...changes, ...eventChanges(store, now(), createdEvent(job))],
      result: job,
    });
    return result;
  });
  mount(jobs.explainJob, ({ params }) => {
    const job = findJob(params.id);
    const decision = job.hostId
      ? `it is on host ${job.hostId}: ${job.state}${job.reason ? `, ${job.reason}` : ""}`
      : `it waits: ${job.reason || "not looked at yet"}`;
    return { job, decision, hosts: explain(job) };
  });
}
