// Orders to switch a machine, from the API to a real BMC (ipmi_sim) and back, and with control or boot server restarted under them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BmcAccess, OrderReport, PowerWork } from "#api/bmc-work.ts";
import { type Fault, isFault } from "#api/fault.ts";
import { cancelMachineOrder } from "#api/machine-orders.ts";
import { getMachine, machineTimeline } from "#api/machines.ts";
import { deleteMachineBmc, getMachineBmc, lookAtMachineBmc, orderPower, putMachineBmc } from "#api/power.ts";
import { listEvents } from "#api/status.ts";
import { until } from "#lib/time.ts";
import { carryOut } from "../../../bootstrap/bmc/carry-out.ts";
import type { Carrying } from "../../../bootstrap/bmc/carrying.ts";
import type { Switch } from "../../../bootstrap/bmc/switch.ts";
import { trouble } from "../../../bootstrap/bmc/trouble.ts";
import { type IpmiSim, ipmiSim } from "./ipmi-sim.ts";
import { redfishFake } from "./redfish-fake.ts";
import { MAC, QUICK, world } from "./world.ts";

const params = { id: "metal" };
const settingsOf = ({ macs: _, ...bmc }: BmcAccess) => bmc;

async function withSim(body: (sim: IpmiSim) => Promise<void>): Promise<void> {
  await using sim = await ipmiSim();
  await body(sim);
}

test("a machine is switched on, cycled and off by its BMC; its state and timeline say so, and nothing shows the password", () =>
  withSim(async (sim) => {
    await using it = await world();
    await it.startBoot();
    const bmc = await it.admin.call(putMachineBmc, { params, body: settingsOf(sim.bmc) });
    assert.is(bmc.passwordSet, true);
    assert.is(bmc.factoryPassword, false);
    // Nobody is there that could look until the boot server has come.
    const seen = () =>
      it.admin.call(lookAtMachineBmc, { params, body: {} }).catch((error: unknown) => {
        if (isFault(error, "unavailable")) return undefined;
        throw error;
      });
    const look = await until(seen, { what: "the boot server", timeoutMs: 20_000, everyMs: 50 });
    assert.equal([look.ok, look.power], [true, "off"], look.message);

    const on = await it.ended(await it.admin.call(orderPower, { params, body: { action: "on" } }));
    assert.is(on.state, "done", on.reason);
    assert.is(await sim.power(), "on");
    assert.is((await it.admin.call(getMachine, { params })).power?.state, "on");

    const again = await it.ended(await it.admin.call(orderPower, { params, body: { action: "on" } }));
    assert.match(again.reason, "on already");

    const cycle = await it.ended(
      await it.admin.call(orderPower, { params, body: { action: "cycle", boot: "pxe", mode: "uefi" } }),
    );
    assert.is(cycle.state, "done", cycle.reason);
    assert.equal((await sim.calls()).slice(-3), ["set boot pxe", "set power 0", "set power 1"]);

    const off = await it.ended(await it.admin.call(orderPower, { params, body: { action: "off" } }));
    assert.is(off.state, "done", off.reason);
    const machine = await it.admin.call(getMachine, { params });
    assert.equal([machine.state, machine.power?.state], ["off", "off"]);
    assert.match(machine.reason, "switched off");

    const shown = JSON.stringify([
      await it.admin.call(getMachineBmc, { params }),
      (await it.admin.call(machineTimeline, { params })).items,
      (await it.admin.call(listEvents, {})).items,
      machine,
      off,
    ]);
    assert.not.match(shown, sim.bmc.password!);
    assert.not.ok(JSON.stringify(it.rig.store.list("machine-bmcs/")).includes(sim.bmc.password!));
  }));

test("a machine that does not shut down is left on and said to be; --force cuts its power", () =>
  withSim(async (sim) => {
    await using it = await world();
    await sim.setPower("on");
    await sim.setObeys(false);
    await it.admin.call(putMachineBmc, { params, body: settingsOf(sim.bmc) });
    await it.rig.store.commit({
      actor: "test",
      mutations: [
        {
          key: `machines/${it.machineId}`,
          value: { ...(await it.admin.call(getMachine, { params })), target: "local-disk" },
        },
      ],
    });
    await it.startBoot();
    const soft = await it.ended(await it.admin.call(orderPower, { params, body: { action: "off" } }));
    assert.equal([soft.state, soft.detail?.["code"]], ["failed", "power-no-effect"]);
    assert.match(soft.reason, "--force");
    assert.is(await sim.power(), "on");
    const hard = await it.ended(await it.admin.call(orderPower, { params, body: { action: "off", force: true } }));
    assert.is(hard.state, "done");
  }));

test("a wrong password ends an order with its code on the timeline, and no second try", () =>
  withSim(async (sim) => {
    await using it = await world();
    await it.startBoot();
    await it.admin.call(putMachineBmc, { params, body: { ...settingsOf(sim.bmc), password: "wrong" } });
    const order = await it.ended(await it.admin.call(orderPower, { params, body: { action: "on" } }));
    assert.equal([order.state, order.detail?.["code"]], ["failed", "bmc-password"]);
    const { items } = await it.admin.call(machineTimeline, { params });
    assert.ok(items.some(({ level, detail }) => level === "error" && detail?.["code"] === "bmc-password"));
  }));

