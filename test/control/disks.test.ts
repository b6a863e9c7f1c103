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
import { hostTarget } from "#api/host-agents.ts";
import { drainHost } from "#api/hosts.ts";
import { cancelMachineOrder, getMachineOrder, type MachineOrder } from "#api/machine-orders.ts";
import { approveMachine, deleteMachine, machineTimeline } from "#api/machines.ts";
import { getMachineWipe, reportHostWipe, startMachineWipe, type WipeProgress, type WipeTask } from "#api/wipes.ts";
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

const evidence = {
  did: "zeros written",
  bytesRead: disk.sizeBytes,
  startedAt: "2026-01-01T00:00:00.000Z",
  endedAt: "2026-01-01T00:01:00.000Z",
  seconds: 60,
};

/** The host's side of a wipe. */
async function withWipe(
  body: (
    machine: Omit<Machine, "order"> & {
      order: MachineOrder;
      tell(state: WipeProgress, more?: object): Promise<unknown>;
      now(): Promise<{ machine: string; order: string }>;
      told(): Promise<WipeTask[]>;
    },
  ) => Promise<void>,
) {
  await withMachine(async (machine) => {
    const { rig, host, params } = machine;
    const key = keys.machine(params.id);
    const value = { ...rig.store.get<MachineRecord>(key)!.value, hostId: host.id, state: "ready" as const };
    await rig.store.commit({ actor: "test", mutations: [{ key, value }] });
    const order = await rig.admin.call(startMachineWipe, { params, body: { fingerprints: [disk.fingerprint] } });
    const at = { id: host.id };
    const tell = (state: WipeProgress, more: object = {}) =>
      host.client.call(reportHostWipe, {
        params: at,
        body: {
          ...{ orderId: order.id, fingerprint: disk.fingerprint, state, percent: 10 },
          step: `/dev/vda: ${state}`,
          ...more,
        },
      });
    const now = async () => ({
      machine: rig.store.get<MachineRecord>(key)!.value.state,
      order: (await rig.admin.call(getMachineOrder, { params: { id: params.id, order: order.id } })).state,
    });
    const told = async () => (await host.client.call(hostTarget, { params: at })).wipes ?? [];
    await body({ ...machine, order, tell, now, told });
  });
}

test("a wipe is told to the host, shows its steps, and ends with a proof of every byte on the machine and its timeline", () =>
  withWipe(async ({ rig, boot, params, tell, now, told }) => {
    assert.equal(await now(), { machine: "ready", order: "waiting" });
    assert.equal(
      (await told()).map(({ path, begun }) => [path, begun]),
      [["/dev/vda", false]],
    );
    const { machines } = await boot.client.call(bootTarget, { params: { id: boot.id } });
    assert.equal(machines[0]!.givenUp, [disk.fingerprint], "a boot meanwhile takes it for no state disk");
    await tell("running", { progress: "100 MiB of 1 GiB, 20 MiB/s" });
    assert.equal(await now(), { machine: "erasing", order: "running" });
    assert.equal(
      (await told()).map(({ begun }) => begun),
      [true],
    );
    await tell("done");
    assert.equal(await now(), { machine: "erasing", order: "running" }, "without evidence nothing is proven");
    await tell("done", { evidence });
    await tell("done", { evidence });
    assert.equal(await now(), { machine: "ready", order: "done" });
    assert.equal(await told(), []);
    const { proofs } = await rig.admin.call(getMachineWipe, { params });
    assert.is(proofs.length, 1);
    assert.is(proofs[0]!.result, `all ${disk.sizeBytes} bytes read as zero`);
    assert.is(proofs[0]!.held, "holds ext4 (label backup)");
    const { items } = await rig.admin.call(machineTimeline, { params, query: {} });
    const words = items.filter(({ stage }) => stage === "wipe").map(({ message }) => message);
    assert.equal(words, [`/dev/vda (S1) is wiped: zeros written; all ${disk.sizeBytes} bytes read as zero, in 60 s`]);
  }));

test("a proof by samples never says that all was read", () =>
  withWipe(async ({ rig, params, tell }) => {
    await tell("done", { evidence: { ...evidence, bytesRead: 1_000 } });
    const { proofs } = await rig.admin.call(getMachineWipe, { params });
    assert.match(proofs[0]!.result, /^1000 of \d+ bytes, in samples, read as zero; what lies between was not read$/);
  }));

test("a wipe that failed says why; one that is taken back is told no more, and what is lost is on the timeline", async () => {
  await withWipe(async ({ tell, now }) => {
    await tell("running");
    await tell("failed", { step: "/dev/vda: byte 7 is not zero; the disk is faulty" });
    assert.equal(await now(), { machine: "ready", order: "failed" });
  });
  await withWipe(async ({ rig, params, order, tell, now, told }) => {
    await tell("running");
    await rig.admin.call(cancelMachineOrder, { params: { id: params.id, order: order.id }, body: {} });
    assert.equal(await told(), []);
    assert.equal(await now(), { machine: "ready", order: "cancelled" });
    await tell("failed", { step: "stopped: the first 3 GiB of /dev/vda are lost" });
    assert.equal(await now(), { machine: "ready", order: "cancelled" });
    const { items } = await rig.admin.call(machineTimeline, { params, query: {} });
    assert.match(items.at(-1)!.message, /is not wiped: stopped: the first 3 GiB of \/dev\/vda are lost/);
  });
});

test("a wipe needs a host that runs, a disk that it reported and can be wiped; the disk of its state needs a drained host", () =>
  withMachine(async ({ rig, host, params, report }) => {
    const wipe = (...fingerprints: string[]) =>
      rig.admin.call(startMachineWipe, { params, body: { fingerprints } }).then(
        () => "done",
        ({ message }: Error) => message,
      );
    assert.match(await wipe(disk.fingerprint), /no host runs on machine .*; boot it first/);
    const key = keys.machine(params.id);
    const value = { ...rig.store.get<MachineRecord>(key)!.value, hostId: host.id };
    await rig.store.commit({ actor: "test", mutations: [{ key, value }] });
    assert.match(await wipe("3".repeat(64)), /reported no disk of fingerprint 333333333333/);
    assert.match(await wipe(disk.fingerprint, mounted.fingerprint), /is mounted; it cannot be wiped/);
    const own = { ...disk, standing: "ours" as const, holds: "is this host's state disk" };
    await host.client.call(reportHostDisks, { params: { id: host.id }, body: { disks: [own] } });
    assert.match(await wipe(disk.fingerprint), /keeps the state of host node-1; .*flynn host drain node-1/);
    await rig.admin.call(drainHost, { params: { id: host.id } });
    assert.is(await wipe(disk.fingerprint), "done");
    await report();
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
