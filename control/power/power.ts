// Power orders and questions to BMCs on their way to a boot server and back. One boot server has an order for as long as it is there, so
// that two never switch one machine; questions and consoles are in memory alone.

import type { BmcAsk, BmcWork, ConsoleWork, OrderReport } from "#api/bmc-work.ts";
import { Fault } from "#api/fault.ts";
import type { MachineOrder } from "#api/machine-orders.ts";
import type { BmcCode, BmcLook, PowerState } from "#api/power.ts";
import { newId } from "#lib/ids.ts";
import type { Context } from "../context.ts";
import { keys } from "../keys.ts";
import type { MachineOrders } from "../machine-orders/book.ts";
import type { MachineRecord } from "../records.ts";
import type { Change } from "../store/store.ts";
import { accessOf, bmcOf } from "./bmcs.ts";
import { actionOf, machineAfterPower, workOf } from "./rules.ts";

/** A boot server asks a BMC for a little less. */
export const ASK_MS = 80_000;
const ASKS_MOST = 64;

export interface AskReply {
  ok: boolean;
  message: string;
  code?: BmcCode;
  power?: PowerState;
  pinSha256?: string;
  text?: string;
  since?: string;
}

interface PendingAsk {
  id: string;
  kind: BmcAsk["kind"];
  machineId: string;
  bootServerId: string;
  reply: Promise<AskReply>;
  resolve: (reply: AskReply) => void;
}

interface PendingConsole extends Pick<ConsoleWork, "session" | "machineId" | "ticket"> {
  bootServerId: string;
}

export interface Power {
  work(bootServerId: string): BmcWork;
  /** It follows its work until the returned function is called; `wake` is called when that may have changed. */
  follows(bootServerId: string, wake: () => void): () => void;
  /** The boot server that saw these machines last is the one on their network. */
  saw(bootServerId: string, machineIds: readonly string[]): void;
  /** The one that has this machine's orders; undefined while none is there. */
  serverOf(machineId: string): string | undefined;
  report(bootServerId: string, orderId: string, report: OrderReport): Promise<void>;
  /** Asks a machine's BMC by its boot server. Faults: `unavailable` without one, `timeout`. */
  ask(machineId: string, kind: BmcAsk["kind"], signal: AbortSignal): Promise<AskReply>;
  answer(bootServerId: string, askId: string, reply: AskReply): void;
  lastLook(machineId: string): BmcLook | undefined;
  setLook(machineId: string, look: BmcLook | undefined): void;
  openConsole(machineId: string, ticket: (session: string) => string): { session: string; close: () => void };
}

