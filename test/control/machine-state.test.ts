// A machine and its host: lost together, and told of once.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { machineTimeline } from "#api/machines.ts";
import { listEvents } from "#api/status.ts";
import { until } from "#lib/time.ts";
import { approval, newMachine } from "../../control/identity/observe.ts";
import { keys } from "../../control/keys.ts";
import type { HostRecord, MachineRecord } from "../../control/records.ts";
import { type Rig, withRig } from "./rig.ts";

const AT = "2026-01-01T00:00:00.000Z";
const machine: MachineRecord = {
  ...newMachine({ mac: "52:54:00:00:00:01" }, { names: [], auto: false, at: AT }),
  ...approval("ann", AT),
  state: "ready",
  bootId: "boot-1",
};
const host = (state: HostRecord["state"], more: Partial<HostRecord> = {}): HostRecord => ({
  id: "host-1",
  name: "box-1",
  state,
  reason: "not heard of for 45s",
  cordoned: false,
  machineId: machine.id,
  subnet: "100.64.0.0/24",
  capacity: { cpuMillis: 1, memoryBytes: 1, diskBytes: 1 },
  tags: {},
  keySha256: "",
  joinedAt: AT,
  ...more,
});

/** Control itself follows its hosts, from when it is made. */
const following = (body: (rig: Rig, put: (key: string, value: object | null) => Promise<void>) => Promise<void>) =>
  withRig(
    (rig) =>
      body(rig, async (key, value) => void (await rig.store.commit({ actor: "test", mutations: [{ key, value }] }))),
    { loops: false },
  );
const stateOf = ({ store }: Rig) => store.get<MachineRecord>(keys.machine(machine.id))?.value.state;
const lossesOf = async ({ admin }: Rig) =>
  (await admin.call(listEvents, { query: { type: "machine.lost" } })).items.map(({ subject, message }) => ({
    subject,
    message,
  }));

test("a machine whose host is lost is lost, with the reason, its timeline and an event: once", () =>
  following(async (rig, put) => {
    const startedMs = Date.now();
    await put(keys.machine(machine.id), machine);
    await put(keys.host("host-1"), host("lost"));
    const lost = () => stateOf(rig) === "lost";
    await until(lost, { what: "the machine's loss", timeoutMs: 20_000, everyMs: 5 });
    const record = rig.store.get<MachineRecord>(keys.machine(machine.id))!.value;
    assert.equal(record, { ...machine, state: "lost", reason: "host box-1 not heard of for 45s" });
    await put(keys.host("host-1"), host("lost", { reason: "still gone" }));
    const { items } = await rig.admin.call(machineTimeline, { params: { id: machine.id } });
    assert.equal(
      items.map(({ stage, level, bootId, message }) => ({ stage, level, bootId, message })),
      [
        {
          stage: "lost",
          level: "warning",
          bootId: "boot-1",
          message: "host box-1 was not heard of for 45s; its jobs go elsewhere",
        },
      ],
    );
    assert.ok(Date.parse(items[0]!.at) >= startedMs, items[0]!.at);
    assert.equal(await lossesOf(rig), [{ subject: machine.id, message: `machine ${machine.name} is lost` }]);
  }));

const STAYS: [claim: string, machine: MachineRecord, host: HostRecord | null][] = [
  ["whose host is up", machine, host("ready")],
  ["whose host was removed", machine, null],
  ["that boots anew already", { ...machine, state: "booting" }, host("lost")],
  ["when the lost host is another machine's", machine, host("lost", { machineId: "machine-2" })],
  ["when the lost host is no machine's", machine, host("lost", { machineId: undefined })],
];
for (const [claim, before, its] of STAYS)
  test(`a machine stays as it is ${claim}`, () =>
    following(async (rig, put) => {
      await put(keys.machine(machine.id), before);
      await put(keys.host("host-1"), host("ready"));
      await put(keys.host("host-1"), its);
      // What follows is written in order: a change that was to come is there before this one's.
      const other = { ...machine, id: "machine-9", name: "m9" };
      await put(keys.machine("machine-9"), other);
      await put(keys.host("host-9"), host("lost", { id: "host-9", machineId: "machine-9" }));
      const seen = () => rig.store.get<MachineRecord>(keys.machine("machine-9"))?.value.state === "lost";
      await until(seen, { what: "the loss of another", timeoutMs: 20_000, everyMs: 5 });
      assert.equal(rig.store.get<MachineRecord>(keys.machine(machine.id))?.value, before);
      assert.equal(
        (await lossesOf(rig)).map(({ subject }) => subject),
        ["machine-9"],
      );
    }));

test("a machine that changed since is not overwritten by an older look at it", () =>
  following(async (rig, put) => {
    await put(keys.machine(machine.id), machine);
    const both = [
      put(keys.host("host-1"), host("lost")),
      put(keys.machine(machine.id), { ...machine, state: "booting" }),
    ];
    await Promise.all(both);
    await put(keys.machine("machine-9"), { ...machine, id: "machine-9", name: "m9" });
    await put(keys.host("host-9"), host("lost", { id: "host-9", machineId: "machine-9" }));
    const seen = () => rig.store.get<MachineRecord>(keys.machine("machine-9"))?.value.state === "lost";
    await until(seen, { what: "the loss of another", timeoutMs: 20_000, everyMs: 5 });
    assert.is(stateOf(rig), "booting");
  }));

test.run();
