// Machines: what boot servers report becomes of them, what the doctor says of each place they may stop at, and what is kept.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootEvent } from "#api/boot.ts";
import { postBootEvents } from "#api/boot.ts";
import {
  approveMachine,
  getMachine,
  listMachines,
  type Machine,
  machineTimeline,
  type Stage,
  type TimelineEvent,
} from "#api/machines.ts";
import { getStatus, listEvents } from "#api/status.ts";
import { diagnose } from "../../control/doctor.ts";
import { eventChanges, eventsToTrim, plainText } from "../../control/events.ts";
import { keys, PREFIX } from "../../control/keys.ts";
import { findMachine, machineAfter, newMachine, tellsApart } from "../../control/observe.ts";
import type { MachineRecord } from "../../control/records.ts";
import { surplus } from "../../control/retention.ts";
import { withRig } from "./rig.ts";

const AT = "2026-01-01T00:00:00.000Z";
const UUID = "11111111-2222-3333-4444-555555555555";
const quiet = { loops: false };
const macOf = (n: number) =>
  `52:54:00:00:${(n >> 8).toString(16).padStart(2, "0")}:${(n & 255).toString(16).padStart(2, "0")}`;
const machineOf = (identity: MachineRecord["identity"]) => newMachine(identity, { names: [], auto: false, at: AT });
const entry = (value: MachineRecord) => ({ key: keys.machine(value.id), value, version: 1 });
let eventCount = 0;
const event = (mac: string, stage: Stage, over: Partial<BootEvent> = {}): BootEvent => ({
  eventId: `e${++eventCount}`,
  at: AT,
  identity: { mac },
  stage,
  level: "info",
  message: stage,
  ...over,
});

test("a machine is known by its MAC; by UUID and serial only when the serial tells machines apart", () => {
  const one = entry(machineOf({ mac: macOf(1), uuid: UUID, serial: "CZ1234ABCD" }));
  const find = (identity: Parameters<typeof findMachine>[1]) => findMachine([one], identity)?.value.id;
  assert.is(find({ mac: macOf(1) }), one.value.id);
  assert.is(find({ mac: macOf(2), uuid: UUID, serial: "CZ1234ABCD" }), one.value.id);
  assert.is(find({ mac: macOf(2), uuid: UUID }), undefined);
  assert.is(find({ mac: macOf(2), serial: "CZ1234ABCD" }), undefined);
  for (const serial of [
    "None",
    "To-Be-Filled-By-O.E.M.",
    "Default-string",
    "0123456789",
    "00000000",
    "XXXXXXXX",
    "N/A",
    "abc",
    "System-Serial-Number",
    "Not-Specified",
  ]) {
    assert.not(tellsApart(serial), serial);
    const junk = entry(machineOf({ mac: macOf(1), uuid: UUID, serial }));
    assert.is(findMachine([junk], { mac: macOf(2), uuid: UUID, serial }), undefined, serial);
  }
});

test("its state moves only on what was fetched: a script served is not a boot", () => {
  const machine: MachineRecord = { ...machineOf({ mac: macOf(1) }), state: "approved" };
  for (const stage of ["discover", "offer", "tftp", "script"] as const)
    assert.is(machineAfter(machine, event(macOf(1), stage, { bootId: "b1" })).state, "approved", stage);
  const booting = machineAfter(machine, event(macOf(1), "kernel", { bootId: "b1", imageId: "i1" }));
  assert.equal([booting.state, booting.bootId, booting.imageId], ["booting", "b1", "i1"]);
  const ready: MachineRecord = { ...booting, state: "ready" };
  assert.is(machineAfter(ready, event(macOf(1), "initrd", { bootId: "b1" })).state, "ready");
  assert.is(machineAfter(ready, event(macOf(1), "kernel", { bootId: "b2" })).state, "booting");
  let many = machine;
  for (let n = 0; n < 100; n++) many = machineAfter(many, event(macOf(n), "discover"));
  assert.ok(many.macs.length <= 32 && many.macs.includes(macOf(99)));
});

