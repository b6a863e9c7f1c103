// time limit: 240 s
// Orders to boot over a real control: something else once, and anew; with control restarted, the machine unplugged, the order taken back.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bmcWork, reportOrder } from "#api/bmc-work.ts";
import { cordonHost, listHosts, uncordonHost } from "#api/hosts.ts";
import { bootMachineOnce, reprovisionMachine } from "#api/machine-life.ts";
import { cancelMachineOrder, getMachineOrder, isOver, type MachineOrder } from "#api/machine-orders.ts";
import { getMachine } from "#api/machines.ts";
import { putMachineBmc } from "#api/power.ts";
import { until } from "#lib/time.ts";
import { keys } from "../../../control/keys.ts";
import { machineVerbs } from "../../../control/machine-life/verbs.ts";
import { machineOrders } from "../../../control/machine-orders/book.ts";
import type { HostRecord, MachineRecord } from "../../../control/records.ts";
import { type FakeMachine, macOf, type World, world } from "../machine-world.ts";
import { type Rig, withRig } from "../rig.ts";

const LONG = { timeoutMs: 60_000, everyMs: 50 };
const QUICK = { hostLostAfterMs: 2_000, rolloutBootMs: 60_000 };
const ID = { id: macOf(1) };

const once = ({ admin }: Rig, target: "rescue" | "inventory" | "boot" | "local-disk") =>
  admin.call(bootMachineOnce, { params: ID, body: { target } });
const anew = ({ admin }: Rig) => admin.call(reprovisionMachine, { params: ID, body: {} });
const show = ({ admin }: Rig, { id }: Pick<MachineOrder, "id">) =>
  admin.call(getMachineOrder, { params: { ...ID, order: id } });
const ended = (rig: Rig, order: MachineOrder) =>
  until(
    async () => {
      const now = await show(rig, order);
      return isOver(now) ? now : undefined;
    },
    { what: "the order to end", ...LONG },
  );
const refusal = (asked: Promise<unknown>) =>
  asked.then(
    () => "",
    (error: Error) => error.message,
  );
const hostOf = async ({ admin }: Rig) => (await admin.call(listHosts, {})).items[0]!;

const withMachine = (
  body: (rig: Rig, at: World, machine: FakeMachine) => Promise<void>,
  over: Partial<typeof QUICK> = {},
) =>
  withRig(
    async (rig) => {
      const at = await world(rig);
      await at.image("img", true);
      const machine = await at.machine(1);
      try {
        await until(async () => (await rig.admin.call(getMachine, { params: ID })).state === "ready", {
          what: "it ready",
          ...LONG,
        });
        await body(rig, at, machine);
      } finally {
        await at.stop();
      }
    },
    { ...QUICK, ...over },
  );

test("a machine whose host keeps its identity on its disk is reprovisioned, too: no join tells of it", () =>
  withRig(async (rig) => {
    const at = await world(rig);
    await at.image("img", true);
    const machine = await at.machine(1, { keepsIdentity: true });
    try {
      const ready = async () => (await rig.admin.call(getMachine, { params: ID })).state === "ready";
      await until(ready, { what: "it ready", ...LONG });
      const order = await ended(rig, await anew(rig));
      assert.equal([order.state, order.reason], ["done", "ready with image img"]);
      assert.equal(machine.booted, ["img", "img"]);
    } finally {
      await at.stop();
    }
  }, QUICK));

test("an approved machine may be asked what it is made of: the boot server is told so", () =>
  withMachine(async (rig) => {
    const order = await once(rig, "inventory");
    assert.equal(
      [order.state === "waiting" || order.state === "running", order.detail?.["target"]],
      [true, "inventory"],
    );
    assert.match(order.step, /its next network boot is given inventory/);
  }));

