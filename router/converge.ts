// Makes HAProxy equal to the newest target, and keeps it so: one turn at a time (phase.ts says of which steps), each ending with a
// comparison of what runs with what is wanted. A generation counts as served only after that comparison found no difference.

import type { RouterReport, RouterTarget } from "#api/router-agents.ts";
import { isFullDisk } from "#lib/full-disk.ts";
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { causeChain } from "#lib/run.ts";
import { sleep } from "#lib/time.ts";
import { sparePorts } from "./accept.ts";
import type { JobOf } from "./access-log.ts";
import { createDisk } from "./disk.ts";
import { countDraining, drainingBackends } from "./draining.ts";
import { createEqualiser } from "./equal.ts";
import type { Haproxy } from "./haproxy.ts";
import { createKeeper, readKept } from "./kept.ts";
import { after, FIRST, type Happening, nextStep, reasonOf, reloadInMs, type Step } from "./phase.ts";
import { createPlanner, type Held, holdsNothing } from "./planner.ts";
import { portsInWait } from "./ports.ts";
import { isSpared, moreUrgent, NO_OLD_WORKERS, type OldWorkers, type Pace } from "./reload.ts";
import { render, renderShape, shapeChange } from "./render.ts";
import type { RenderOptions } from "./render-options.ts";
import { ownerOf } from "./slot-owner.ts";
import { trimmed } from "./trim.ts";
import type { Processes } from "./verify.ts";

const ALIVE_EVERY_MS = 100;
const DRAIN_EVERY_MS = 250;
const VERIFY_EVERY_MS = 10_000;
const SETTLE_MS = 20;
/** Looking at all of it takes a part of the time that is at most one in so many. */
const LOOK_SHARE = 50;

export interface ConvergeOptions {
  haproxy: Haproxy;
  render: RenderOptions;
  stateDir: string;
  /** Capacity at the first start. */
  backends: number;
  slots: number;
  log: Log;
  verifyEveryMs?: number;
  pace?: Pace;
}

export type RouterState = Omit<RouterReport, "address" | "localAddresses">;

export interface Converger {
  /** Takes over the HAProxy that runs, or starts one with what was served last. Throws when it cannot listen. */
  begin(): Promise<void>;
  /** False when the target is from an older term or generation than the one held. */
  accept(target: RouterTarget): boolean;
  run(signal: AbortSignal): Promise<void>;
  state(): RouterState;
  /** The newest target held, served already or not; term 0 when there is none yet. */
  target(): RouterTarget;
  /** Resolves at the next change of what `state()` says. */
  changed(): Promise<void>;
  jobOf: JobOf;
  /** What was done so far, for as much as there was to do. */
  work(): ConvergerWork;
}

export interface ConvergerWork {
  /** Pools that were given slots. */
  pools: number;
  /** Backends compared with what runs, and commands run. */
  backends: number;
  commands: number;
  /** Rows of targets and assignments, and certificates, that were written to disk. */
  rowsKept: number;
  certificatesWritten: number;
  certificatesParsed: number;
}

const EMPTY: RouterTarget = { term: 0, generation: 0, clusterRange: "", peers: [], pools: [], routes: [] };
const NO_PORTS: ReadonlySet<number> = new Set();

