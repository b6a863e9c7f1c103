// Makes HAProxy equal to the newest target, and keeps it so: one turn at a time, each ending with a comparison of what
// runs with what is wanted. A generation counts as served only after that comparison found no difference.

import type { RouterReport, RouterTarget } from "#api/routes.ts";
import { isFullDisk } from "#lib/full-disk.ts";
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { causeChain } from "#lib/run.ts";
import { sleep } from "#lib/time.ts";
import type { JobOf } from "./access-log.ts";
import { type Assigned, assignment, newMemo, sparePorts } from "./assign.ts";
import type { Assignment } from "./assignment.ts";
import { type CertificateFiles, certificateReader, withoutRejected } from "./certificates.ts";
import { createDisk } from "./disk.ts";
import { countDraining, drainingBackends } from "./draining.ts";
import { createEqualiser } from "./equal.ts";
import type { Haproxy } from "./haproxy.ts";
import { createKeeper, readKept } from "./kept.ts";
import { noMaps } from "./maps.ts";
import { findBusyPorts, portProblem, portsInWait } from "./ports.ts";
import {
  isFull,
  isSpared,
  moreUrgent,
  NO_OLD_WORKERS,
  type OldWorkers,
  type Pace,
  type ReloadReason,
  reloadWaitMs,
  waitReason,
} from "./reload.ts";
import { render, renderShape, shapeChange } from "./render.ts";
import type { RenderOptions } from "./render-options.ts";
import { inSlices } from "./slices.ts";
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