test("the boot server is told of another boot until it gave it; then the order is done, and the machine boots as before", () =>
  withRig(async (rig) => {
    const at = await world(rig);
    await at.image("img", true);
    await at.approved(1);
    const order = await once(rig, "rescue");
    assert.is(order.state, "waiting");
    const told = async () => (await at.target()).machines[0]!;
    assert.equal([(await told()).target, (await told()).once], ["boot", { id: order.id, target: "rescue" }]);
    assert.match(await refusal(once(rig, "local-disk")), /has an order that is not over/);
    await rig.restart();
    assert.is((await told()).once?.id, order.id);
    const given = () => at.tell(macOf(1), "order", { message: "given once: rescue", detail: { orderId: order.id } });
    await given();
    const { state, reason } = await ended(rig, order);
    assert.equal([state, reason], ["done", "it was given rescue at a boot"]);
    assert.equal([(await told()).target, (await told()).once], ["boot", undefined]);
    await given(); // told again: nothing more comes of it
    assert.is((await once(rig, "local-disk")).state, "waiting");
  }));

test("another boot that is taken back is not given", () =>
  withRig(async (rig) => {
    const at = await world(rig);
    await at.approved(1);
    const order = await once(rig, "rescue");
    await rig.admin.call(cancelMachineOrder, { params: { ...ID, order: order.id }, body: {} });
    assert.is((await at.target()).machines[0]!.once, undefined);
    assert.is((await show(rig, order)).state, "cancelled");
  }));

test("a machine nobody approved takes no orders to boot", () =>
  withRig(async (rig) => {
    const at = await world(rig);
    await at.tell(macOf(1), "script", { claimed: { mac: macOf(1), whole: true } });
    assert.match(await refusal(once(rig, "boot")), /is not approved/);
    assert.match(await refusal(anew(rig)), /is not approved/);
  }));

test("booted anew it is drained, told once, and done when it is ready with a boot of its own; its host takes jobs again", () =>
  withMachine(async (rig, _, machine) => {
    const before = await rig.admin.call(getMachine, { params: ID });
    const order = await anew(rig);
    const { state, reason } = await ended(rig, order);
    assert.equal([state, reason], ["done", "ready with image img"]);
    assert.equal(machine.obeyed, [order.id]);
    assert.equal(machine.booted, ["img", "img"]);
    const after = await rig.admin.call(getMachine, { params: ID });
    assert.is.not(after.joinedBootId, before.joinedBootId);
    const host = await until(async () => ((await hostOf(rig)).cordoned ? undefined : hostOf(rig)), {
      what: "it open",
      ...LONG,
    });
    assert.is(host.draining, undefined);
  }));

test("control restarted at each step of it: it is told to reboot once", () =>
  withMachine(async (rig, _, machine) => {
    const order = await anew(rig);
    await rig.restart();
    await until(() => machine.obeyed.length > 0, { what: "it told", ...LONG });
    await rig.restart();
    assert.is((await ended(rig, order)).state, "done");
    assert.equal([machine.obeyed, machine.booted], [[order.id], ["img", "img"]]);
  }));

test("unplugged meanwhile it is waited for, and done once it is back", () =>
  withMachine(async (rig, _, machine) => {
    const order = await anew(rig);
    await until(() => machine.obeyed.length > 0, { what: "it told", ...LONG });
    machine.unplug();
    await until(async () => (await hostOf(rig)).state === "lost", { what: "its host lost", ...LONG });
    assert.not(isOver(await show(rig, order)));
    machine.plugIn();
    assert.is((await ended(rig, order)).state, "done");
    assert.equal(machine.obeyed, [order.id]);
  }));

test("one that never comes back ends with a reason; a refusal in the initrd ends it at once", () =>
  withMachine(
    async (rig, _, machine) => {
      machine.fates.set("img", "hangs");
      assert.match((await ended(rig, await anew(rig))).reason, /did not come back in time/);
      machine.fates.set("img", "refuses");
      const order = await anew(rig);
      assert.match(order.step, /^its host is lost: switch it off and on$/);
      machine.powerCycle();
      const { state, reason } = await ended(rig, order);
      assert.is(state, "failed");
      assert.match(reason, /initrd refused/);
    },
    { rolloutBootMs: 5_000 },
  ));

