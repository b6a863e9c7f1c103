// Orders to machines: one at a time, each step seen, one end, and none that is waited for without a bound.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import {
  cancelMachineOrder,
  getMachineOrder,
  isOver,
  listMachineOrders,
  type MachineOrder,
} from "#api/machine-orders.ts";
import { machineTimeline } from "#api/machines.ts";
import { listEvents } from "#api/status.ts";
import { silentLog } from "#lib/log.ts";
import { approval, newMachine } from "../../../control/identity/observe.ts";
import { keys } from "../../../control/keys.ts";
import { type MachineOrders, machineOrders } from "../../../control/machine-orders/book.ts";
import { tooQuiet } from "../../../control/machine-orders/quiet.ts";
import { type MachineOrderRecord, ORDERS_KEPT, openOrders } from "../../../control/machine-orders/record.ts";
import type { MachineRecord } from "../../../control/records.ts";
import { type Rig, withRig } from "../rig.ts";

const AT = "2026-01-01T00:00:00.000Z";
const machine: MachineRecord = {
  ...newMachine({ mac: "52:54:00:00:00:01" }, { names: [], auto: false, at: AT }),
  ...approval("ann", AT),
};
const bookOf = ({ store }: Rig, monotonicMs = () => 0): MachineOrders =>
  machineOrders({ store, log: silentLog(), now: () => new Date() }, { monotonicMs });

const withBook = (body: (rig: Rig, book: MachineOrders) => Promise<void>) =>
  withRig(
    async (rig) => {
      await rig.store.commit({ actor: "test", mutations: [{ key: keys.machine(machine.id), value: machine }] });
      await body(rig, bookOf(rig));
    },
    { loops: false },
  );
const params = { id: machine.id };
const cycle = (book: MachineOrders) =>
  book.open({ machine, kind: "power-cycle", actor: "ann", step: "waits for the boot server" });
const fault = async (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => (isFault(error) ? error : Promise.reject(error)),
  );

test("an order is seen with its steps and its end, on the API, the timeline and in events", () =>
  withBook(async (rig, book) => {
    const order = await cycle(book);
    assert.equal([order.state, order.machine, order.orderedBy], ["waiting", machine.name, "ann"]);
    await book.step(order, { step: "the BMC was asked to switch it off", percent: 33.4, detail: { bmc: "redfish" } });
    await book.end(order, { state: "done", reason: "it is on again" });
    const shown = await rig.admin.call(getMachineOrder, { params: { id: machine.name, order: order.id } });
    assert.equal(
      [shown.state, shown.step, shown.percent, shown.reason, shown.detail],
      ["done", "the BMC was asked to switch it off", 100, "it is on again", { bmc: "redfish" }],
    );
    assert.ok(shown.startedAt && shown.endedAt);
    assert.equal((await rig.admin.call(listMachineOrders, { params })).items, [shown]);
    const { items } = await rig.admin.call(machineTimeline, { params });
    assert.equal(
      items.map(({ stage, message }) => `${stage}: ${message}`),
      [
        "order: ann ordered to switch it off and on: waits for the boot server",
        "order: the BMC was asked to switch it off",
        "order: order to switch it off and on: done: it is on again",
      ],
    );
    const events = (await rig.admin.call(listEvents, {})).items.filter(({ type }) => type.startsWith("machine.order"));
    assert.equal(events.map(({ type }) => type).sort(), ["machine.order-done", "machine.ordered"]);
  }));