test("the password that is kept is not sent to another address, and goes with the BMC", () =>
  withSim(async (sim) => {
    await using it = await world();
    const { password: _, ...rest } = settingsOf(sim.bmc);
    await it.admin.call(putMachineBmc, { params, body: settingsOf(sim.bmc) });
    await it.admin.call(putMachineBmc, { params, body: { ...rest, cipherSuite: 17 } });
    const moved = await it.admin
      .call(putMachineBmc, { params, body: { ...rest, address: "10.9.9.9" } })
      .catch((error: unknown) => error as Fault);
    assert.match((moved as Fault).message, "not sent to another address");
    await it.admin.call(deleteMachineBmc, { params });
    const gone = await it.admin.call(putMachineBmc, { params, body: rest }).catch((error: unknown) => error as Fault);
    assert.match((gone as Fault).message, "password");
  }));

test("a factory password is warned of", async () => {
  await using it = await world();
  for (const [user, password] of [
    ["root", "calvin"],
    ["ADMIN", "ADMIN"],
    ["admin", "admin"],
    ["USERID", "PASSW0RD"],
  ] as const) {
    const body = { kind: "ipmi" as const, address: "10.0.0.9", user, password };
    assert.is((await it.admin.call(putMachineBmc, { params, body })).factoryPassword, true, user);
  }
  const { items } = await it.admin.call(listEvents, {});
  assert.ok(items.some(({ type }) => type === "machine.bmc-factory-password"));
});

test("a BMC over Redfish is not told anything before a person accepted its certificate, which the look shows", async () => {
  await using fake = await redfishFake();
  await using it = await world();
  await it.startBoot();
  const { pinSha256, ...rest } = settingsOf(fake.bmc);
  await it.admin.call(putMachineBmc, { params, body: rest });
  const refused = await it.admin
    .call(orderPower, { params, body: { action: "on" } })
    .catch((error: unknown) => error as Fault);
  assert.match((refused as Fault).message, "not accepted yet");
  const look = await it.admin.call(lookAtMachineBmc, { params, body: {} });
  assert.is(look.pinSha256, pinSha256);
  assert.equal(fake.asked, []);
  const { password: _, ...kept } = rest;
  await it.admin.call(putMachineBmc, { params, body: { ...kept, pinSha256: look.pinSha256! } });
  const order = await it.ended(await it.admin.call(orderPower, { params, body: { action: "on", boot: "http" } }));
  assert.is(order.state, "done", order.reason);
  assert.equal(fake.resets, ["On"]);
});

test("without a boot server an order waits, is carried out when one comes, and can be taken back before", () =>
  withSim(async (sim) => {
    await using it = await world();
    await it.admin.call(putMachineBmc, { params, body: settingsOf(sim.bmc) });
    const waiting = await it.admin.call(orderPower, { params, body: { action: "on" } });
    assert.match(waiting.step, "none is there now");
    const taken = await it.admin.call(cancelMachineOrder, { params: { ...params, order: waiting.id }, body: {} });
    assert.is(taken.state, "cancelled");
    const order = await it.admin.call(orderPower, { params, body: { action: "on" } });
    await it.startBoot();
    assert.is((await it.ended(order)).state, "done");
    assert.equal(await sim.calls(), ["set power 1"]);
  }));

test("a machine that has no BMC is woken, and done when it is heard", async () => {
  await using it = await world();
  await it.startBoot();
  await it.admin.call(putMachineBmc, { params, body: { kind: "wake" } });
  const off = await it.admin
    .call(orderPower, { params, body: { action: "off" } })
    .catch((error: unknown) => error as Fault);
  assert.match((off as Fault).message, "no BMC");
  const order = await it.admin.call(orderPower, { params, body: { action: "on" } });
  await until(() => it.woken.includes(MAC), { what: "a magic packet", timeoutMs: 10_000 });
  it.heard.set(MAC, performance.now());
  assert.is((await it.ended(order)).state, "done");
});

/** A BMC of our own making, slow enough to be restarted under. */
function slowBmc(): {
  open: () => Switch;
  calls: string[];
  state: "on" | "off";
  hold: Map<string, () => void>;
  held: Set<string>;
} {
  const it = {
    calls: [] as string[],
    state: "on" as "on" | "off",
    hold: new Map<string, () => void>(),
    held: new Set<string>(),
    open: (): Switch => {
      const act = async (name: string, signal: AbortSignal, then: () => void) => {
        it.calls.push(name);
        if (it.held.has(name)) {
          await new Promise<void>((resolve, reject) => {
            it.hold.set(name, resolve);
            signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
          });
        }
        then();
      };
      return {
        power: async () => it.state,
        on: (signal) =>
          act("on", signal, () => {
            it.state = "on";
          }),
        off: (_, signal) =>
          act("off", signal, () => {
            it.state = "off";
          }),
        bootOnce: async (device) => device,
        close: async () => undefined,
      };
    },
  };
  return it;
}