test("one whose host is lost waits for somebody to switch it off and on; taken back it ends", () =>
  withMachine(async (rig, _, machine) => {
    machine.unplug();
    await until(async () => (await hostOf(rig)).state === "lost", { what: "its host lost", ...LONG });
    const order = await anew(rig);
    assert.match(order.step, /switch it off and on/);
    await rig.admin.call(cancelMachineOrder, { params: { ...ID, order: order.id }, body: {} });
    const again = await anew(rig);
    machine.plugIn();
    assert.is((await ended(rig, again)).state, "done");
    assert.equal(machine.obeyed, []);
  }));

test("one with a BMC is switched off and on by it, once, and done when it is ready", () =>
  withMachine(async (rig, { server }, machine) => {
    const bmc = { kind: "ipmi" as const, address: "10.99.0.2", user: "ops", password: "a longer word" };
    await rig.admin.call(putMachineBmc, { params: ID, body: bmc });
    machine.unplug();
    await until(async () => (await hostOf(rig)).state === "lost", { what: "its host lost", ...LONG });
    const done = new AbortController();
    const cycled: string[] = [];
    const work = async () => {
      const params = { id: server.id };
      for await (const { data } of server.client.follow(bmcWork, { params, signal: done.signal })) {
        const asked = data?.orders.find(({ order }) => !cycled.includes(order));
        if (asked === undefined) continue;
        assert.is(asked.action, "cycle");
        cycled.push(asked.order);
        const end = { state: "done" as const, reason: "it is on" };
        const body = { step: "off and on", power: "on" as const, end };
        await server.client.call(reportOrder, { params: { ...params, order: asked.order }, body });
        machine.plugIn();
      }
    };
    const working = work();
    try {
      const order = await anew(rig);
      assert.match(order.step, /its BMC switches it off and on/);
      const { state, reason } = await ended(rig, order);
      assert.equal([state, reason], ["done", "ready with image img"]);
      assert.equal(cycled, [order.id]);
    } finally {
      done.abort();
      await working;
    }
  }));

test("a host that a person closes to jobs while it is booted anew stays closed; one that is opened is open", () =>
  withMachine(async (rig) => {
    for (const [wish, isClosed] of [
      [cordonHost, true],
      [uncordonHost, false],
    ] as const) {
      const order = await anew(rig);
      await rig.admin.call(wish, { params: { id: (await hostOf(rig)).id }, body: {} });
      const { state, reason } = await ended(rig, order);
      assert.is(state, "done", reason);
      assert.is((await hostOf(rig)).cordoned, isClosed);
    }
  }));

test("what a host became while it was being ordered is not undone by the order", () =>
  withRig(async (rig) => {
    const at = await world(rig);
    await at.image("img", true);
    const { id: machineId } = await at.approved(1);
    const key = keys.host((await rig.join("host", { name: "node-1" })).id);
    const host = { ...rig.store.get<HostRecord>(key)!.value, machineId, state: "ready" as const };
    const machine = rig.store.get<MachineRecord>(keys.machine(machineId))!.value;
    const its = { key: keys.machine(machineId), value: { ...machine, hostId: host.id, state: "ready" } };
    await rig.store.commit({ actor: "test", mutations: [{ key, value: host }, its] });
    const { context } = rig.control;
    const verbs = machineVerbs(context, machineOrders(context, { monotonicMs: () => 0 }), { isFree: () => false });
    const idempotent = { idempotencyKey: "k".repeat(20), idempotencyHash: "h" };
    const ordered = refusal(
      verbs.reprovision(rig.store.get<MachineRecord>(keys.machine(machineId))!, { by: "anna", idempotent }),
    );
    const value = { ...rig.store.get<HostRecord>(key)!.value, tags: { zone: "b" } };
    await rig.store.commit({ actor: "bert", mutations: [{ key, value }] });
    await ordered;
    assert.is(rig.store.get<HostRecord>(key)!.value.tags["zone"], "b");
    await at.stop();
  }));

test.run();
