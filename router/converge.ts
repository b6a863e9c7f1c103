// Makes HAProxy equal to the newest target, and keeps it so: one turn at a time, each ending with a comparison of what
// runs with what is wanted. A generation counts as served only after that comparison found no difference.
import { join } from "node:path";
import type { RouterReport, RouterTarget } from "#api/routes.ts";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { causeChain } from "#lib/run.ts";
import { sleep } from "#lib/time.ts";
import { type Assigned, type Assignment, assign, backendName, slotName } from "./assign.ts";
import { diff, fitTo, newAddresses } from "./diff.ts";
import type { Haproxy } from "./haproxy.ts";
import { probe } from "./probe.ts";
import { type RenderOptions, render, renderShape } from "./render.ts";
import type { Running } from "./verify.ts";

const ALIVE_EVERY_MS = 100;
const DRAIN_EVERY_MS = 250;
const VERIFY_EVERY_MS = 10_000;
const RELOAD_EVERY_MS = 2_000;
const SETTLE_MS = 20;

export interface ConvergeOptions {
  haproxy: Haproxy;
  render: RenderOptions;
  stateDir: string;
  /** Capacity at the first start. */
  backends: number;
  slots: number;
  log: Log;
  verifyEveryMs?: number;
}

export type RouterState = Omit<RouterReport, "address">;

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
  jobOf(slot: string): { jobId: string; app: string } | undefined;
}

export const TARGET_FILE = "target.json";
export const ASSIGNMENT_FILE = "assignment.json";
const EMPTY: RouterTarget = { term: 0, generation: 0, clusterRange: "", peers: [], pools: [], routes: [] };