const BMC = { kind: "ipmi" as const, address: "10.0.0.9", user: "flynn", password: "geheim12" };

test("a cycle with boot server and control restarted after each step switches off once and on once", async () => {
  const bmc = slowBmc();
  await using it = await world({ open: bmc.open });
  await it.admin.call(putMachineBmc, { params, body: BMC });
  bmc.held.add("off");
  await it.startBoot();
  const order = await it.admin.call(orderPower, { params, body: { action: "cycle" } });
  await until(() => bmc.hold.has("off"), { what: "the power cut", timeoutMs: 10_000 });
  // The boot server dies while its BMC cuts the power; the BMC does it all the same.
  await it.stopBoot();
  bmc.state = "off";
  bmc.held = new Set(["on"]);
  await it.rig.restart();
  await it.startBoot();
  await until(() => bmc.hold.has("on"), { what: "the switch on", timeoutMs: 10_000 });
  assert.equal(bmc.calls, ["off", "on"]);
  // And again while it switches on, which the BMC does too.
  await it.stopBoot();
  bmc.state = "on";
  bmc.held.clear();
  await it.rig.restart();
  await it.startBoot();
  const ended = await it.ended(order);
  assert.is(ended.state, "done", ended.reason);
  assert.equal(bmc.calls, ["off", "on"]);
});

test("an order that ended while control was away is told when it is back, and not begun again", async () => {
  const bmc = slowBmc();
  bmc.state = "off";
  bmc.held.add("on");
  await using it = await world({ open: bmc.open });
  await it.admin.call(putMachineBmc, { params, body: BMC });
  await it.startBoot();
  const order = await it.admin.call(orderPower, { params, body: { action: "on" } });
  await until(() => bmc.hold.has("on"), { what: "the switch on", timeoutMs: 10_000 });
  const back = it.rig.restart();
  bmc.hold.get("on")!();
  await back;
  assert.is((await it.ended(order)).state, "done");
  assert.equal(bmc.calls, ["on"]);
});

test("a BMC that goes away for a moment while the power changes is waited for", async () => {
  const bmc = slowBmc();
  let silent = 0;
  const open = (): Switch => {
    const device = bmc.open();
    return {
      ...device,
      async power(signal) {
        if (bmc.state === "off" && silent++ < 5) throw trouble("bmc-unreachable", "its link is down");
        return device.power(signal);
      },
    };
  };
  await using it = await world({ open, waits: QUICK });
  await it.admin.call(putMachineBmc, { params, body: BMC });
  await it.startBoot();
  const order = await it.ended(await it.admin.call(orderPower, { params, body: { action: "cycle" } }));
  assert.is(order.state, "done", order.reason);
});

test("a machine that a cycle switched off is switched on again, though the boot server's disk is full", async () => {
  const bmc = slowBmc();
  const reports: OrderReport[] = [];
  const signal = AbortSignal.timeout(20_000);
  const carrying = {
    ...{ open: bmc.open, tell: (report) => void reports.push(report), begins: async () => true },
    ...{ signal, stopping: signal, waits: QUICK },
    rememberOff: () => Promise.reject(new Error("append to orders.journal")),
  } as Partial<Carrying> as Carrying;
  const work = { order: "mo-1", action: "cycle", hard: true, seenOff: false, bmc: { kind: "redfish", macs: [] } };
  const { end } = await carryOut(work as unknown as PowerWork, carrying);
  assert.equal([end.state, bmc.state], ["done", "on"]);
  assert.ok(
    reports.some(({ seenOff, step }) => seenOff === true && /could not be written down/.test(step)),
    "control keeps it",
  );
});

test("an order that the boot server itself fails at ends as failed, in words", async () => {
  const bmc = slowBmc();
  const open = (): Switch => ({ ...bmc.open(), power: () => Promise.reject(new TypeError("a fault of ours")) });
  await using it = await world({ open });
  await it.admin.call(putMachineBmc, { params, body: BMC });
  await it.startBoot();
  const order = await it.ended(await it.admin.call(orderPower, { params, body: { action: "on" } }));
  assert.is(order.state, "failed");
  assert.match(order.reason, "the boot server failed at it; its log says how");
});

test("one order at a time: a second that crosses it is refused in words", async () => {
  const bmc = slowBmc();
  bmc.held.add("off");
  await using it = await world({ open: bmc.open });
  await it.admin.call(putMachineBmc, { params, body: BMC });
  await it.startBoot();
  await it.admin.call(orderPower, { params, body: { action: "cycle" } });
  await until(() => bmc.hold.has("off"), { what: "the power cut", timeoutMs: 10_000 });
  const crossing = await it.admin
    .call(orderPower, { params, body: { action: "on" } })
    .catch((error: unknown) => error as Fault);
  assert.is((crossing as Fault).code, "conflict");
  const changed = await it.admin.call(putMachineBmc, { params, body: BMC }).catch((error: unknown) => error as Fault);
  assert.match((changed as Fault).message, "is being switched");
});

test.run();
