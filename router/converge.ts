// Makes HAProxy equal to the newest target, and keeps it so: one turn at a time, each ending with a comparison of what
// runs with what is wanted. A generation counts as served only after that comparison found no difference.

import type { RouterReport, RouterTarget } from "#api/routes.ts";
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { causeChain } from "#lib/run.ts";
import { sleep } from "#lib/time.ts";
import type { JobOf } from "./access-log.ts";
import { type Assigned, assign } from "./assign.ts";
import type { Assignment } from "./assignment.ts";
import { acceptCertificates, type CertificateFiles, certificateChanges, withoutRejected } from "./certificates.ts";
import { diff, fitTo, newAddresses } from "./diff.ts";
import { countDraining, drainingBackends } from "./draining.ts";
import type { Haproxy } from "./haproxy.ts";
import type { RenderOptions } from "./head.ts";
import { createKeeper, readKept } from "./kept.ts";
import { noMaps } from "./maps.ts";
import { probe } from "./probe.ts";
import { render, renderShape } from "./render.ts";
import { ownerOf } from "./slot-owner.ts";
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

interface Held extends Assigned {
  certificates: CertificateFiles;
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
  jobOf: JobOf;
}

const EMPTY: RouterTarget = { term: 0, generation: 0, clusterRange: "", peers: [], pools: [], routes: [] };