export function createConverger(options: ConvergeOptions): Converger {
  const { haproxy, stateDir, backends, slots, log, verifyEveryMs = VERIFY_EVERY_MS } = options;
  const { directory } = options.render;
  let target = EMPTY;
  let storedTarget = EMPTY;
  let assigned: Assigned = { assignment: { backends: [] }, routes: new Map(), refused: [] };
  let storedAssignment = "";
  /** What ran when last looked at; undefined when it must be looked at again. */
  let known: Running | undefined;
  let served = { term: 0, generation: 0 };
  let failure = "not started";
  let reloads = 0;
  let reloadedAtMs = Number.NEGATIVE_INFINITY;
  let verifiedAtMs = 0;
  let mustReload = false;
  let haproxyPid: number | undefined;
  let draining: RouterState["draining"] = [];
  let bell = Promise.withResolvers<void>();
  let change = Promise.withResolvers<void>();
  let lastState = "";

  const state = (): RouterState => ({
    ...served,
    healthy: failure === "",
    reason: failure,
    haproxyPid,
    reloads,
    refused: assigned.refused.slice(0, 100),
    draining,
  });
  const announce = () => {
    const text = JSON.stringify(state());
    if (text === lastState) return;
    lastState = text;
    change.resolve();
    change = Promise.withResolvers<void>();
  };

  const drainingBackends = (assignment: Assignment) =>
    assignment.backends.flatMap((backend, b) =>
      backend.slots.some((slot) => slot && slot.state !== "up") ? [backendName(b)] : [],
    );

  const nextAssignment = (sessions: ReadonlyMap<string, number>): Assigned =>
    assign(assigned.assignment, target, {
      isBusy: (b, s) => sessions.get(`${backendName(b)}/${slotName(s)}`) !== 0,
      backends,
      slots,
    });

  const store = async () => {
    await haproxy.write(render(assigned.assignment, assigned.routes, options.render));
    const text = JSON.stringify(assigned.assignment);
    if (text !== storedAssignment) await writeFileAtomic(join(stateDir, ASSIGNMENT_FILE), text);
    storedAssignment = text;
    if (target !== storedTarget) await writeFileAtomic(join(stateDir, TARGET_FILE), JSON.stringify(target));
    storedTarget = target;
  };

  const shape = () => renderShape(assigned.assignment, options.render);

  const start = async () => {
    const startedAtMs = performance.now();
    known = undefined;
    assigned = nextAssignment(new Map());
    await store();
    await haproxy.start(shape());
    mustReload = false;
    haproxyPid = (await haproxy.processes()).master;
    log.info({ haproxyPid, tookMs: Math.round(performance.now() - startedAtMs) }, "haproxy started");
  };

  /** Runs what is different now; false when something of it needs a reload. */
  const equalise = async (isTargetNew: boolean): Promise<boolean> => {
    const isDriftCheck = known === undefined && !isTargetNew;
    if (known === undefined) verifiedAtMs = performance.now();
    const now = known ?? (await haproxy.running());
    known = undefined;
    const reachable = await probe(newAddresses(now, assigned.assignment));
    const difference = diff(now, assigned, { directory, reachable });
    const { commands } = difference;
    if (isDriftCheck && commands.length > 0) log.warn({ commands: commands.slice(0, 20) }, "haproxy had drifted");
    await haproxy.run(commands).catch((error: unknown) => {
      mustReload = true; // what it did of it is not known: the configuration on disk is
      log.error({ err: error }, "haproxy command failed");
    });
    if (commands.length > 0) {
      const up = [...now.slots.values()].flatMap((slot) => (slot.isUp ? [`${slot.address}:${slot.port}`] : []));
      const accepting = new Set([...reachable, ...up]);
      await haproxy.runOnOld((old) => diff(old, fitTo(old, assigned), { directory, reachable: accepting }).commands);
    }
    await store();
    if (commands.length === 0 && !difference.needsReload) known = now;
    if (difference.needsReload || haproxy.loadedShape() !== shape()) mustReload = true;
    return !mustReload;
  };

  const reload = async () => {
    reloadedAtMs = performance.now();
    await haproxy.reload(shape());
    mustReload = false;
    known = undefined;
    reloads++;
    log.info({ reloads, tookMs: Math.round(performance.now() - reloadedAtMs) }, "haproxy reloaded");
  };

  const verify = async () => {
    const running = await haproxy.running();
    const { commands, needsReload } = diff(running, assigned, {
      directory: options.render.directory,
      reachable: new Set(),
    });
    if (commands.length > 0 || needsReload) {
      mustReload ||= needsReload;
      throw new Error(`haproxy is not as wanted: ${commands.flat().slice(0, 3).join("; ") || "slots are missing"}`);
    }
    known = running;
    verifiedAtMs = performance.now();
  };

  const countDraining = (sessions: ReadonlyMap<string, number>, assignment: Assignment) =>
    assignment.backends.flatMap((backend, b) =>
      backend.slots.flatMap((slot, s) =>
        slot && slot.state !== "up"
          ? [{ jobId: slot.jobId, sessions: sessions.get(`${backendName(b)}/${slotName(s)}`) ?? 0 }]
          : [],
      ),
    );

  const turn = async () => {
    if (!(await haproxy.isRunning())) {
      log.error("haproxy ended");
      await start();
    }
    const goal = target;
    const isTargetNew = goal !== storedTarget;
    const sessions = await haproxy.sessions(drainingBackends(assigned.assignment));
    assigned = nextAssignment(sessions);
    if (performance.now() - verifiedAtMs > verifyEveryMs) known = undefined;
    await equalise(isTargetNew);
    if (mustReload && performance.now() - reloadedAtMs >= RELOAD_EVERY_MS) await reload();
    if (!mustReload && known === undefined) await verify();
    const leaving = drainingBackends(assigned.assignment);
    // Counted after the drain and said together with the generation: "served and nothing open" is never said too early.
    draining = countDraining(leaving.length > 0 ? await haproxy.sessions(leaving) : new Map(), assigned.assignment);
    if (!mustReload) served = { term: goal.term, generation: goal.generation };
    failure = "";
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

  return {
    state,
    target: () => target,
    changed: () => change.promise,

    async begin() {
      const [keptTarget, keptAssignment] = await Promise.all([
        readJson<RouterTarget>(join(stateDir, TARGET_FILE)),
        readJson<Assignment>(join(stateDir, ASSIGNMENT_FILE)),
      ]);
      if (keptTarget) target = keptTarget;
      if (Array.isArray(keptAssignment?.backends)) assigned = { ...assigned, assignment: keptAssignment };
      if (await haproxy.adopt()) {
        haproxyPid = (await haproxy.processes()).master;
        log.info({ haproxyPid }, "haproxy adopted");
      } else await start();
      await turn();
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
          known = undefined;
          failures++;
          failure = causeChain(error).join(": ").slice(0, 500);
          if (!signal.aborted) log.error({ err: error, failures }, "turn failed");
        }
        announce();
        if (failures > 0) await sleep(failures === 1 ? SETTLE_MS : backoffMs(failures, 50, 2_000), signal);
        else if (mustReload)
          await pause(Math.max(SETTLE_MS, RELOAD_EVERY_MS - (performance.now() - reloadedAtMs)), signal);
        else await pause(draining.length > 0 ? DRAIN_EVERY_MS : verifyEveryMs, signal);
      }
    },

    jobOf(slot) {
      const match = /^be_(\d+)\/s(\d+)$/.exec(slot);
      const backend = match ? assigned.assignment.backends[Number(match[1]) - 1] : undefined;
      const job = backend?.slots[Number(match?.[2]) - 1];
      return backend?.pool && job ? { jobId: job.jobId, app: backend.pool.app } : undefined;
    },
  };
}
