// Disks of machines: what hosts report is shown, and one is given up by an order that is good once, for that machine and content.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bootTarget, postBootEvents } from "#api/boot.ts";
import {
  cancelMachineWipe,
  getMachineDisks,
  type MachineDisk,
  reportHostDisks,
  type WipeOutcome,
  wipeMachineDisk,
} from "#api/disks.ts";
import { approveMachine, deleteMachine, machineTimeline } from "#api/machines.ts";
import { keys } from "../../control/keys.ts";
import type { HostRecord, MachineRecord } from "../../control/records.ts";
import type { FakeHost, Member, Rig } from "./rig.ts";
import { withRig } from "./rig.ts";

const disk: MachineDisk = {
  path: "/dev/vda",
  serial: "S1",
  sizeBytes: 1 << 30,
  holds: "holds ext4 (label backup)",
  canWipe: true,
  fingerprint: "1".repeat(64),
};
const mounted: MachineDisk = {
  ...disk,
  path: "/dev/vdb",
  canWipe: false,
  holds: "is mounted",
  fingerprint: "2".repeat(64),
};

interface Machine {
  rig: Rig;
  boot: Member;
  host: FakeHost;
  params: { id: string };
  report(wipe?: WipeOutcome): Promise<unknown>;
  order(): Promise<string | undefined>;
}

/** A machine that is a host, and has reported two disks. */
async function withMachine(body: (machine: Machine) => Promise<void>, diskPolicy: "ram" | "find-empty" = "find-empty") {
  await withRig(
    async (rig) => {
      const [boot, host] = [await rig.join("boot"), await rig.host("node-1")];
      const claimed = { mac: "52:54:00:00:00:99" };
      const event = {
        eventId: "e1",
        at: "2026-01-01T00:00:00Z",
        claimed,
        observed: {},
        stage: "discover",
        level: "info",
        message: "seen",
      };
      const { machines } = await boot.client.call(postBootEvents, {
        params: { id: boot.id },
        body: { events: [event as never] },
      });
      const { machineId } = machines[0]!;
      await rig.admin.call(approveMachine, { params: { id: machineId } });
      const record = rig.store.get<HostRecord>(keys.host(host.id))!.value;
      await rig.store.commit({
        actor: "test",
        mutations: [{ key: keys.host(host.id), value: { ...record, machineId } }],
      });
      const report = (wipe?: WipeOutcome) =>
        host.client.call(reportHostDisks, {
          params: { id: host.id },
          body: { disks: [disk, mounted], ...(wipe ? { wipe } : {}) },
        });
      await report();
      const order = async () =>
        (await boot.client.call(bootTarget, { params: { id: boot.id } })).machines.find(({ id }) => id === machineId)
          ?.wipeOrder?.id;
      await body({ rig, boot, host, params: { id: machineId }, report, order });
    },
    { loops: false, diskPolicy },
  );
}

const codeOf = async (work: Promise<unknown>) =>
  work.then(
    () => "done",
    ({ code }: { code?: string }) => code,
  );

test("what a host reports of its disks is shown; a machine that reported none says so by leaving out when", () =>
  withMachine(async ({ rig, params }) => {
    const { disks, seenAt, order } = await rig.admin.call(getMachineDisks, { params });
    assert.equal(disks, [disk, mounted]);
    assert.ok(seenAt);
    assert.is(order, undefined);
  }));

test("an order goes to the machine's next boot with the disk's names, and to the timeline", () =>
  withMachine(async ({ rig, boot, params, order }) => {
    const made = await rig.admin.call(wipeMachineDisk, { params, body: { fingerprint: disk.fingerprint } });
    assert.is(await order(), made.id);
    const { machines } = await boot.client.call(bootTarget, { params: { id: boot.id } });
    const { fingerprint, serial, sizeBytes, orderedBy } = machines[0]!.wipeOrder!;
    assert.equal([fingerprint, serial, sizeBytes], [disk.fingerprint, disk.serial, disk.sizeBytes]);
    assert.ok(orderedBy);
    const { items } = await rig.admin.call(machineTimeline, { params, query: {} });
    assert.match(items.at(-1)!.message, /gave up \/dev\/vda \(holds ext4 \(label backup\)\): all of it is erased/);
  }));