test("five hundred machines at once are all told of, once, however often their events come", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const events = Array.from({ length: 500 }, (_, n) =>
      event(macOf(n), "discover", { message: `DISCOVER \u001b[2J ${n}` }),
    );
    const post = () => boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events } });
    const first = await post();
    assert.equal((await post()).machines, first.machines);
    assert.is(new Set(first.machines.map(({ machineId }) => machineId)).size, 500);
    assert.is(rig.store.count(PREFIX.machines), 500);
    assert.is(
      new Set((await rig.admin.call(listMachines, { query: { limit: 1000 } })).items.map(({ name }) => name)).size,
      500,
    );
    await rig.admin.call(approveMachine, { params: { id: macOf(1) }, body: {} });
    assert.is((await rig.admin.call(getMachine, { params: { id: macOf(1) } })).state, "approved");
    const { items } = await rig.admin.call(listEvents, {
      query: { type: "machine.discovered", after: 0, limit: 1000 },
    });
    assert.is(new Set(items.map(({ subject }) => subject)).size, 500);
    const timeline = await rig.admin.call(machineTimeline, { params: { id: macOf(0) } });
    assert.equal(
      timeline.items.map(({ message }) => message),
      ["DISCOVER ?[2J 0"],
    );
    assert.match(
      (await rig.admin.call(getStatus)).parts.find(({ name }) => name === "boot server")!.message,
      /connected/,
    );
  }, quiet));

const STUCK: [Stage, RegExp, RegExp][] = [
  ["discover", /got no offer from us/, /second DHCP server/],
  ["offer", /fetched nothing/, /UDP 69/],
  ["tftp", /did not come back for a script/, /Secure Boot/],
  ["approved", /has not asked for its boot script/, /off and on/],
  ["script", /fetched no kernel/, /TCP 7780/],
  ["kernel", /not the initrd/, /memory/],
  ["initrd", /did not fetch the root image/, /driver/],
  ["squashfs", /did not ask for its seed/, /memory|checksum/],
  ["seed", /agent did not join/, /TCP 7777/],
  ["cloud-init", /agent did not join/, /TCP 7777/],
  ["join", /not reported itself ready/, /docker/],
  ["disk", /engine is not up/, /docker/],
];

test("the doctor names the place where a boot stopped and what to do, and is patient before", () => {
  const machine: Machine = { ...machineOf({ mac: macOf(1) }), name: "node-1", state: "booting", bootId: "b1" };
  for (const [stage, what, todo] of STUCK) {
    const timeline: TimelineEvent[] = [
      { seq: 1, at: AT, machineId: machine.id, bootId: "b1", stage, level: "info", message: `${stage} was seen` },
    ];
    const at = (ms: number) => diagnose(machine, timeline, { now: new Date(Date.parse(AT) + ms), bootServers: 1 });
    const stopped = at(3_600_000);
    assert.match(stopped.summary, /^node-1 stopped: .*nothing was heard for 1h00m/, stage);
    assert.match(stopped.findings[0]!.what, what, stage);
    assert.match(stopped.findings[0]!.todo, todo, stage);
    assert.match(at(1_000).summary, /is booting/, stage);
  }
  const circumstances = { now: new Date(AT), bootServers: 0 };
  assert.match(
    diagnose({ ...machine, state: "discovered" }, [], circumstances).summary,
    /flynn machine approve node-1/,
  );
  assert.match(diagnose(machine, [], circumstances).findings[0]!.what, /no boot server/);
  assert.match(diagnose({ ...machine, state: "ready" }, [], circumstances).summary, /ready host/);
  assert.match(diagnose({ ...machine, state: "lost" }, [], circumstances).summary, /fell silent/);
});

test("events and timelines are bounded, and a deleted app leaves nothing behind", () =>
  withRig(async ({ store, control }) => {
    assert.is(plainText("a\u0000b\u202ec\n"), "a?b?c?");
    for (let n = 0; n < 11; n++)
      await store.commit({
        actor: "test",
        mutations: eventChanges(
          store,
          new Date(),
          ...Array.from({ length: 1_000 }, (_, at) => ({
            type: "x.y",
            subject: `${n} ${at}`,
            message: "m",
            actor: "a",
          })),
        ),
      });
    assert.is(store.count(PREFIX.events), 11_000);
    assert.is(eventsToTrim(store).length, 1_000);
    const app = { id: "app-1", name: "hello", deleting: true };
    const rows = [
      keys.app("app-1"),
      keys.release("app-1", "r1"),
      keys.deployment("app-1", "d1"),
      keys.job("app-1", "j1"),
      keys.formation("app-1", "r1"),
      keys.artifact("a1"),
    ];
    const values = rows.map((key) => ({
      key,
      value: key === rows[0] ? app : { id: key.split("/").at(-1), appId: "app-1", state: "down", createdAt: AT },
    }));
    await store.commit({ actor: "test", mutations: values });
    const gone = surplus(store, Date.now());
    await store.commit({ actor: "test", mutations: gone });
    for (const key of rows) assert.is(store.get(key), undefined, key);
    assert.is(store.count(PREFIX.events), 10_000);
    assert.is(control.context.jobs.ofApp("app-1").length, 0);
  }, quiet));

test.run();
