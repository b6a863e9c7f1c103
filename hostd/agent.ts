// The loop that keeps one host's containers equal to its target: look, fold into the records, plan, apply, tell. A look at the
// engine happens at every change it announces, at every due time, and at least every 2 s.
import type { HostTarget } from "#api/hosts.ts";
import type { JobReport, JobSpec } from "#api/jobs.ts";
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { causeChain } from "#lib/run.ts";
import { sleep } from "#lib/time.ts";
import type { Addresses } from "./addresses.ts";
import { type Apply, StartError } from "./apply.ts";
import { type Container, type Engine, LABELS } from "./engine/engine.ts";
import type { EngineMonitor } from "./engine-monitor.ts";
import { type Probe, watchHealth } from "./health.ts";
import { type JobRecord, jobReport, newRecord, observe, ownContainer, startFailed } from "./job-record.ts";
import { captureLogs } from "./logs/capture.ts";
import { changeLines } from "./logs/change-lines.ts";
import type { LogStore } from "./logs/store.ts";
import { type Decision, nextDueMs, plan, type Step, steps } from "./plan.ts";
import type { KeptState } from "./state-file.ts";
import { createWake } from "./wake.ts";

export interface AgentOptions {
  engine: Engine;
  monitor: Pick<EngineMonitor, "healthy">;
  apply: Apply;
  addresses: Pick<Addresses, "see">;
  logs: LogStore;
  target: HostTarget | undefined;
  records: Map<string, JobRecord>;
  /** Jobs whose streams a client holds now, as its session says. */
  attached?: ReadonlySet<string>;
  /** Something that control wants to know has changed. */
  onChange: () => void;
  save: (state: Omit<KeptState, "bootId" | "told" | "addresses">) => Promise<void>;
  log: Log;
  signal: AbortSignal;
  probe?: Probe;
  /** The kernel's monotonic clock in ms: goes on over a restart of hostd. */
  monotonicMs?: () => number;
  tickMs?: number;
}

export interface Agent {
  setTarget(target: HostTarget): void;
  target(): HostTarget | undefined;
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
  /** Images and apps in use, for pruning. */
  used(): { images: Set<string>; apps: Set<string> };
  run(): Promise<void>;
}

export interface FoundJob {
  job?: JobSpec;
  record?: JobRecord;
  container?: Container;
}

const monotonic = (): number => Number(process.hrtime.bigint() / 1_000_000n);

