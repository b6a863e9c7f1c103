// The one place where orders to machines are opened, go on and end. Each change is one commit with its words on the machine's timeline.
// Whoever carries a kind out registers how it is taken back; nothing here knows how an order is carried out.

import { Fault } from "#api/fault.ts";
import { isOver, type MachineOrder, type MachineOrderKind } from "#api/machine-orders.ts";
import type { Context } from "../context.ts";
import { eventChanges, type NewTimelineEvent, timelineChanges } from "../events.ts";
import type { Idempotent } from "../http/idempotency-key.ts";
import { keys } from "../keys.ts";
import type { MachineRecord } from "../records.ts";
import { refuseUnderRollout } from "../rollouts/record.ts";
import type { Entry } from "../store/entry.ts";
import type { Change } from "../store/store.ts";
import { watchQuiet } from "./quiet.ts";
import {
  afterEnd,
  afterStep,
  type MachineOrderRecord,
  type OrderEnd,
  type OrderStep,
  openedOrder,
  openOrderOf,
  openOrders,
  ordersOf,
  ordersToTrim,
  shownOrder,
} from "./record.ts";

interface Also {
  mutations: readonly Change[];
  expect?: readonly { key: string; version: number }[];
}

export interface NewOrder {
  machine: MachineRecord;
  kind: MachineOrderKind;
  /** Who ordered it. */
  actor: string;
  /** The first step, such as `waits for the boot server`. */
  step: string;
  detail?: Record<string, string | number>;
  /** Once running it fails after so long without a step; five minutes unless given. */
  quietMs?: number;
  idempotent?: Idempotent;
  /** What is changed in the same commit, and the versions it counts on; of the order's id, if that is asked. */
  also?: Also | ((orderId: string) => Also);
}

/** What an open order of a kind needs to be taken back: changes of the same commit, or a Fault why it cannot be. */
export type Cancelling = (order: MachineOrder) => Change[];

export interface MachineOrders {
  /** Throws `conflict` while another order of the machine is open, or a rollout boots it anew, in words that name it. */
  open(order: NewOrder): Promise<MachineOrder>;
  /** A step of an open one. Of one that is over nothing changes, so that what comes late does no harm. */
  step(id: { machineId: string; id: string }, step: OrderStep, also?: readonly Change[]): Promise<void>;
  /** The first end stands. */
  end(id: { machineId: string; id: string }, end: OrderEnd, also?: readonly Change[]): Promise<void>;
  cancel(machine: MachineRecord, orderId: string, actor: string): Promise<MachineOrder>;
  get(machineId: string, id: string): MachineOrder | undefined;
  /** The newest first. */
  of(machineId: string): MachineOrder[];
  openOf(machineId: string): MachineOrder | undefined;
  allOpen(): MachineOrder[];
  /** How orders of a kind that run are taken back. Without one only those that wait are. */
  cancelsBy(kind: MachineOrderKind, cancelling: Cancelling): void;
  /** Ends what is silent for too long. Runs until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

const WORDS: Record<MachineOrderKind, string> = {
  "power-on": "switch it on",
  "power-off": "switch it off",
  "power-cycle": "switch it off and on",
  "boot-once": "boot something else once",
  reprovision: "boot it anew",
  wipe: "wipe a disk",
};

export function machineOrders(
  { store, now, log }: Pick<Context, "store" | "now" | "log">,
  { monotonicMs }: { monotonicMs: () => number },
): MachineOrders {
  const cancelling = new Map<MachineOrderKind, Cancelling>();
  const entryOf = (machineId: string, id: string): Entry<MachineOrderRecord> | undefined =>
    store.get<MachineOrderRecord>(keys.machineOrder(machineId, id));

  /** Writes what became of an order, with its words. Its version is expected: of two at once one goes on from the other. */
  async function write(
    entry: Entry<MachineOrderRecord>,
    next: MachineOrderRecord,
    {
      actor,
      told,
      event,
      also = [],
    }: {
      actor: string;
      told?: Omit<NewTimelineEvent, "machineId">;
      event?: { type: string; message: string };
      also?: readonly Change[];
    },
  ): Promise<void> {
    const isThere = store.get(keys.machine(next.machineId)) !== undefined;
    await store.commit({
      actor,
      expect: [{ key: entry.key, version: entry.version }],
      mutations: [
        { key: entry.key, value: next },
        ...also,
        ...(told === undefined || !isThere ? [] : timelineChanges(store, now(), next.machineId, [told])),
        ...(event === undefined ? [] : eventChanges(store, now(), { ...event, subject: next.machineId, actor })),
      ],
    });
  }