export function power(context: Context, orders: MachineOrders): Power {
  const { store, secrets, now } = context;
  const followers = new Map<string, Set<() => void>>();
  const sawLast = new Map<string, string>();
  const assigned = new Map<string, string>();
  const asks = new Map<string, PendingAsk>();
  const consoles = new Map<string, PendingConsole>();
  const looks = new Map<string, BmcLook>();

  const serverOf = (machineId: string): string | undefined => {
    const before = assigned.get(machineId);
    if (before !== undefined && followers.has(before)) return before;
    const saw = sawLast.get(machineId);
    const next = saw !== undefined && followers.has(saw) ? saw : [...followers.keys()].sort()[0];
    if (next !== undefined) assigned.set(machineId, next);
    return next;
  };
  const wakeAll = (): void => {
    for (const wakes of followers.values()) for (const wake of wakes) wake();
  };
  const machineOf = (id: string): MachineRecord | undefined => store.get<MachineRecord>(keys.machine(id))?.value;
  const accessTo = (machineId: string) => {
    const [record, machine] = [bmcOf(store, machineId), machineOf(machineId)];
    return record && machine && accessOf(secrets, record, machine);
  };
  /** What a boot server is told of one machine; what cannot be opened holds up no other. */
  const within = <T>(make: () => T | undefined): T[] => {
    try {
      return [make()].flatMap((one) => one ?? []);
    } catch (error) {
      context.log.error({ err: error }, "work with a BMC is not passed on");
      return [];
    }
  };
  /** Its orders get to another machine's boot server once nothing of it is open any more. */
  const letGo = (): void => {
    const open = new Set(orders.allOpen().map(({ machineId }) => machineId));
    for (const each of [...asks.values(), ...consoles.values()]) open.add(each.machineId);
    for (const machineId of assigned.keys()) if (!open.has(machineId)) assigned.delete(machineId);
  };

  return {
    serverOf,
    work(bootServerId) {
      letGo();
      const mine = (machineId: string) => serverOf(machineId) === bootServerId;
      return {
        term: store.term,
        orders: orders.allOpen().flatMap((order) =>
          actionOf(order) === undefined || !mine(order.machineId)
            ? []
            : within(() => {
                const bmc = accessTo(order.machineId);
                return bmc && workOf(order, bmc);
              }),
        ),
        asks: [...asks.values()].flatMap(({ id, kind, machineId, bootServerId: server }) =>
          server !== bootServerId
            ? []
            : within(() => {
                const bmc = accessTo(machineId);
                return bmc && { id, kind, machineId, bmc };
              }),
        ),
        consoles: [...consoles.values()].flatMap(({ bootServerId: server, ...one }) =>
          server !== bootServerId
            ? []
            : within(() => {
                const bmc = accessTo(one.machineId);
                return bmc && { ...one, bmc };
              }),
        ),
      };
    },
    follows(bootServerId, wake) {
      const there = followers.get(bootServerId) ?? new Set();
      followers.set(bootServerId, there.add(wake));
      return () => {
        there.delete(wake);
        if (there.size > 0) return;
        if (followers.get(bootServerId) === there) followers.delete(bootServerId);
        for (const ask of asks.values())
          if (ask.bootServerId === bootServerId)
            ask.resolve({ ok: false, message: "its boot server went away", code: "bmc-unreachable" });
        wakeAll(); // its orders are another's now
      };
    },
    saw(bootServerId, machineIds) {
      for (const id of machineIds) {
        sawLast.delete(id);
        sawLast.set(id, bootServerId);
      }
      while (sawLast.size > 10_000) sawLast.delete(sawLast.keys().next().value!);
    },
    async report(bootServerId, orderId, { step, percent, power: state, seenOff, cuts, begins, end }) {
      const order = orders.allOpen().find(({ id }) => id === orderId);
      if (order === undefined || actionOf(order) === undefined) {
        if (begins) throw new Fault("conflict", `order ${orderId} is over: nothing is to be switched for it`);
        return; // what comes late does no harm
      }
      if (serverOf(order.machineId) !== bootServerId)
        throw new Fault("forbidden", `order ${orderId} is carried out by another boot server`);
      const also = state === undefined ? [] : powerChanges(order, state);
      if (end === undefined) {
        const detail = { ...(cuts ? { cuts: 1 } : {}), ...(seenOff ? { seenOff: 1 } : {}) };
        await orders.step(order, { step, percent, ...(cuts || seenOff ? { detail } : {}) }, also);
        return;
      }
      const { state: ended, reason, code } = end;
      if (order.kind === "reprovision") {
        const words = ended === "done" ? "switched off and on" : `${reason}: switch it off and on`;
        await orders.step(order, { step: words, detail: { cycle: 0 } }, also);
        return;
      }
      if (order.kind === "boot-once" && ended === "done") {
        const words = `switched off and on; waits until it is given ${order.detail?.["target"]}`;
        await orders.step(order, { step: words, detail: { cycle: 0, cycled: 1 } }, also);
        return;
      }
      if (order.kind === "boot-once") also.push(...notGivenAnyMore(order, also));
      await orders.end(order, { state: ended, reason, ...(code === undefined ? {} : { detail: { code } }) }, also);
    },
    async ask(machineId, kind, signal) {
      const bootServerId = serverOf(machineId);
      if (bootServerId === undefined)
        throw new Fault("unavailable", "no boot server is there that could ask its BMC; `flynn status` shows them");
      if (asks.size >= ASKS_MOST) throw new Fault("rate-limited", "too many BMCs are being asked at once");
      const { promise: reply, resolve } = Promise.withResolvers<AskReply>();
      const id = newId("ask");
      asks.set(id, { id, kind, machineId, bootServerId, reply, resolve });
      const late = setTimeout(
        () => resolve({ ok: false, message: "its boot server did not answer in time", code: "bmc-timeout" }),
        ASK_MS,
      );
      const onAbort = () => resolve({ ok: false, message: "nobody waits for it any more" });
      signal.addEventListener("abort", onAbort, { once: true });
      wakeAll();
      try {
        return await reply;
      } finally {
        clearTimeout(late);
        signal.removeEventListener("abort", onAbort);
        asks.delete(id);
        wakeAll();
      }
    },
    answer(bootServerId, askId, reply) {
      const ask = asks.get(askId);
      if (ask?.bootServerId === bootServerId) ask.resolve(reply);
    },
    lastLook: (machineId) => looks.get(machineId),
    setLook(machineId, look) {
      looks.delete(machineId);
      if (look !== undefined) looks.set(machineId, look);
      while (looks.size > 5_000) looks.delete(looks.keys().next().value!);
    },
    openConsole(machineId, ticketFor) {
      const bootServerId = serverOf(machineId);
      if (bootServerId === undefined)
        throw new Fault(
          "unavailable",
          "no boot server is there that could open its console; `flynn status` shows them",
        );
      const session = newId("cs");
      consoles.set(session, { session, machineId, bootServerId, ticket: ticketFor(session) });
      wakeAll();
      return {
        session,
        close() {
          consoles.delete(session);
          wakeAll();
        },
      };
    },
  };

  /** What it was to be given once is no more to be given. */
  function notGivenAnyMore(order: MachineOrder, also: Change[]): Change[] {
    const key = keys.machine(order.machineId);
    const at = also.findIndex((change) => change.key === key);
    const machine = at === -1 ? machineOf(order.machineId) : (also.splice(at, 1)[0]!.value as MachineRecord);
    if (machine === undefined) return [];
    const { bootOnce, ...value } = machine;
    return [{ key, value: bootOnce?.orderId === order.id ? value : machine }];
  }

  function powerChanges(order: MachineOrder, state: PowerState): Change[] {
    const machine = machineOf(order.machineId);
    if (machine === undefined) return [];
    const next = machineAfterPower(machine, {
      power: state,
      at: now().toISOString(),
      ordered: { by: order.orderedBy },
    });
    return next === machine ? [] : [{ key: keys.machine(machine.id), value: next }];
  }
}
