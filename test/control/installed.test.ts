// Machines that boot from their own disk: nobody at the boot server sees it, and no join says so, since the host has its identity. Its report
// does: the machine's image, boot and timeline follow from it, and its target says what its disk is to boot.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { putProfile } from "#api/boot.ts";
import type { HostReport, HostTarget } from "#api/host-agents.ts";
import type { TimelineEvent } from "#api/machines.ts";
import { hostInputs } from "../../control/host-inputs.ts";
import { keys } from "../../control/keys.ts";
import type { HostRecord, MachineRecord } from "../../control/records.ts";
import { acceptReport } from "../../control/reports.ts";
import { hostFeeds } from "../../control/targets/host-feeds.ts";
import { type World, world } from "./machine-world.ts";
import { factsOf, type Rig, withRig } from "./rig.ts";

const FIND_EMPTY = { name: "find-empty", mode: "find-empty" } as const;
const profile = {
  name: "default",
  image: "current",
  cmdline: ["quiet"],
  tags: {},
  sshKeys: [],
  diskPolicy: FIND_EMPTY,
};

interface Installed {
  rig: Rig;
  it: World;
  machineId: string;
  hostId: string;
  machine(): MachineRecord;
  timeline(): TimelineEvent[];
  report(facts: Partial<HostReport["facts"]>): Promise<unknown>;
}

/** A host of a machine, as its first boot from the network left it. */
const installed = (body: (of: Installed) => Promise<void>) =>
  withRig(async (rig) => {
    const it = await world(rig);
    await it.image("one", true);
    await rig.admin.call(putProfile, { params: { name: "default" }, body: { ...profile, install: "disk" } });
    const { id: machineId } = await it.approved(1);
    const host = await rig.join("host", { name: "node-1" });
    const record = rig.store.get<HostRecord>(keys.host(host.id))!.value;
    const machine = rig.store.get<MachineRecord>(keys.machine(machineId))!.value;
    await rig.store.commit({
      actor: "test",
      mutations: [
        { key: keys.host(host.id), value: { ...record, machineId } },
        {
          key: keys.machine(machineId),
          value: {
            ...machine,
            hostId: host.id,
            state: "ready",
            bootId: "boot-1",
            joinedBootId: "boot-0",
            imageId: "one",
          },
        },
      ],
    });
    await body({
      ...{ rig, it, machineId, hostId: host.id },
      machine: () => rig.store.get<MachineRecord>(keys.machine(machineId))!.value,
      timeline: () => rig.store.list<TimelineEvent>(keys.timelineOf(machineId)).map(({ value }) => value),
      report: (facts) =>
        acceptReport(rig.control.context, host.id, {
          ...{ term: 1, seq: 1, facts: { ...factsOf("node-1"), ...facts } },
          ...{ engine: { healthy: true, reason: "" }, jobs: [] },
        }),
    });
    await it.stop();
  });

test("a host that comes back from its own disk is the same machine, with the image of that slot and a boot of its own", () =>
  installed(async ({ it, machine, timeline, report }) => {
    await it.image("two");
    const before = timeline().length;
    await report({ bootId: "kernel-2", slot: { slot: "b", imageId: "two" } });
    const { state, imageId, lastGoodImageId, bootId, joinedBootId } = machine();
    assert.equal({ state, imageId, lastGoodImageId }, { state: "ready", imageId: "two", lastGoodImageId: "two" });
    assert.ok(bootId !== "boot-1" && bootId === joinedBootId);
    const steps = timeline().slice(before);
    assert.equal(
      steps.map(({ stage, bootId: of }) => [stage, of]),
      [
        ["join", bootId],
        ["ready", bootId],
      ],
    );
    assert.match(steps[0]!.message, "host node-1 is back: it booted from its own disk, slot B with image two");
    await report({ bootId: "kernel-2", slot: { slot: "b", imageId: "two" } });
    assert.is(timeline().length, before + 2, "once");
  }));

for (const [what, isOfOther] of [
  ["none of the cluster", false],
  ["one of another architecture", true],
] as const)
  test(`what a host says that it booted from its disk, and is ${what}, is nobody's way back`, () =>
    installed(async ({ rig, it, machineId, machine, timeline, report }) => {
      const lastGood = keys.lastGoodBootImage("amd64");
      await it.image("two");
      if (isOfOther) {
        await it.image("odd");
        const { value } = rig.store.get<Record<string, unknown>>(keys.bootImage("odd"))!;
        const change = { key: keys.bootImage("odd"), value: { ...value, architecture: "arm64" } };
        await rig.store.commit({ actor: "test", mutations: [change] });
      }
      await rig.store.commit({
        actor: "test",
        mutations: [
          { key: lastGood, value: "two" },
          { key: keys.machine(machineId), value: { ...machine(), lastGoodImageId: "one" } },
        ],
      });
      const before = timeline().length;
      await report({ bootId: "kernel-2", slot: { slot: "b", imageId: "odd" } });
      await report({ bootId: "kernel-2", slot: { slot: "b", imageId: "odd" } });
      const { state, imageId, lastGoodImageId } = machine();
      assert.equal({ state, imageId, lastGoodImageId }, { state: "ready", imageId: "one", lastGoodImageId: "one" });
      assert.is(rig.store.get<string>(lastGood)?.value, "two");
      const [told, ...more] = timeline().slice(before);
      assert.match(told!.message, "slot B, and says with image odd, which is none of this cluster for amd64");
      assert.is(told!.level, "warning");
      assert.equal(
        more.map(({ stage }) => stage),
        ["ready"],
      );
    }));

test("a host with an identity from before that booted from the network has booted anew, too", () =>
  installed(async ({ machine, report }) => {
    await report({ bootId: "kernel-2" });
    assert.is(machine().joinedBootId, "boot-1");
    assert.is(machine().imageId, "one");
  }));

test("a host is told what its disk is to boot, as its profile says, and nothing where the profile says nothing", () =>
  installed(async ({ rig, it, machineId, hostId, machine }) => {
    const { context } = rig.control;
    const feeds = hostFeeds(context, hostInputs(context));
    const target = (): HostTarget["install"] => feeds.targetOf(hostId).install;
    assert.is(target()?.id, "one");
    assert.equal(target()?.cmdline, ["quiet"]);
    await it.image("two");
    await rig.store.commit({
      actor: "test",
      mutations: [{ key: keys.machine(machineId), value: { ...machine(), pinnedImageId: "two" } }],
    });
    assert.is(target()?.id, "two", "the image of its rollout");
    await rig.admin.call(putProfile, { params: { name: "default" }, body: { ...profile, install: "none" } });
    assert.is(target(), undefined);
  }));

test("a profile that installs to a disk and names none is refused, in words", () =>
  installed(async ({ rig }) => {
    const ram = { ...profile, diskPolicy: { name: "ram-only", mode: "ram" as const }, install: "disk" as const };
    const why = await rig.admin
      .call(putProfile, { params: { name: "default" }, body: ram })
      .then(String, (error: Error) => error.message);
    assert.match(why, /install: disk needs a disk policy that names a disk: the boot images and the state live there/);
  }));

test.run();