  async function finish(
    entry: Entry<MachineOrderRecord>,
    end: OrderEnd,
    actor: string,
    also: readonly Change[] = [],
  ): Promise<MachineOrder> {
    const next = afterEnd(entry.value, end, now().toISOString());
    if (next === entry.value) return shownOrder(next);
    const message = `order to ${WORDS[next.kind]}: ${end.state}${end.reason === "" ? "" : `: ${end.reason}`}`;
    await write(entry, next, {
      actor,
      also,
      told: { stage: "order", level: end.state === "failed" ? "error" : "info", message, detail: told(next) },
      event: { type: `machine.order-${end.state}`, message: `machine ${next.machine}: ${message}` },
    });
    return shownOrder(next);
  }

  const book: MachineOrders = {
    async open({ machine, kind, actor, step, detail, quietMs, idempotent, also: given }) {
      const { idempotencyKey, idempotencyHash } = idempotent ?? {};
      // Asked once more by whoever did: the order that it made, open or over.
      const made = idempotencyKey && (await store.outcome<MachineOrder>(idempotencyKey, idempotencyHash));
      if (made) return book.get(made.result.machineId, made.result.id) ?? made.result;
      const before = openOrderOf(store, machine.id)?.value;
      if (before !== undefined)
        throw new Fault(
          "conflict",
          `machine ${machine.name} has an order that is not over: ${before.orderedBy} ordered ${before.orderedAt} to ${WORDS[before.kind]} (${before.step}); wait for its end, or take it back: flynn machine orders ${machine.name} --cancel ${before.id}`,
        );
      refuseUnderRollout(store, machine);
      const at = now().toISOString();
      const order = openedOrder({ machine, kind, actor, step, detail, quietMs, at, seq: store.seq + 1 });
      const key = keys.machineOrder(machine.id, order.id);
      const also = typeof given === "function" ? given(order.id) : given;
      const message = `${actor} ordered to ${WORDS[kind]}: ${step}`;
      await store.commit({
        actor,
        ...idempotent,
        result: shownOrder(order),
        expect: [{ key, version: 0 }, ...(also?.expect ?? [])],
        mutations: [
          { key, value: order },
          ...(also?.mutations ?? []),
          ...ordersToTrim(ordersOf(store, machine.id)).map((old) => ({ key: old, value: null })),
          ...timelineChanges(store, now(), machine.id, [{ stage: "order", message, detail: told(order) }]),
          ...eventChanges(store, now(), {
            type: "machine.ordered",
            subject: machine.id,
            actor,
            message: `machine ${machine.name}: ${message}`,
          }),
        ],
      });
      return shownOrder(order);
    },
    async step({ machineId, id }, step, also) {
      const entry = entryOf(machineId, id);
      if (entry === undefined) return;
      const next = afterStep(entry.value, step, now().toISOString());
      if (next === entry.value) return;
      // Percents alone are no news on the timeline.
      const isNews = next.step !== entry.value.step;
      await write(entry, next, {
        actor: `order ${id}`,
        also: also ?? [],
        ...(isNews ? { told: { stage: "order" as const, message: next.step, detail: told(next) } } : {}),
      });
    },
    async end({ machineId, id }, end, also) {
      const entry = entryOf(machineId, id);
      if (entry !== undefined) await finish(entry, end, `order ${id}`, also);
    },
    async cancel(machine, orderId, actor) {
      const entry = entryOf(machine.id, orderId);
      if (entry === undefined) throw new Fault("not-found", `machine ${machine.name} has no order ${orderId}`);
      const { value: order } = entry;
      if (isOver(order))
        throw new Fault("conflict", `order ${orderId} of machine ${machine.name} is over: ${order.state}`);
      const takeBack = cancelling.get(order.kind);
      if (takeBack === undefined && order.state === "running")
        throw new Fault(
          "conflict",
          `order ${orderId} of machine ${machine.name} has begun (${order.step}); it ends by itself`,
        );
      const also = takeBack?.(shownOrder(order)) ?? [];
      return finish(entry, { state: "cancelled", reason: `taken back by ${actor}` }, actor, also);
    },
    get: (machineId, id) => {
      const found = entryOf(machineId, id)?.value;
      return found && shownOrder(found);
    },
    of: (machineId) =>
      ordersOf(store, machineId)
        .map(({ value }) => shownOrder(value))
        .reverse(),
    openOf: (machineId) => {
      const found = openOrderOf(store, machineId)?.value;
      return found && shownOrder(found);
    },
    allOpen: () => openOrders(store).map(({ value }) => shownOrder(value)),
    cancelsBy: (kind, how) => cancelling.set(kind, how),
    run: (signal) =>
      watchQuiet({
        open: () => openOrders(store),
        end: (order, reason) => book.end(order, { state: "failed", reason }),
        monotonicMs,
        log,
        signal,
      }),
  };
  return book;
}

const told = ({ id, kind, state, detail }: MachineOrder): Record<string, string | number> => ({
  ...detail,
  orderId: id,
  kind,
  state,
});
