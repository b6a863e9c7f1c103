// The loop that keeps one host's containers equal to its target: look, fold into the records, plan, apply, report. A look at the
// engine happens at every change it announces, at every due time, and at least every 2 s.

import { isFault } from "#api/fault.ts";
import type { HostTarget } from "#api/host-agents.ts";
import type { JobReport, JobSpec } from "#api/jobs.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { deadline } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import type { Addresses } from "./addresses.ts";
import {
  followingKept,
  followingNext,
  recordsAfterLook,
  stoppingContainers,
  targetOf,
  unansweredJobs,
  watchedContainers,
} from "./agent-step.ts";
import type { Apply } from "./apply.ts";
import { carryOut } from "./carry-out.ts";
import { type Container, type Engine, LABELS } from "./engine/engine.ts";
import { followChanges } from "./engine-changes.ts";
import type { EngineMonitor } from "./engine-monitor.ts";
import { type Probe, watchHealth } from "./health.ts";
import { type JobRecord, jobReport, ownContainer, startFailed } from "./job-record.ts";
import { keptBeside } from "./keep-beside.ts";
import { captureLogs } from "./logs/capture.ts";
import { changeLines } from "./logs/change-lines.ts";
import { type LogStore, logName } from "./logs/store.ts";
import { type Decision, nextDueMs, plan, type Step, steps } from "./plan.ts";
import type { ReachKeeper } from "./reach/reach.ts";
import type { KeptState } from "./state-file.ts";
import { type JobStops, jobStops } from "./stop/stop.ts";

export interface AgentOptions {
  engine: Engine;
  monitor: Pick<EngineMonitor, "healthy"> & Partial<Pick<EngineMonitor, "answers" | "looked">>;
  apply: Apply;
  addresses: Pick<Addresses, "see">;
  reach: Pick<ReachKeeper, "see">;
  logs: LogStore;
  target: HostTarget | undefined;
  records: Map<string, JobRecord>;
  /** Jobs whose streams a client holds now, as its session says. */
  attached?: ReadonlySet<string>;
  /** Containers that took more of the disk than they may, with the reason in full. */
  excess?: () => ReadonlyMap<string, string>;
  /** Something that control wants to know has changed. */
  onChange: () => void;
  save: (state: Omit<KeptState, "bootId" | "told" | "addresses">) => Promise<void>;
  log: Log;
  signal: AbortSignal;
  probe?: Probe;
  /** How SIGTERM reaches a job's processes; by this machine's kernel unless given. */
  stops?: JobStops;
  /** The kernel's monotonic clock in ms: goes on over a restart of hostd. */
  monotonicMs?: () => number;
  tickMs?: number;
}

export interface Agent {
  setTarget(target: HostTarget): void;
  target(): HostTarget | undefined;
  /** What runs on though the target does not know it, since control's state was restored. */
  quarantined(): { jobId: string; app: string }[];
  /** Look now. */
  wake(): void;
  /** Keep the state on disk anew, since something beside the records has changed. */
  keep(): void;
  jobs(): JobReport[];
  /** All that is known of one job now. */
  find(jobId: string): FoundJob;
  running(): readonly Container[];
  /** A start that was made beside the plan has failed. */
  startFailed(jobId: string, reason: string): void;
  /** Images and logs in use, for pruning. */
  used(): { images: Set<string>; logs: Set<string> };
  run(): Promise<void>;
}

export interface FoundJob {
  job?: JobSpec;
  record?: JobRecord;
  container?: Container;
}

/** At hostd's end. */
const LAST_SAVE_MS = 5_000;
/** A disk that is slow, or full, keeps no stop waiting for longer. */
const WRITTEN_MOST_MS = 1_000;

const monotonic = (): number => Number(process.hrtime.bigint() / 1_000_000n);

