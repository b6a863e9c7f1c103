// Orders to boot: something else once, or anew. Each is carried out by looking at what is, and goes on after a restart of control: what an
// order is at stands in the order, and what follows from it is decided by a pure rule.

import { Fault, isFault } from "#api/fault.ts";
import { isEnded } from "#api/jobs.ts";
import type { BootOnceTarget } from "#api/machine-life.ts";
import { isOver, type MachineOrder } from "#api/machine-orders.ts";
import { causeChain } from "#lib/run.ts";
import { createWake } from "#lib/wake.ts";
import type { Context } from "../context.ts";
import type { Idempotent } from "../http/idempotency-key.ts";
import { keys, PREFIX } from "../keys.ts";
import type { MachineOrders } from "../machine-orders/book.ts";
import { type BmcRecord, bmcOf, canCycle } from "../power/bmcs.ts";
import { hardness, staysOff } from "../power/rules.ts";
import type { HostRecord, MachineRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Change } from "../store/store.ts";
import { afterDecision, lifeOf } from "./records.ts";
import { nextOfReprovision, type ReprovisionSeen } from "./reprovision.ts";

export interface MachineVerbs {
  bootOnce(machine: Entry<MachineRecord>, target: BootOnceTarget, by: By & Switching): Promise<MachineOrder>;
  reprovision(machine: Entry<MachineRecord>, by: By): Promise<MachineOrder>;
  /** Carries out what is open until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

export interface By {
  by: string;
  idempotent?: Idempotent;
}

export interface Switching {
  /** By its BMC, at once. */
  now?: boolean;
  /** Whatever runs there. */
  force?: boolean;
}

export interface VerbParts {
  /** No job is on that host, and none is on its way there. */
  isFree: (hostId: string) => boolean;
}

type Detail = Record<string, string | number>;

const TICK_MS = 500;
/** Its own bound comes first, and says more. */
const QUIET_MORE_MS = 5 * 60_000;