export function createAgent(options: AgentOptions): Agent {
  const { engine, monitor, apply, addresses, logs, records, onChange, log, signal, tickMs = 2_000 } = options;
  const { monotonicMs = monotonic, attached = new Set() } = options;
  const wake = createWake();
  const busy = new Map<string, { do: Step["do"]; controller: AbortController }>();
  const capture = captureLogs({
    engine,
    store: logs,
    signal,
    onEnd: wake.ring,
    onError: (error, containerId) => log.warn({ err: error, containerId }, "container log is read again"),
  });
  const health = watchHealth({ signal, onChange: wake.ring, probe: options.probe });
  const clock = () => ({ nowMs: monotonicMs(), now: new Date().toISOString() });
  let target = options.target;
  let fresh = false;
  let containers: Container[] = [];
  let dirty = true;

  const put = (record: JobRecord): void => {
    const before = records.get(record.jobId);
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(record)) return;
    records.set(record.jobId, record);
    dirty = true;
    if (JSON.stringify(before && jobReport(before)) !== JSON.stringify(jobReport(record))) onChange();
    for (const line of changeLines(before, record))
      logs.say(record, line).catch((error: unknown) => log.error({ err: error }, "log line not kept"));
  };

  const look = async (stale: ReadonlySet<string>): Promise<void> => {
    const jobs = new Map(target?.jobs.map((job) => [job.id, job]));
    const found = Map.groupBy(containers, (container) => container.labels[LABELS.job] ?? "");
    const running = containers.filter(({ status }) => status === "running");
    capture.sync(containers);
    health.sync(
      running.flatMap((container) => {
        const job = jobs.get(container.labels[LABELS.job] ?? "");
        const record = job && records.get(job.id);
        const wasHealthy = record?.containerId === container.id && record.upSinceMs !== undefined;
        const { id, address } = container;
        return job ? [{ containerId: id, check: job.health, address, port: job.port, wasHealthy }] : [];
      }),
    );
    for (const jobId of new Set([...jobs.keys(), ...found.keys(), ...records.keys()])) {
      if (stale.has(jobId)) continue;
      const container = ownContainer(found.get(jobId) ?? [], jobId);
      const job = jobs.get(jobId);
      if (job === undefined && container === undefined) {
        dirty = records.delete(jobId) || dirty;
        continue;
      }
      put(
        observe({
          job,
          record: records.get(jobId),
          container,
          health: container && health.get(container.id),
          captured: container !== undefined && capture.captured.has(container.id),
          lastLine: container && capture.lastLine(container.id),
          attached: attached.has(jobId),
          ...clock(),
        }),
      );
    }
  };

  const begin = (decision: Decision, current: HostTarget): void => {
    const { jobId, step, why } = decision;
    if (step === undefined) return;
    if (step.do === "cancel") {
      busy.get(jobId)?.controller.abort(new Error(why));
      return;
    }
    const controller = new AbortController();
    busy.set(jobId, { do: step.do, controller });
    log.info({ jobId, step: step.do, why }, "step begins");
    const spec = current.jobs.find(({ id }) => id === jobId);
    const record = (): JobRecord =>
      records.get(jobId) ?? newRecord(spec ?? { id: jobId, app: "unknown", process: "unknown" });
    if (step.do === "create")
      put({ ...record(), state: "starting", reason: "", restarts: step.attempt, startedAt: undefined });
    const context = {
      target: current,
      signal: AbortSignal.any([signal, controller.signal]),
      onProgress: (reason: string) => {
        if (!controller.signal.aborted) put({ ...record(), reason });
      },
    };
    const done = apply(step, context).then(
      () => {
        if (step.do !== "signal") return;
        const before = record();
        if (step.signal === "SIGTERM")
          return put({ ...before, state: "stopping", reason: why, stoppingSinceMs: monotonicMs(), stopReason: why });
        // Uninterruptible sleep, most often: its memory and address stay taken, and control should know.
        const reason = before.killedAtMs === undefined ? why : "does not die of SIGKILL";
        put({ ...before, reason, killedAtMs: monotonicMs() });
      },
      async (error: unknown) => {
        if (context.signal.aborted) return;
        log.warn({ err: error, jobId, step: step.do }, "step failed");
        if (error instanceof StartError) return put(startFailed(record(), error.message, { ...clock(), job: spec }));
        // The engine's trouble, not the job's: it is looked at again after a breath.
        if (step.do === "create") put({ ...record(), reason: causeChain(error).join(": ").slice(0, 300) });
        await sleep(1_000, signal);
      },
    );
    void done.finally(() => {
      busy.delete(jobId);
      wake.ring();
    });
  };

  const turn = async (): Promise<number> => {
    // A step that ends while the list is read leaves that list out of date for its job (nomad #14850).
    const stale = new Set(busy.keys());
    if (monitor.healthy()) {
      containers = await engine.list();
      addresses.see(containers.flatMap(({ address }) => address ?? []));
      await look(stale);
    }
    const doing = new Map([
      ...[...stale].map((jobId) => [jobId, "step"]),
      ...[...busy].map(([id, b]) => [id, b.do]),
    ] as [string, Step["do"]][]);
    const input = {
      target,
      fresh,
      containers,
      records,
      busy: doing,
      engineHealthy: monitor.healthy(),
      captured: capture.captured,
      attached,
      nowMs: monotonicMs(),
    };
    const decisions = plan(input);
    if (target) for (const decision of steps(decisions)) begin(decision, target);
    if (dirty) {
      dirty = false;
      const { nowMs, engineHealthy, captured } = input;
      const savedAt = new Date().toISOString();
      const sets = { captured: [...captured], attached: [...attached] };
      const kept = { savedAt, nowMs, fresh, engineHealthy, containers, ...sets };
      await options.save({ ...kept, records: [...records.values()], busy: [...doing] }).catch((error: unknown) => {
        dirty = true;
        log.error({ err: error }, "job records not kept on disk");
      });
    }
    return Math.min(tickMs, nextDueMs(decisions) - monotonicMs());
  };

  const followChanges = async (): Promise<void> => {
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        for await (const _ of engine.changes(signal)) {
          failures = 0;
          wake.ring();
        }
      } catch (error) {
        log.debug({ err: error }, "engine events broke");
      }
      wake.ring();
      await sleep(backoffMs(Math.max(1, failures), 200, 5_000), signal);
    }
  };

  return {
    setTarget(next) {
      target = next;
      fresh = true;
      wake.ring();
      onChange();
    },
    target: () => target,
    wake: wake.ring,
    keep() {
      dirty = true;
      wake.ring();
    },
    jobs() {
      const wanted = new Set(target?.jobs.map(({ id }) => id));
      return [...records.values()].filter(({ jobId, state }) => wanted.has(jobId) || state !== "down").map(jobReport);
    },
    find: (jobId) => ({
      job: target?.jobs.find(({ id }) => id === jobId),
      record: records.get(jobId),
      container: ownContainer(containers, jobId),
    }),
    running: () => containers.filter(({ status }) => status === "running"),
    startFailed(jobId, reason) {
      const job = target?.jobs.find(({ id }) => id === jobId);
      const record = records.get(jobId);
      if (record) put(startFailed(record, reason, { ...clock(), job }));
      wake.ring();
    },
    used: () => ({
      images: new Set([...(target?.jobs ?? []), ...containers].map(({ image }) => image)),
      apps: new Set([...(target?.jobs ?? []).map(({ app }) => app), ...[...records.values()].map(({ app }) => app)]),
    }),
    async run() {
      const changes = followChanges();
      let trouble = "";
      while (!signal.aborted) {
        const waitMs = await turn().then(
          (ms) => {
            trouble = "";
            return ms;
          },
          (error: unknown) => {
            const told = String(error);
            if (told !== trouble) log.warn({ err: error }, "look at the engine failed");
            trouble = told;
            return tickMs;
          },
        );
        await wake.wait(Math.max(waitMs, 10), signal);
      }
      await changes;
    },
  };
}