test("a second order is refused in words that name the first, until that is over; of two at once one is taken", () =>
  withBook(async (_, book) => {
    const both = await Promise.allSettled([cycle(book), cycle(book)]);
    assert.equal(both.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
    const open = book.openOf(machine.id)!;
    const refused = await fault(book.open({ machine, kind: "wipe", actor: "bob", step: "waits" }));
    assert.is(refused?.code, "conflict");
    assert.match(refused!.message, new RegExp(`ann ordered .* switch it off and on .*--cancel ${open.id}`));
    await book.end(open, { state: "failed", reason: "no BMC" });
    assert.is((await book.open({ machine, kind: "wipe", actor: "bob", step: "waits" })).state, "waiting");
  }));

test("what comes late changes nothing: the first end stands", () =>
  withBook(async (_, book) => {
    const order = await cycle(book);
    await book.end(order, { state: "failed", reason: "the BMC refused the password" });
    await book.step(order, { step: "late" });
    await book.end(order, { state: "done", reason: "late" });
    const { state, step, reason } = book.get(machine.id, order.id)!;
    assert.equal([state, step, reason], ["failed", "waits for the boot server", "the BMC refused the password"]);
  }));

test("one that waits is taken back; one that runs only by who carries it out; one that is over not", () =>
  withBook(async (rig, book) => {
    const cancel = (order: MachineOrder) => book.cancel(machine, order.id, "ann");
    const first = await cycle(book);
    const params = { id: machine.id, order: first.id };
    const taken = await rig.admin.call(cancelMachineOrder, { params, body: {} });
    assert.is(taken.state, "cancelled");
    assert.match(taken.reason, /^taken back by /);
    assert.is((await fault(cancel(first)))?.code, "conflict");
    const second = await cycle(book);
    await book.step(second, { step: "begun" });
    const refused = await fault(cancel(second));
    assert.is(refused?.code, "conflict");
    assert.match(refused!.message, /has begun \(begun\)/);
    assert.is((await fault(cancel({ ...second, id: "mo-none" })))?.code, "not-found");
    book.cancelsBy("power-cycle", () => [{ key: keys.machine(machine.id), value: { ...machine, reason: "back" } }]);
    assert.is((await book.cancel(machine, second.id, "ann")).state, "cancelled");
    assert.is(rig.store.get<MachineRecord>(keys.machine(machine.id))!.value.reason, "back");
  }));

test("hostile words of a BMC move no terminal and are cut", () =>
  withBook(async (_, book) => {
    const order = await cycle(book);
    await book.step(order, { step: `\x1b[2J${"x".repeat(1_000)}` });
    const { step } = book.get(machine.id, order.id)!;
    assert.not.match(step, /\x1b/);
    assert.is(step.length, 400);
  }));

test("ended orders are kept by a bound, the newest first, and go with the machine", () =>
  withBook(async (rig, book) => {
    for (let n = 0; n < ORDERS_KEPT + 5; n++) {
      const order = await cycle(book);
      await book.end(order, { state: "done", reason: `${n}` });
    }
    const kept = book.of(machine.id);
    assert.ok(kept.length <= ORDERS_KEPT + 1);
    assert.is(kept[0]!.reason, `${ORDERS_KEPT + 4}`);
    const { deleteMachine } = await import("#api/machines.ts");
    await rig.admin.call(deleteMachine, { params });
    assert.equal(book.of(machine.id), []);
  }));

test("a machine that is gone ends its order without a timeline", () =>
  withBook(async (rig, book) => {
    const order = await cycle(book);
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.machine(machine.id), value: null }] });
    await book.end(order, { state: "failed", reason: "it was forgotten" });
    assert.is(book.get(machine.id, order.id)?.state, "failed");
    assert.is(rig.store.count(keys.timelineOf(machine.id)), 1);
  }));

test("only a running order is too quiet, only by time that control ran, and a step begins anew", () =>
  withBook(async (rig, book) => {
    const heard = new Map<string, { version: number; quietMs: number }>();
    const look = (passedMs: number) => tooQuiet(openOrders(rig.store), heard, passedMs).map(({ id }) => id);
    const order = await book.open({ machine, kind: "power-on", actor: "ann", step: "waits", quietMs: 15_000 });
    for (let n = 0; n < 5; n++) assert.equal(look(9_000), [], "one that waits is not late");
    await book.step(order, { step: "begun" });
    assert.equal([look(9_000), look(9_000)], [[], []]);
    await book.step(order, { step: "goes on" });
    assert.equal([look(9_000), look(9_000), look(3_600_000)], [[], [], [order.id]], "a pause counts as ten seconds");
    await book.end(order, { state: "done", reason: "" });
    assert.equal(look(9_000), []);
    assert.is(heard.size, 0);
  }));

test("an order of which nothing is heard ends by itself, in words", () =>
  withRig(async (rig) => {
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.machine(machine.id), value: machine }] });
    let nowMs = 0;
    const book = bookOf(rig, () => (nowMs += 9_000));
    const stop = new AbortController();
    const running = book.run(stop.signal);
    try {
      const order = await book.open({ machine, kind: "power-on", actor: "ann", step: "waits", quietMs: 10_000 });
      await book.step(order, { step: "the BMC was asked" });
      const ended = await rig.admin.follow(getMachineOrder, {
        params: { id: machine.id, order: order.id },
        signal: stop.signal,
      });
      let last: MachineOrder | undefined;
      for await (const { event, data } of ended) {
        if (event === "item") last = data;
        if (last !== undefined && isOver(last)) break;
      }
      assert.is(last?.state, "failed");
      assert.match(last!.reason, /^nothing was heard of it for 10(\.0)? ?s; the last step was: the BMC was asked$/);
    } finally {
      stop.abort();
      await running;
    }
  }));

test("an order outlives a restart of control", () =>
  withBook(async (rig, book) => {
    const order = await cycle(book);
    await book.step(order, { step: "begun" });
    await rig.restart();
    const again = bookOf(rig);
    assert.is(again.openOf(machine.id)?.step, "begun");
    assert.equal(rig.store.get<MachineOrderRecord>(keys.machineOrder(machine.id, order.id))?.value.quietMs, 5 * 60_000);
  }));

test.run();