interface Held extends Assigned {
  certificates: CertificateFiles;
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

const NO_FILES: CertificateFiles = new Map();
const EMPTY: RouterTarget = { term: 0, generation: 0, clusterRange: "", peers: [], pools: [], routes: [] };

export function createConverger(options: ConvergeOptions): Converger {
  const { haproxy, stateDir, backends, slots, log, verifyEveryMs = VERIFY_EVERY_MS, pace } = options;
  const { directory, httpPort, httpsPort } = options.render;
  const hasHttps = httpsPort !== undefined;
  const ownPorts = new Set<number | undefined>([httpPort, httpsPort]);
  const reader = certificateReader();
  const keeper = createKeeper(stateDir, EMPTY);
  const disk = createDisk(haproxy, keeper, options.render);
  const memo = newMemo();
  let target = EMPTY;
  let assigned: Held = { assignment: { backends: [] }, maps: noMaps(), certificates: new Map(), refused: [] };
  /** File -> why HAProxy did not take it. */
  const rejected = new Map<string, string>();
  const equaliser = createEqualiser<Held>({
    haproxy,
    directory,
    log,
    reject(wanted, file, certificate, why) {
      log.error({ why, certificate: certificate.id }, "certificate not taken");
      rejected.set(file, why);
      return withoutRejected(wanted, rejected);
    },
    store: (wanted) => disk.keep(target, wanted),
  });
  let served = { term: 0, generation: 0 };
  let failure = "not started";
  let reloads = 0;
  let reloadedAtMs = Number.NEGATIVE_INFINITY;
  /** What runs lacks something that only a reload brings. */
  let reloadFor: ReloadReason | undefined;
  let old: OldWorkers = NO_OLD_WORKERS;
  let haproxyPid: number | undefined;
  let draining: RouterState["draining"] = [];
  let bell = Promise.withResolvers<void>();
  let change = Promise.withResolvers<void>();
  let lastState = "";

  const state = (): RouterState => ({
    ...served,
    healthy: failure === "",
    reason: failure || reloadAwaited(),
    haproxyPid,
    reloads,
    refused: [...waiting(), ...assigned.refused].slice(0, 100),
    draining,
  });
  const announce = () => {
    const text = JSON.stringify(state());
    if (text === lastState) return;
    lastState = text;
    change.resolve();
    change = Promise.withResolvers<void>();
  };

  const untilReloadMs = (reason: ReloadReason) =>
    reloadWaitMs({ reason, old, pace, sinceReloadMs: performance.now() - reloadedAtMs });

  const waiting = () => {
    if (reloadFor === undefined || !isSpared(reloadFor, old)) return [];
    const waitMs = untilReloadMs(reloadFor);
    return portsInWait(assigned.assignment, { listening: listening(), old, waitMs });
  };
  /** Said while it takes long. */
  const reloadAwaited = () => {
    if (reloadFor === undefined || !(isFull(old) || isSpared(reloadFor, old))) return "";
    const what = reloadFor === "all" ? "what is new is served" : "TCP ports change";
    return waitReason(what, old, untilReloadMs(reloadFor));
  };
  /** None while HAProxy does not run. */
  let isDown = false;
  const listening = (): ReadonlySet<number> => (isDown ? new Set() : equaliser.listening());

  const nextAssignment = async (sessions: ReadonlyMap<string, number>): Promise<Held> => {
    const goal = target;
    const { assignment: current } = assigned;
    const { isFree } = haproxy;
    const ports = { target: goal, assignment: current, listening: listening(), own: ownPorts, isFree };
    const busyPorts = await findBusyPorts(ports);
    const rule = assignment(current, goal, {
      isBusy: (slot) => sessions.get(slot) !== 0,
      portProblem: (port) => portProblem(port, ownPorts, busyPorts),
      backends,
      slots,
      memo,
    });
    const next = await inSlices(rule);
    const certificates = hasHttps ? await inSlices(reader.accept(goal.certificates, next.refused)) : NO_FILES;
    for (const file of rejected.keys()) if (!certificates.has(file)) rejected.delete(file);
    return withoutRejected({ ...next, certificates }, rejected);
  };

  const shape = () => renderShape(assigned.assignment, options.render);

  const start = async () => {
    const startedAtMs = performance.now();
    equaliser.forget();
    isDown = true;
    assigned = { ...assigned, assignment: withoutTcp(assigned.assignment) }; // every port is looked at anew
    assigned = await nextAssignment(new Map());
    const whole = assigned;
    trim();
    await disk.keepAll(target, assigned).catch(async (error: unknown) => {
      if (!isFullDisk(error)) throw error;
      assigned = whole; // as it is on disk already
      await disk.keepAll(target, assigned);
    });
    await haproxy.start(shape()).catch(async (error: unknown) => {
      if (assigned.certificates.size === 0) throw error;
      // One certificate that OpenSSL does not take would keep all the rest from being served: each is tried by itself.
      log.error({ err: error }, "haproxy does not start, it is tried without certificates");
      await haproxy.write(render({ ...assigned, certificates: new Map() }, options.render));
      await haproxy.start(shape());
    });
    isDown = false;
    reloadFor = undefined;
    haproxyPid = (await haproxy.processes()).master;
    log.info({ haproxyPid, tookMs: Math.round(performance.now() - startedAtMs) }, "haproxy started");
  };

  /** Room nobody uses goes when HAProxy reads its configuration anew anyway. */
  const trim = () => {
    const ports = new Set(sparePorts(target, assigned.assignment, { isWithoutGone: true }));
    assigned = { ...assigned, assignment: trimmed(assigned.assignment, { backends, slots, ports }) };
  };

  const reload = async () => {
    reloadedAtMs = performance.now();
    trim();
    await disk.keepAll(target, assigned);
    await haproxy.reload(shape()).catch((error: unknown) => {
      // A port that somebody took a moment ago would fail every reload: new ones are looked at again first.
      const tcp = assigned.assignment.tcp?.filter(({ port }) => listening().has(port)) ?? [];
      assigned = { ...assigned, assignment: { ...assigned.assignment, tcp } };
      throw error;
    });
    reloadFor = undefined;
    equaliser.forget();
    reloads++;
    log.info({ reloads, tookMs: Math.round(performance.now() - reloadedAtMs) }, "haproxy reloaded");
  };

  /** What runs does not know all that is asked of it: it was started by another version, or without HTTPS. */
  const replaceConfiguration = async (cause: unknown) => {
    log.info({ err: cause }, "haproxy has another kind of configuration");
    assigned = await nextAssignment(new Map());
    await reload();
  };

  const lookEveryMs = () => Math.max(verifyEveryMs, equaliser.lookTookMs() * LOOK_SHARE);

  const turn = async () => {
    if (!(await haproxy.isRunning())) {
      log.error("haproxy ended");
      await start();
    }
    const goal = target;
    const isTargetNew = !keeper.has(goal);
    const sessions = await haproxy.sessions(drainingBackends(assigned.assignment));
    assigned = await nextAssignment(sessions);
    if (performance.now() - equaliser.lookedAtMs() > lookEveryMs()) equaliser.forget();
    const equal = await equaliser.equalise(assigned, isTargetNew);
    assigned = equal.wanted;
    reloadFor = moreUrgent(reloadFor, moreUrgent(equal.reload, shapeChange(haproxy.loadedShape(), shape())));
    if (reloadFor !== undefined) old = oldWorkers(await haproxy.processes());
    if (reloadFor !== undefined && untilReloadMs(reloadFor) === 0) await reload();
    const isWaitedFor = reloadFor !== undefined && !isSpared(reloadFor, old);
    if (!isWaitedFor && !equaliser.isProven()) await equaliser.verify(assigned, reloadFor);
    const leaving = drainingBackends(assigned.assignment);
    // Counted after the drain and said together with the generation: "served and nothing open" is never said too early.
    draining = countDraining(assigned.assignment, leaving.length > 0 ? await haproxy.sessions(leaving) : new Map());
    if (!isWaitedFor) served = { term: goal.term, generation: goal.generation };
    failure = "";
  };

  const failed = (error: unknown) => {
    const why = causeChain(error).join(": ");
    const meanwhile = isDown ? "HAProxy starts" : "what was served before is served on, what is new";
    const full = `the router's disk is full or read-only (look: df -h ${stateDir}); ${meanwhile} once there is room: `;
    failure = `${isFullDisk(error) ? full : ""}${why}`.slice(0, 500);
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

  const writeDue = () =>
    disk.writeDue().catch((error: unknown) => log.error({ err: error }, "haproxy's files were not written"));

  return {
    state,
    target: () => target,
    changed: () => change.promise,

    async begin() {
      const kept = await readKept(stateDir);
      if (kept.target) target = kept.target;
      if (kept.assignment) assigned = { ...assigned, assignment: kept.assignment };
      try {
        if (await haproxy.adopt()) {
          haproxyPid = (await haproxy.processes()).master;
          log.info({ haproxyPid }, "haproxy adopted");
          await haproxy.running().catch(replaceConfiguration);
        } else await start();
        await turn();
      } catch (error) {
        if (!isFullDisk(error)) throw error;
        failed(error); // HAProxy serves on, if it does; the rest is tried again by run
        log.error({ err: error, reason: failure }, "the disk is full");
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
      for (let failures = 0; !signal.aborted; ) {
        bell = Promise.withResolvers<void>();
        try {
          await turn();
          failures = 0;
        } catch (error) {
          equaliser.forget();
          failures++;
          failed(error);
          if (!signal.aborted) log.error({ err: error, failures }, "turn failed");
        }
        announce();
        if (failures > 0) await sleep(failures === 1 ? SETTLE_MS : backoffMs(failures, 50, 2_000), signal);
        else {
          const idleMs = draining.length > 0 ? DRAIN_EVERY_MS : verifyEveryMs;
          const dueMs = disk.dueMs() ?? idleMs;
          const reloadMs = reloadFor === undefined ? idleMs : Math.max(SETTLE_MS, untilReloadMs(reloadFor));
          await pause(Math.min(idleMs, reloadMs, dueMs), signal);
          if (disk.dueMs() === 0 && !signal.aborted) await writeDue();
        }
      }
    },

    jobOf: (slot) => ownerOf(assigned.assignment, slot),
    work: () => ({
      pools: memo.placed,
      ...equaliser.work(),
      rowsKept: keeper.written(),
      certificatesWritten: haproxy.certificates.written(),
      certificatesParsed: reader.parsed(),
    }),
  };
}

const oldWorkers = ({ old, oldest }: Processes): OldWorkers => ({ ...NO_OLD_WORKERS, ...oldest, count: old.length });

const withoutTcp = ({ backends }: Assignment): Assignment => ({ backends });