export function createConverger(options: ConvergeOptions): Converger {
  const { haproxy, stateDir, backends, slots, log, verifyEveryMs = VERIFY_EVERY_MS } = options;
  const { directory, httpPort, httpsPort } = options.render;
  const hasHttps = httpsPort !== undefined;
  const ownPorts = new Set<number | undefined>([httpPort, httpsPort]);
  const keeper = createKeeper(stateDir, EMPTY);
  let target = EMPTY;
  let assigned: Held = { assignment: { backends: [] }, maps: noMaps(), certificates: new Map(), refused: [] };
  /** File -> why HAProxy did not take it. */
  const rejected = new Map<string, string>();
  /** What ran when last looked at; undefined when it must be looked at again. */
  let known: Running | undefined;
  /** TCP ports HAProxy was last seen to have. */
  let listening = new Set<number>();
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

  /** Ports asked for that HAProxy does not have yet, and that something else here has: a reload would fail for all. */
  const findBusyPorts = async (): Promise<Set<number>> => {
    const ours = new Set([...listening, ...(assigned.assignment.tcp ?? []).map(({ port }) => port)]);
    const asked = (target.tcp ?? []).map(({ port }) => port).filter((port) => !ours.has(port) && !ownPorts.has(port));
    const busy = new Set<number>();
    for (const port of asked) if (!(await haproxy.isFree(port).catch(() => false))) busy.add(port);
    return busy;
  };

  const nextAssignment = async (sessions: ReadonlyMap<string, number>): Promise<Held> => {
    const busyPorts = await findBusyPorts();
    const next = assign(assigned.assignment, target, {
      isBusy: (slot) => sessions.get(slot) !== 0,
      portProblem: (port) =>
        ownPorts.has(port)
          ? "the router itself listens there"
          : busyPorts.has(port)
            ? "another program on the router's machine has it"
            : undefined,
      backends,
      slots,
    });
    const certificates = hasHttps ? acceptCertificates(target.certificates, next.refused) : new Map();
    for (const file of rejected.keys()) if (!certificates.has(file)) rejected.delete(file);
    return withoutRejected({ ...next, certificates }, rejected);
  };

  /** Loads what is new; what HAProxy does not take is left out from now on. */
  const loadCertificates = async (files: readonly string[]) => {
    for (const file of files) {
      const certificate = assigned.certificates.get(file)!;
      const why = await haproxy.certificates.load(file, certificate);
      if (why === undefined) continue;
      log.error({ why, certificate: certificate.id }, "certificate not taken");
      rejected.set(file, why);
      assigned = withoutRejected(assigned, rejected);
    }
  };

  const store = async () => {
    await haproxy.certificates.write(assigned.certificates);
    await haproxy.write(render(assigned, options.render));
    await keeper.keep(target, assigned.assignment);
  };

  const shape = () => renderShape(assigned.assignment, options.render);

  const start = async () => {
    const startedAtMs = performance.now();
    known = undefined;
    listening = new Set();
    assigned = { ...assigned, assignment: withoutTcp(assigned.assignment) }; // every port is looked at anew
    assigned = await nextAssignment(new Map());
    await store();
    await haproxy.start(shape()).catch(async (error: unknown) => {
      if (assigned.certificates.size === 0) throw error;
      // One certificate that OpenSSL does not take would keep all the rest from being served: each is tried by itself.
      log.error({ err: error }, "haproxy does not start, it is tried without certificates");
      await haproxy.write(render({ ...assigned, certificates: new Map() }, options.render));
      await haproxy.start(shape());
    });
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
    listening = portsOf(now);
    const certificates = certificateChanges(now.certificates, assigned.certificates);
    await loadCertificates(certificates.add);
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
    for (const file of certificates.remove) await haproxy.certificates.unload(file);
    const certificateCount = certificates.add.length + certificates.remove.length;
    if (certificateCount > 0) {
      await haproxy.certificates.sweep(assigned.certificates);
      log.info({ added: certificates.add.length, removed: certificates.remove.length }, "certificates changed");
    }
    if (commands.length === 0 && certificateCount === 0 && !difference.needsReload) known = now;
    if (difference.needsReload || haproxy.loadedShape() !== shape()) mustReload = true;
    return !mustReload;
  };

  const reload = async () => {
    reloadedAtMs = performance.now();
    await haproxy.reload(shape()).catch((error: unknown) => {
      // A port that somebody took a moment ago would fail every reload: new ones are looked at again first.
      const tcp = assigned.assignment.tcp?.filter(({ port }) => listening.has(port)) ?? [];
      assigned = { ...assigned, assignment: { ...assigned.assignment, tcp } };
      throw error;
    });
    mustReload = false;
    known = undefined;
    reloads++;
    log.info({ reloads, tookMs: Math.round(performance.now() - reloadedAtMs) }, "haproxy reloaded");
  };

  /** What runs does not know all that is asked of it: it was started by another version, or without HTTPS. */
  const replaceConfiguration = async (cause: unknown) => {
    log.info({ err: cause }, "haproxy has another kind of configuration");
    assigned = await nextAssignment(new Map());
    await store();
    await reload();
  };

  const verify = async () => {
    const running = await haproxy.running();
    const { commands, needsReload } = diff(running, assigned, {
      directory: options.render.directory,
      reachable: new Set(),
    });
    const { add, remove } = certificateChanges(running.certificates, assigned.certificates);
    if (add.length + remove.length > 0) throw new Error("haproxy has other certificates than it should");
    if (commands.length > 0 || needsReload) {
      mustReload ||= needsReload;
      throw new Error(`haproxy is not as wanted: ${commands.flat().slice(0, 3).join("; ") || "slots are missing"}`);
    }
    known = running;
    verifiedAtMs = performance.now();
  };

  const turn = async () => {
    if (!(await haproxy.isRunning())) {
      log.error("haproxy ended");
      await start();
    }
    const goal = target;
    const isTargetNew = !keeper.has(goal);
    const sessions = await haproxy.sessions(drainingBackends(assigned.assignment));
    assigned = await nextAssignment(sessions);
    if (performance.now() - verifiedAtMs > verifyEveryMs) known = undefined;
    await equalise(isTargetNew);
    if (mustReload && performance.now() - reloadedAtMs >= RELOAD_EVERY_MS) await reload();
    if (!mustReload && known === undefined) await verify();
    const leaving = drainingBackends(assigned.assignment);
    // Counted after the drain and said together with the generation: "served and nothing open" is never said too early.
    draining = countDraining(assigned.assignment, leaving.length > 0 ? await haproxy.sessions(leaving) : new Map());
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
      const kept = await readKept(stateDir);
      if (kept.target) target = kept.target;
      if (kept.assignment) assigned = { ...assigned, assignment: kept.assignment };
      if (await haproxy.adopt()) {
        haproxyPid = (await haproxy.processes()).master;
        log.info({ haproxyPid }, "haproxy adopted");
        await haproxy.running().catch(replaceConfiguration);
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

    jobOf: (slot) => ownerOf(assigned.assignment, slot),
  };
}

function portsOf({ slots }: Running): Set<number> {
  return new Set([...slots.keys()].flatMap((name) => Number(/^tcp_(\d+)\//.exec(name)?.[1] ?? []) || []));
}

const withoutTcp = ({ backends }: Assignment): Assignment => ({ backends });
