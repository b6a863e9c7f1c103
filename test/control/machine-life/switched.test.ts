// time limit: 240 s
// Orders to boot of a machine that has a BMC, over a real control: it is switched at once, and once more when nothing comes of its boot.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bmcWork, type OrderReport, type PowerWork, reportOrder } from "#api/bmc-work.ts";
import { listHosts } from "#api/hosts.ts";
import { bootMachineOnce, reprovisionMachine } from "#api/machine-life.ts";
import { cancelMachineOrder, getMachineOrder, isOver, type MachineOrder } from "#api/machine-orders.ts";
import { getMachine } from "#api/machines.ts";
import { type PutBmc, putMachineBmc } from "#api/power.ts";
import { until } from "#lib/time.ts";
import { type FakeMachine, macOf, type World, world } from "../machine-world.ts";
import { type Rig, withRig } from "../rig.ts";

const LONG = { timeoutMs: 60_000, everyMs: 50 };
const ID = { id: macOf(1) };
const BMC: PutBmc = { kind: "ipmi", address: "10.99.0.2", user: "ops", password: "a longer word" };
const PIN = "ab".repeat(32);

const shown = ({ admin }: Rig, { id }: Pick<MachineOrder, "id">) =>
  admin.call(getMachineOrder, { params: { ...ID, order: id } });
const ended = (rig: Rig, order: MachineOrder) =>
  until(async () => [await shown(rig, order)].find(isOver), { what: "the order to end", ...LONG });
const rescueNow = ({ admin }: Rig, more: { force?: boolean } = {}) =>
  admin.call(bootMachineOnce, { params: ID, body: { target: "rescue", now: true, ...more } });

/** The boot server's hands: each work is answered by `act`, once. */
async function withHands(
  { server }: World,
  act: (work: PowerWork, report: (body: OrderReport) => Promise<unknown>) => Promise<void>,
  body: (seen: PowerWork[]) => Promise<void>,
): Promise<void> {
  const over = new AbortController();
  const seen: PowerWork[] = [];
  const nameOf = ({ order, turn }: PowerWork) => `${order} ${turn}`;
  const work = async () => {
    const params = { id: server.id };
    for await (const { data } of server.client.follow(bmcWork, { params, signal: over.signal }))
      for (const one of data?.orders ?? []) {
        if (seen.some((before) => nameOf(before) === nameOf(one))) continue;
        seen.push(one);
        const call = (report: OrderReport) =>
          server.client.call(reportOrder, { params: { ...params, order: one.order }, body: report });
        await act(one, call);
      }
  };
  const working = work();
  try {
    await body(seen);
  } finally {
    over.abort();
    await working;
  }
}
const DONE: OrderReport = { step: "off and on", power: "on", end: { state: "done", reason: "it is on" } };
const given = (at: World, order: MachineOrder) =>
  at.tell(macOf(1), "order", { message: "given once: rescue", detail: { orderId: order.id } });

test("ordered something else at once, its BMC sets a network boot and switches it; done when it was given that", () =>
  withRig(async (rig) => {
    const at = await world(rig);
    await at.image("img", true);
    await at.approved(1);
    await rig.admin.call(putMachineBmc, { params: ID, body: BMC });
    await withHands(
      at,
      async (_, report) => void (await report(DONE)),
      async (seen) => {
        const order = await rescueNow(rig);
        assert.match(order.step, /given rescue; its BMC switches it off and on/);
        await until(async () => (await shown(rig, order)).detail?.["cycled"] === 1, { what: "it switched", ...LONG });
        assert.equal([(await shown(rig, order)).state, seen.length], ["running", 1]);
        assert.equal([seen[0]!.action, seen[0]!.boot, seen[0]!.hard], ["cycle", "pxe", true]);
        await given(at, order);
        assert.equal((await ended(rig, order)).reason, "it was given rescue at a boot");
      },
    );
  }));

test("a machine that boots by an ISO is told to, and the order is not over before its BMC is", () =>
  withRig(async (rig) => {
    const at = await world(rig);
    await at.image("img", true);
    await at.approved(1);
    await rig.admin.call(putMachineBmc, {
      params: ID,
      body: { ...BMC, kind: "redfish", pinSha256: PIN, bootBy: "media" },
    });
    const { promise: taken, resolve: take } = Promise.withResolvers<void>();
    await withHands(
      at,
      async (_, report) => {
        await report({ step: "it is on; waits until it asks for its script from its ISO", power: "on" });
        await taken;
        await report(DONE);
      },
      async (seen) => {
        const order = await rescueNow(rig);
        await until(() => seen[0]?.boot === "media", { what: "an ISO ordered", ...LONG });
        await given(at, order);
        await until(async () => (await rig.admin.call(getMachine, { params: ID })).bootOnce === undefined, {
          what: "what it is given once was given",
          ...LONG,
        });
        assert.is((await shown(rig, order)).state, "running");
        take();
        assert.is((await ended(rig, order)).state, "done");
      },
    );
  }));