for (const did of ["begun", "refused"] as const)
  test(`an order is spent when the host says that it was ${did}, and by no other word`, () =>
    withMachine(async ({ rig, params, report, order }) => {
      const { id } = await rig.admin.call(wipeMachineDisk, { params, body: { fingerprint: disk.fingerprint } });
      await report();
      await report({ orderId: "w_other", did, reason: "another order" });
      assert.is(await order(), id, "still to be carried out");
      await report({ orderId: id, did, reason: "that is how it went" });
      assert.is(await order(), undefined);
      const { last } = await rig.admin.call(getMachineDisks, { params });
      assert.equal(last, { orderId: id, did, reason: "that is how it went" });
      await report();
      assert.equal((await rig.admin.call(getMachineDisks, { params })).last, last);
    }));

test("an order is for a disk that was reported, can be wiped, and only where the profile uses disks", async () => {
  await withMachine(async ({ rig, params }) => {
    const wipe = (fingerprint: string) => rig.admin.call(wipeMachineDisk, { params, body: { fingerprint } });
    assert.is(await codeOf(wipe("3".repeat(64))), "not-found");
    assert.is(await codeOf(wipe(mounted.fingerprint)), "conflict");
  });
  await withMachine(async ({ rig, params }) => {
    const wipe = rig.admin.call(wipeMachineDisk, { params, body: { fingerprint: disk.fingerprint } });
    assert.match(String(await wipe.catch((error: unknown) => error)), /flynn profile set default --disk find-empty/);
  }, "ram");
});

test("an order that waits is not replaced by another's: who ordered what is named, and taking it back is the way on", () =>
  withMachine(async ({ rig, params, order }) => {
    const body = { fingerprint: disk.fingerprint };
    const first = await rig.admin.call(wipeMachineDisk, { params, body });
    assert.is((await rig.admin.call(wipeMachineDisk, { params, body })).id, first.id, "the same once more");
    const other = rig.client({ token: await rig.tokenWith(["machine:write"]) });
    const said = String(await other.call(wipeMachineDisk, { params, body }).catch((error: unknown) => error));
    assert.match(said, new RegExp(`${first.orderedBy} ordered /dev/vda of machine .*: flynn machine wipe .* --cancel`));
    assert.is(await order(), first.id);
    await other.call(cancelMachineWipe, { params });
    assert.is.not((await other.call(wipeMachineDisk, { params, body })).id, first.id);
  }));

test("an order can be taken back until it has begun", () =>
  withMachine(async ({ rig, params, order }) => {
    assert.is(await codeOf(rig.admin.call(cancelMachineWipe, { params })), "not-found");
    await rig.admin.call(wipeMachineDisk, { params, body: { fingerprint: disk.fingerprint } });
    await rig.admin.call(cancelMachineWipe, { params });
    assert.is(await order(), undefined);
  }));

test("a host says nothing of another's disks, and a host without a machine of nobody's", () =>
  withMachine(async ({ rig, host, params }) => {
    const other = await rig.host("node-2");
    const body = { disks: [] };
    assert.is(await codeOf(other.client.call(reportHostDisks, { params: { id: host.id }, body })), "forbidden");
    await other.client.call(reportHostDisks, { params: { id: other.id }, body });
    assert.is((await rig.admin.call(getMachineDisks, { params })).disks.length, 2);
  }));

test("a machine that is forgotten takes its disks and its order along", () =>
  withMachine(async ({ rig, host, params }) => {
    await rig.admin.call(wipeMachineDisk, { params, body: { fingerprint: disk.fingerprint } });
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.host(host.id), value: null }] });
    const key = keys.machine(params.id);
    await rig.store.commit({
      actor: "test",
      mutations: [{ key, value: { ...rig.store.get<MachineRecord>(key)!.value, hostId: undefined } }],
    });
    await rig.admin.call(deleteMachine, { params });
    assert.is(rig.store.get(keys.machineDisks(params.id)), undefined);
  }));

test.run();