export function machineVerbs(context: Context, book: MachineOrders, { isFree }: VerbParts): MachineVerbs {
  const { store, log, config, presence, jobs } = context;
  const hostOf = ({ hostId }: MachineRecord) =>
    hostId === undefined ? undefined : store.get<HostRecord>(keys.host(hostId));
  const approvedOnly = ({ value }: Entry<MachineRecord>): void => {
    if (value.approvedAt === undefined)
      throw new Fault("conflict", `machine ${value.name} is not approved; see: flynn machine approve ${value.name}`);
  };
  /** Its host takes jobs again, unless a person had closed it before. */
  const released = (machine: MachineRecord | undefined, order: Pick<MachineOrder, "detail">): Change[] => {
    const host = machine && hostOf(machine);
    if (host === undefined || order.detail?.["drained"] !== 1) return [];
    const { draining: _, reboot: __, ...value } = host.value;
    return [
      { key: host.key, value: { ...value, cordoned: order.detail["cordonedBefore"] === 1 } satisfies HostRecord },
    ];
  };
  const machineOf = ({ machineId }: Pick<MachineOrder, "machineId">) =>
    store.get<MachineRecord>(keys.machine(machineId));

  /** What it was to be given once is no more to be given. */
  const notGiven = (order: MachineOrder): Change[] => {
    const entry = machineOf(order);
    if (entry?.value.bootOnce?.orderId !== order.id) return [];
    const { bootOnce: _, ...value } = entry.value;
    return [{ key: entry.key, value }];
  };
  const unlessOff = (order: MachineOrder, changes: () => Change[]): Change[] => {
    const why = staysOff(order);
    if (why !== undefined) throw why;
    return changes();
  };
  book.cancelsBy("boot-once", (order) => unlessOff(order, () => notGiven(order)));
  book.cancelsBy("reprovision", (order) => unlessOff(order, () => released(machineOf(order)?.value, order)));

  /** Why its agent cannot be told to reboot; undefined when it can. */
  const deaf = (host: HostRecord | undefined): string | undefined => {
    if (host === undefined) return "it is no host";
    if (host.state !== "ready") return `its host is ${host.state}`;
    if (host.bootId === undefined) return "its host has not said which boot it is";
    const can = presence.members.get(host.id)?.hello?.capabilities.includes("reboot");
    return can ? undefined : "its agent cannot be told to reboot";
  };

  /** By its BMC where it has one that can, else by a person. */
  const byHand = ({ id }: MachineRecord, why: string): { step: string; detail?: Detail } => {
    const bmc = bmcOf(store, id);
    if (!canCycle(bmc)) return { step: `${why}: switch it off and on` };
    return { step: `${why}: its BMC switches it off and on`, detail: { cycle: 1, hard: 1, ...bootOf(bmc) } };
  };

  /** To give it something at its next boot, at once: what its BMC is told, or that somebody has to do it. */
  const switching = (machine: MachineRecord, force: boolean): { step: string; detail?: Detail } => {
    const bmc = bmcOf(store, machine.id);
    if (!canCycle(bmc)) return { step: "nobody knows a BMC of it that could: switch it off and on by hand" };
    const host = hostOf(machine)?.value;
    const hostLives = host !== undefined && host.state !== "lost" && machine.state !== "off";
    const { hard } = hardness({
      action: "cycle",
      force,
      jobs: hostLives ? jobs.onHost(host.id).filter((job) => !isEnded(job)).length : 0,
      hostLives,
      hostName: host?.name ?? machine.name,
      ownSystem: machine.target === "local-disk",
    });
    const detail = { cycle: 1, hard: hard ? 1 : 0, boot: bmc.bootBy ?? "pxe" };
    return { step: "its BMC switches it off and on", detail };
  };

  const clocks = new Map<string, { phase: string; atMs: number }>();
  const sinceMs = ({ id }: MachineOrder, phase: string): number => {
    const known = clocks.get(id);
    const from = known?.phase === phase ? known : { phase, atMs: presence.nowMs() };
    clocks.set(id, from);
    return presence.nowMs() - from.atMs;
  };

  const carryOutOnce = async (order: MachineOrder): Promise<void> => {
    const machine = machineOf(order)?.value;
    if (machine === undefined) return book.end(order, { state: "failed", reason: "the machine was forgotten" });
    if (order.detail?.["cycle"] === 1) return; // its BMC has it; an ISO is taken out of its drive before the end
    if (machine.bootOnce?.orderId !== order.id)
      return book.end(order, { state: "done", reason: `it was given ${order.detail?.["target"]} at a boot` });
    if (order.detail?.["cycled"] !== 1 || sinceMs(order, "cycled") <= config.rolloutBootMs) return;
    const reason =
      "it was switched off and on, and asked the boot server for nothing since; its timeline says how far it came";
    await book.end(order, { state: "failed", reason }, notGiven(order));
  };

  const carryOutAnew = async (order: MachineOrder): Promise<void> => {
    const machine = machineOf(order)?.value;
    if (machine === undefined) return book.end(order, { state: "failed", reason: "the machine was forgotten" });
    const host = hostOf(machine);
    const phase = order.detail?.["phase"] === "drain" ? "drain" : "boot";
    const last = lifeOf(store, machine.id).boots.at(-1);
    const refused = machine.fallback?.reason ?? (last?.refused ? last.seen : undefined);
    const seen: ReprovisionSeen = {
      phase,
      drained: host === undefined || isFree(host.value.id),
      hostLives: host?.value.state === "ready",
      deaf: deaf(host?.value),
      ready: machine.state === "ready" && (host === undefined || host.value.state === "ready"),
      bootedAnew: (machine.joinedBootId ?? "") !== (order.detail?.["endedBootId"] ?? ""),
      imageId: machine.imageId,
      ...(refused === undefined ? {} : { refused }),
      sinceMs: sinceMs(order, `${phase} ${order.detail?.["turn"] ?? 1}`),
      mayCycle: order.detail?.["turn"] === undefined && canCycle(bmcOf(store, machine.id)),
      drainMostMs: config.rolloutDrainMs,
      bootMostMs: config.rolloutBootMs,
    };
    const step = nextOfReprovision(seen);
    if (step.type === "wait") return;
    if (step.type === "end")
      return book.end(order, { state: step.state, reason: step.reason }, released(machine, order));
    const change: Change[] =
      step.type === "reboot" && host !== undefined
        ? [
            {
              key: host.key,
              value: { ...host.value, reboot: { orderId: order.id, bootId: host.value.bootId! } } satisfies HostRecord,
            },
          ]
        : [];
    const hand = step.type === "by-hand" || step.type === "cycle" ? byHand(machine, step.words) : { step: step.words };
    if (step.type === "cycle") hand.detail = { ...hand.detail, turn: 2, seenOff: 0, cuts: 0 };
    await book.step(order, { step: hand.step, detail: { phase: "boot", ...hand.detail } }, change);
  };

  return {
    async bootOnce(entry, target, { by, idempotent, now: isNow = false, force = false }) {
      approvedOnly(entry);
      const { value } = entry;
      const how = isNow ? switching(value, force) : undefined;
      return book.open({
        machine: value,
        kind: "boot-once",
        actor: by,
        step: `its next network boot is given ${target}${how === undefined ? "" : `; ${how.step}`}`,
        detail: { target, ...how?.detail },
        ...(how?.detail === undefined ? {} : { quietMs: config.rolloutBootMs + QUIET_MORE_MS }),
        ...(idempotent ? { idempotent } : {}),
        also: (orderId) => ({
          expect: [{ key: entry.key, version: entry.version }],
          mutations: [{ key: entry.key, value: { ...value, bootOnce: { orderId, target } } satisfies MachineRecord }],
        }),
      });
    },
    async reprovision(entry, { by, idempotent }) {
      approvedOnly(entry);
      const { value } = entry;
      if (value.target !== "boot")
        throw new Fault(
          "conflict",
          `the next boot of machine ${value.name} is ${value.target}; make it boot its image first`,
        );
      const host = hostOf(value);
      const why = deaf(host?.value);
      const drains = host?.value.state === "ready" ? host : undefined;
      const hand = drains ? undefined : byHand(value, why ?? "it is no host");
      const { machine, changes } = afterDecision(store, value);
      return book.open({
        machine: value,
        kind: "reprovision",
        actor: by,
        step: hand?.step ?? `jobs of host ${drains?.value.name} move elsewhere`,
        detail: {
          phase: drains ? "drain" : "boot",
          ...(value.joinedBootId === undefined ? {} : { endedBootId: value.joinedBootId }),
          ...(drains ? { drained: 1, cordonedBefore: drains.value.cordoned ? 1 : 0 } : {}),
          ...hand?.detail,
        },
        quietMs: config.rolloutDrainMs + config.rolloutBootMs,
        ...(idempotent ? { idempotent } : {}),
        also: () => ({
          expect: [entry, ...(drains ? [drains] : [])].map(({ key, version }) => ({ key, version })),
          mutations: [
            { key: entry.key, value: machine },
            ...changes,
            ...(drains
              ? [{ key: drains.key, value: { ...drains.value, cordoned: true, draining: true as const } }]
              : []),
          ],
        }),
      });
    },
    async run(signal) {
      const woken = createWake();
      const stop = store.onDurable(({ mutations }) => {
        if (mutations.some(({ key }) => WAKES.some((prefix) => key.startsWith(prefix)))) woken.ring();
      });
      try {
        while (!signal.aborted) {
          const open = book.allOpen();
          for (const id of clocks.keys()) if (!open.some((order) => order.id === id)) clocks.delete(id);
          for (const { machineId, id } of open) {
            const order = book.get(machineId, id); // as it is now: others were written meanwhile
            if (order === undefined || isOver(order)) continue;
            try {
              if (order.kind === "boot-once") await carryOutOnce(order);
              if (order.kind === "reprovision") await carryOutAnew(order);
            } catch (error) {
              if (store.ended) throw error;
              if (!isFault(error, "precondition"))
                log.error({ order: order.id, causes: causeChain(error) }, "an order did not go on, it is tried again");
            }
          }
          await woken.wait(TICK_MS, signal);
        }
      } finally {
        stop();
      }
    },
  };
}

const bootOf = ({ bootBy }: BmcRecord): Detail => (bootBy === undefined ? {} : { boot: bootBy });

const WAKES = [PREFIX.machineOrders, PREFIX.machines, PREFIX.machineLives, PREFIX.hosts];