export function createConverger(options: ConvergeOptions): Converger {
  const { haproxy, stateDir, backends, slots, log, verifyEveryMs = VERIFY_EVERY_MS, pace } = options;
  const { directory, httpPort, httpsPort } = options.render;
  const keeper = createKeeper(stateDir, EMPTY);
  const disk = createDisk(haproxy, keeper, options.render);
  let state = FIRST;
  let target = EMPTY;
  let held: Held = holdsNothing();
  let haproxyPid: number | undefined;
  let draining: RouterState["draining"] = [];

  const listening = (): ReadonlySet<number> => (state.phase === "down" ? NO_PORTS : equaliser.listening());
  const planner = createPlanner({ httpPort, httpsPort, backends, slots, isFree: haproxy.isFree, listening });
  const equaliser = createEqualiser<Held>({
    haproxy,
    directory,
    log,
    reject(wanted, file, certificate, why) {
      log.error({ why, certificate: certificate.id }, "certificate not taken");
      return planner.reject(wanted, file, why);
    },
    store: (wanted) => disk.keep(target, wanted),
  });
  const clock = () => ({ nowMs: performance.now(), pace });
  const shape = () => renderShape(held.assignment, options.render);

  /** Room nobody uses goes when HAProxy reads its configuration anew anyway. */
  const trim = () => {
    const ports = new Set(sparePorts(target, held.assignment, { isWithoutGone: true }));
    held = { ...held, assignment: trimmed(held.assignment, { backends, slots, ports }) };
  };

  const start = async (): Promise<Happening> => {
    const startedAtMs = performance.now();
    equaliser.forget();
    const { backends: kept } = held.assignment; // every port is looked at anew
    held = await planner.plan(target, { backends: kept }, new Map());
    const whole = held;
    trim();
    await disk.keepAll(target, held).catch(async (error: unknown) => {
      if (!isFullDisk(error)) throw error;
      held = whole; // as it is on disk already
      await disk.keepAll(target, held);
    });
    await haproxy.start(shape()).catch(async (error: unknown) => {
      if (held.certificates.size === 0) throw error;
      // One certificate that OpenSSL does not take would keep all the rest from being served: each is tried by itself.
      log.error({ err: error }, "haproxy does not start, it is tried without certificates");
      await haproxy.write(render({ ...held, certificates: new Map() }, options.render));
      await haproxy.start(shape());
    });
    haproxyPid = (await haproxy.processes()).master;
    log.info({ haproxyPid, tookMs: Math.round(performance.now() - startedAtMs) }, "haproxy started");
    return { kind: "started" };
  };

  const lookEveryMs = () => Math.max(verifyEveryMs, equaliser.lookTookMs() * LOOK_SHARE);
  const equalise = async (goal: RouterTarget): Promise<Happening> => {
    const isTargetNew = !keeper.has(goal);
    const sessions = await haproxy.sessions(drainingBackends(held.assignment));
    held = await planner.plan(goal, held.assignment, sessions);
    if (performance.now() - equaliser.lookedAtMs() > lookEveryMs()) equaliser.forget();
    const equal = await equaliser.equalise(held, isTargetNew);
    held = equal.wanted;
    const lacks = moreUrgent(equal.reload, shapeChange(haproxy.loadedShape(), shape()));
    const isLacking = (lacks ?? state.lacks) !== undefined;
    const old = isLacking ? oldWorkers(await haproxy.processes()) : state.old;
    return { kind: "equalised", lacks, old, isProven: equaliser.isProven() };
  };

  const reload = async (): Promise<Happening> => {
    const atMs = performance.now();
    happen({ kind: "reloading", atMs });
    trim();
    await disk.keepAll(target, held);
    await haproxy.reload(shape()).catch((error: unknown) => {
      // A port that somebody took a moment ago would fail every reload: new ones are looked at again first.
      const tcp = held.assignment.tcp?.filter(({ port }) => listening().has(port)) ?? [];
      held = { ...held, assignment: { ...held.assignment, tcp } };
      throw error;
    });
    equaliser.forget();
    log.info({ reloads: state.reloads + 1, tookMs: Math.round(performance.now() - atMs) }, "haproxy reloaded");
    return { kind: "reloaded" };
  };

  /** Counted after the drain and said together with the generation: "served and nothing open" is never said too early. */
  const count = async ({ term, generation }: RouterTarget): Promise<Happening> => {
    const leaving = drainingBackends(held.assignment);
    draining = countDraining(held.assignment, leaving.length > 0 ? await haproxy.sessions(leaving) : new Map());
    return { kind: "counted", goal: { term, generation } };
  };

  const steps: Record<Exclude<Step, "rest">, (goal: RouterTarget) => Promise<Happening>> = {
    start,
    equalise,
    reload,
    count,
    async verify() {
      await equaliser.verify(held, state.lacks);
      return { kind: "verified" };
    },
  };
  const happen = (happening: Happening) => {
    state = after(state, happening);
  };

  const turn = async () => {
    const isRunning = await haproxy.isRunning();
    if (!isRunning) log.error("haproxy ended");
    happen({ kind: isRunning ? "woken" : "ended" });
    const goal = target;
    for (;;) {
      const step = nextStep(state, clock());
      if (step === "rest") return;
      happen(await steps[step](goal));
    }
  };

  const failed = (error: unknown) => {
    const meanwhile = state.phase === "down" ? "HAProxy starts" : "what was served before is served on, what is new";
    const full = `the router's disk is full or read-only (look: df -h ${stateDir}); ${meanwhile} once there is room: `;
    const why = `${isFullDisk(error) ? full : ""}${causeChain(error).join(": ")}`.slice(0, 500);
    happen({ kind: "failed", why });
  };

  /** Ports that wait for a reload which is put off. */
  const waiting = () => {
    const { lacks, old } = state;
    if (lacks === undefined || !isSpared(lacks, old)) return [];
    return portsInWait(held.assignment, { listening: listening(), old, waitMs: reloadInMs(state, clock()) });
  };
  const report = (): RouterState => ({
    ...state.served,
    healthy: state.why === "",
    reason: reasonOf(state, clock()),
    haproxyPid,
    reloads: state.reloads,
    refused: [...waiting(), ...held.refused].slice(0, 100),
    draining,
  });

  let bell = Promise.withResolvers<void>();
  let change = Promise.withResolvers<void>();
  let lastReport = "";
  const announce = () => {
    const text = JSON.stringify(report());
    if (text === lastReport) return;
    lastReport = text;
    change.resolve();
    change = Promise.withResolvers<void>();
  };

  const pause = async (ms: number, signal: AbortSignal) => {
    const untilMs = performance.now() + ms;
    let isWoken = false;
    void bell.promise.then(() => (isWoken = true));
    while (!signal.aborted && !isWoken && performance.now() < untilMs) {
      if (!(await haproxy.isRunning())) return;
      await Promise.race([
        bell.promise,
        sleep(Math.max(1, Math.min(ALIVE_EVERY_MS, untilMs - performance.now())), signal),
      ]);
    }
  };
  /** Until a target comes, HAProxy ends, or there is something to do. */
  const rest = async (signal: AbortSignal) => {
    const { failures, lacks } = state;
    if (failures > 0) return await sleep(failures === 1 ? SETTLE_MS : backoffMs(failures, 50, 2_000), signal);
    const idleMs = draining.length > 0 ? DRAIN_EVERY_MS : verifyEveryMs;
    const reloadMs = lacks === undefined ? idleMs : Math.max(SETTLE_MS, reloadInMs(state, clock()));
    await pause(Math.min(idleMs, reloadMs, disk.dueMs() ?? idleMs), signal);
    if (disk.dueMs() !== 0 || signal.aborted) return;
    await disk.writeDue().catch((error: unknown) => log.error({ err: error }, "haproxy's files were not written"));
  };

  /** Takes over the HAProxy that runs. What that does not know is asked of it at once: it was started by another version, or without HTTPS. */
  const adopt = async (): Promise<boolean> => {
    if (!(await haproxy.adopt())) return false;
    haproxyPid = (await haproxy.processes()).master;
    log.info({ haproxyPid }, "haproxy adopted");
    happen({ kind: "woken" });
    await haproxy.running().catch(async (cause: unknown) => {
      log.info({ err: cause }, "haproxy has another kind of configuration");
      held = await planner.plan(target, held.assignment, new Map());
      happen(await reload());
    });
    return true;
  };

  return {
    state: report,
    target: () => target,
    changed: () => change.promise,

    async begin() {
      const kept = await readKept(stateDir);
      if (kept.target) target = kept.target;
      if (kept.assignment) held = { ...held, assignment: kept.assignment };
      try {
        if (!(await adopt())) happen(await start());
        await turn();
      } catch (error) {
        if (!isFullDisk(error)) throw error;
        failed(error); // HAProxy serves on, if it does; the rest is tried again by run
        log.error({ err: error, reason: state.why }, "the disk is full");
      }
      announce();
    },

    accept(next) {
      const isOlder = next.term < target.term || (next.term === target.term && next.generation < target.generation);
      if (isOlder) return false;
      target = next;
      bell.resolve();
      return true;
    },

    async run(signal) {
      while (!signal.aborted) {
        bell = Promise.withResolvers<void>();
        try {
          await turn();
        } catch (error) {
          equaliser.forget();
          failed(error);
          if (!signal.aborted) log.error({ err: error, failures: state.failures }, "turn failed");
        }
        announce();
        await rest(signal);
      }
    },

    jobOf: (slot) => ownerOf(held.assignment, slot),
    work: () => ({
      pools: planner.placed(),
      ...equaliser.work(),
      rowsKept: keeper.written(),
      certificatesWritten: haproxy.certificates.written(),
      certificatesParsed: planner.parsed(),
    }),
  };
}

const oldWorkers = ({ old, oldest }: Processes): OldWorkers => ({ ...NO_OLD_WORKERS, ...oldest, count: old.length });