export function createAgent(options: AgentOptions): Agent {
  const { engine, monitor, apply, addresses, reach, logs, records, onChange, log, signal, tickMs = 2_000 } = options;
  const { monotonicMs = monotonic, attached = new Set(), stops = jobStops({ log, signal }) } = options;
  const wake = createWake();
  const capture = captureLogs({
    engine,
    store: logs,
    signal,
    onEnd: wake.ring,
    onError: (error, containerId) => log.warn({ err: error, containerId }, "container log is read again"),
  });
  const health = watchHealth({ signal, onChange: wake.ring, probe: options.probe });
  const target = (): HostTarget | undefined => targetOf(following);
  const clock = () => ({ nowMs: monotonicMs(), now: new Date().toISOString() });
  let following = followingKept(options.target);
  let quarantined: { jobId: string; app: string }[] = [];
  let containers: Container[] = [];
  const kept = keptBeside({
    save: options.save,
    onMore: wake.ring,
    onError: (error) => log.error({ err: error }, "job records not kept on disk"),
  });

  const put = (record: JobRecord): void => {
    const before = records.get(record.jobId);
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(record)) return;
    records.set(record.jobId, record);
    kept.changed();
    if (JSON.stringify(before && jobReport(before)) !== JSON.stringify(jobReport(record))) onChange();
    for (const line of changeLines(before, record))
      logs.say(record, line).catch((error: unknown) => log.error({ err: error }, "log line not kept"));
  };

  /** Follows what runs, and takes the look into the records. */
  const takeIn = (stale: ReadonlySet<string>): void => {
    const jobs = new Map(target()?.jobs.map((job) => [job.id, job]));
    const running = containers.filter(({ status }) => status === "running");
    const stopping = stoppingContainers(records.values(), (jobId) => work.busy().has(jobId));
    capture.sync(containers);
    stops.sync(running, ({ id }) => stopping.has(id));
    health.sync(watchedContainers(running, jobs, records));
    const besideOf = (jobId: string, container: Container | undefined) => ({
      health: container && health.get(container.id),
      captured: container !== undefined && capture.captured.has(container.id),
      lastLine: container && capture.lastLine(container.id),
      attached: attached.has(jobId),
      emptyForMs: container && stops.emptyForMs(container),
      ...clock(),
    });
    const { seen, gone } = recordsAfterLook({ jobs, records, containers, stale, besideOf });
    for (const jobId of gone) if (records.delete(jobId)) kept.changed();
    for (const record of seen) put(record);
  };

  const work = carryOut({
    ...{ apply, stops, records, put, clock, log, signal },
    containers: () => containers,
    written: () => deadline(kept.written(), WRITTEN_MOST_MS, "keeping the state").catch(() => undefined),
    onEnd: wake.ring,
  });

  const list = async (): Promise<Container[]> => {
    try {
      const found = await engine.list();
      monitor.looked?.(undefined);
      return found;
    } catch (error) {
      monitor.looked?.(isFault(error, "timeout") ? (error as Error).message : causeChain(error).join(": "));
      throw error;
    }
  };

  const turn = async (): Promise<number> => {
    // A step that ends while the list is read leaves that list out of date for its job (nomad #14850).
    const stale = new Set<string>(work.busy().keys());
    if (monitor.answers?.() ?? monitor.healthy()) {
      containers = await list();
      for (const jobId of unansweredJobs(containers)) stale.add(jobId);
      addresses.see(containers.flatMap(({ address }) => address ?? []));
      reach.see(containers);
      takeIn(stale);
    }
    const doing = new Map([...[...stale].map((jobId) => [jobId, "step"]), ...work.busy()] as [string, Step["do"]][]);
    const fresh = following.state === "fresh" || following.state === "quarantine";
    const input = {
      target: target(),
      fresh,
      containers,
      records,
      busy: doing,
      engineHealthy: monitor.healthy(),
      captured: capture.captured,
      attached,
      excess: options.excess?.(),
      nowMs: monotonicMs(),
      quarantineSinceMs: following.state === "quarantine" ? following.sinceMs : undefined,
    };
    const decisions = plan(input);
    quarantined = quarantinedOf(decisions, containers);
    if (input.target) for (const decision of steps(decisions)) work.begin(decision, input.target);
    kept.keep(() => {
      const { nowMs, engineHealthy, captured } = input;
      const sets = { captured: [...captured], attached: [...attached] };
      const state = { savedAt: new Date().toISOString(), nowMs, fresh, engineHealthy, containers, ...sets };
      return { ...state, records: [...records.values()], busy: [...doing] };
    });
    return Math.min(tickMs, nextDueMs(decisions) - monotonicMs());
  };

  return {
    setTarget(next) {
      following = followingNext(following, next, monotonicMs());
      wake.ring();
      onChange();
    },
    target,
    quarantined: () => quarantined,
    wake: wake.ring,
    keep() {
      kept.changed();
      wake.ring();
    },
    jobs() {
      const wanted = new Set(target()?.jobs.map(({ id }) => id));
      return [...records.values()].filter(({ jobId, state }) => wanted.has(jobId) || state !== "down").map(jobReport);
    },
    find: (jobId) => ({
      job: target()?.jobs.find(({ id }) => id === jobId),
      record: records.get(jobId),
      container: ownContainer(containers, jobId),
    }),
    running: () => containers.filter(({ status }) => status === "running"),
    startFailed(jobId, reason) {
      const job = target()?.jobs.find(({ id }) => id === jobId);
      const record = records.get(jobId);
      if (record) put(startFailed(record, reason, { ...clock(), job }));
      wake.ring();
    },
    used: () => ({
      images: new Set([...(target()?.jobs ?? []), ...containers].map(({ image }) => image)),
      logs: new Set([...(target()?.jobs ?? []), ...records.values()].flatMap((job) => [job.app, logName(job)])),
    }),
    async run() {
      const changes = followChanges({ engine, onChange: wake.ring, log, signal });
      let trouble = "";
      while (!signal.aborted) {
        const waitMs = await turn().then(
          (ms) => {
            trouble = "";
            return ms;
          },
          (error: unknown) => {
            if (String(error) !== trouble) log.warn({ err: error }, "look at the engine failed");
            trouble = String(error);
            return tickMs;
          },
        );
        await wake.wait(Math.max(waitMs, 10), signal);
      }
      await changes;
      await kept.ended(LAST_SAVE_MS);
    },
  };
}

function quarantinedOf(decisions: readonly Decision[], containers: readonly Container[]) {
  return decisions.flatMap(({ jobId, quarantined }) => {
    const app = quarantined && containers.find(({ labels }) => labels[LABELS.job] === jobId)?.labels[LABELS.app];
    return app ? [{ jobId, app }] : [];
  });
}