test("a BMC that cannot ends the order, and nothing is given at a later boot", () =>
  withRig(async (rig) => {
    const at = await world(rig);
    await at.image("img", true);
    await at.approved(1);
    await rig.admin.call(putMachineBmc, { params: ID, body: BMC });
    const end = { state: "failed" as const, reason: "the BMC does not answer", code: "bmc-unreachable" as const };
    await withHands(
      at,
      async (_, report) => void (await report({ step: end.reason, end })),
      async () => {
        const order = await ended(rig, await rescueNow(rig));
        assert.equal([order.state, order.detail?.["code"]], ["failed", "bmc-unreachable"]);
        assert.is((await at.target()).machines[0]!.once, undefined);
      },
    );
  }));

test("switched, and never heard of: the order ends with a reason, and nothing is given later", () =>
  withRig(
    async (rig) => {
      const at = await world(rig);
      await at.image("img", true);
      await at.approved(1);
      await rig.admin.call(putMachineBmc, { params: ID, body: BMC });
      await withHands(
        at,
        async (_, report) => void (await report(DONE)),
        async () => {
          const order = await ended(rig, await rescueNow(rig));
          assert.match(order.reason, /asked the boot server for nothing since/);
          assert.is((await at.target()).machines[0]!.once, undefined);
        },
      );
    },
    { rolloutBootMs: 2_000 },
  ));

test("without a BMC the order says that somebody has to, and waits; a certificate that nobody accepted is none", () =>
  withRig(async (rig) => {
    const at = await world(rig);
    await at.approved(1);
    for (const body of [undefined, { kind: "wake" as const }, { ...BMC, kind: "redfish" as const }]) {
      if (body !== undefined) await rig.admin.call(putMachineBmc, { params: ID, body });
      const order = await rescueNow(rig);
      assert.match(order.step, /switch it off and on by hand/);
      assert.is(order.state, "waiting");
      await rig.admin.call(cancelMachineOrder, { params: { ...ID, order: order.id }, body: {} });
    }
  }));

const withMachine = (body: (rig: Rig, at: World, machine: FakeMachine) => Promise<void>) =>
  withRig(
    async (rig) => {
      const at = await world(rig);
      await at.image("img", true);
      const machine = await at.machine(1);
      try {
        const ready = async () => (await rig.admin.call(getMachine, { params: ID })).state === "ready";
        await until(ready, { what: "it ready", ...LONG });
        await rig.admin.call(putMachineBmc, { params: ID, body: BMC });
        await body(rig, at, machine);
      } finally {
        await at.stop();
      }
    },
    { hostLostAfterMs: 2_000, rolloutBootMs: 6_000 },
  );

test("one that hangs when it is booted anew is switched off and on once, and done when it comes", () =>
  withMachine(async (rig, at, machine) => {
    machine.fates.set("img", "hangs");
    await withHands(
      at,
      async (_, report) => {
        machine.fates.set("img", "ready");
        machine.powerCycle();
        await report(DONE);
      },
      async (seen) => {
        const order = await ended(rig, await rig.admin.call(reprovisionMachine, { params: ID, body: {} }));
        assert.equal([order.state, order.reason], ["done", "ready with image img"]);
        assert.equal(
          seen.map(({ action, hard, turn }) => [action, hard, turn]),
          [["cycle", true, 2]],
        );
      },
    );
  }));

test("one that hangs again ends the order: it is switched no second time", () =>
  withMachine(async (rig, at, machine) => {
    machine.fates.set("img", "hangs");
    await withHands(
      at,
      async (_, report) => {
        machine.powerCycle();
        await report(DONE);
      },
      async (seen) => {
        const order = await ended(rig, await rig.admin.call(reprovisionMachine, { params: ID, body: {} }));
        assert.match(order.reason, /did not come back in time/);
        assert.is(seen.length, 1);
        const [host] = (await rig.admin.call(listHosts, {})).items;
        assert.is(host!.cordoned, false);
      },
    );
  }));

test.run();
