// What boot servers decide from: machines that somebody decided on, each with the image, profile and tags of its own.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootMachine, Profile } from "#api/boot.ts";
import { approval, newMachine } from "../../../control/identity/observe.ts";
import { keys } from "../../../control/keys.ts";
import type { MachineRecord } from "../../../control/records.ts";
import { bootImages, bootTargetOf } from "../../../control/targets/boot.ts";
import { type Rig, withRig } from "../rig.ts";

const AT = "2026-01-01T00:00:00.000Z";
const quiet = { loops: false };
const seen: MachineRecord = newMachine({ mac: "52:54:00:00:00:01" }, { names: [], auto: false, at: AT });
const approved: MachineRecord = { ...seen, ...approval("ann", AT) };
const profileOf = (over: Partial<Profile>): Profile => ({
  name: "p",
  image: "current",
  cmdline: [],
  tags: {},
  diskPolicy: "ram" as never,
  sshKeys: [],
  ...over,
});

const put = (rig: Rig, records: Record<string, unknown>) =>
  rig.store.commit({
    actor: "test",
    mutations: Object.entries(records).map(([key, value]) => ({ key, value: value as object })),
  });
const targetOf = ({ control: { context } }: Rig) => bootTargetOf(context);
async function only(rig: Rig, machine: MachineRecord): Promise<BootMachine | undefined> {
  await put(rig, { [keys.machine(seen.id)]: machine });
  const { machines } = targetOf(rig);
  assert.ok(machines.length <= 1);
  return machines[0];
}

test("machines that nobody decided on are no news; those approved, refused or sent somewhere are", () =>
  withRig(async (rig) => {
    assert.is(await only(rig, seen), undefined);
    assert.is((await only(rig, approved))?.rejected, undefined);
    const refused = await only(rig, { ...seen, state: "rejected" });
    assert.equal([refused?.id, refused?.rejected], [seen.id, true]);
    const sent = await only(rig, { ...seen, target: "local" as never });
    assert.is(sent?.target, "local");
  }, quiet));

test("a machine is told as what was approved of it, and what is not known of it is left out", () =>
  withRig(async (rig) => {
    const bare = (await only(rig, approved))!;
    assert.equal([bare.hostname, bare.macs, bare.target], [approved.name, approved.macs, approved.target]);
    for (const field of ["uuid", "serial", "rejected", "joinedBootId", "wipeOrder", "imageId"])
      assert.not.ok(field in bare, field);
    const identity = { ...approved.identity, uuid: "11111111-2222-3333-4444-555555555555", serial: "SN1" };
    const full = (await only(rig, { ...approved, identity, joinedBootId: "boot-1" }))!;
    assert.equal([full.uuid, full.serial, full.joinedBootId], [identity.uuid, "SN1", "boot-1"]);
    const order = { id: "wipe-1" };
    await put(rig, { [keys.machineDisks(seen.id)]: { order } });
    assert.equal((await only(rig, approved))!.wipeOrder, order);
  }, quiet));

test("its profile says its image and tags; its own tags go before, and a profile that is gone is the default", () =>
  withRig(async (rig) => {
    const profile = profileOf({ tags: { rack: "r1", zone: "a" } });
    await put(rig, {
      [keys.profile("p")]: profile,
      [keys.profile("pinned")]: profileOf({ name: "pinned", image: "i1" }),
      [keys.bootImage("i1")]: { id: "i1", architecture: "amd64" },
      [keys.bootImage("i2")]: { id: "i2", architecture: "amd64" },
    });
    const machine = { ...approved, profile: "p", tags: { zone: "b" } };
    assert.is((await only(rig, machine))!.imageId, undefined, "there is no current image");
    await put(rig, { [keys.currentBootImage("amd64")]: "i2" });
    const it = (await only(rig, machine))!;
    assert.equal([it.profile, it.tags, it.imageId], [profile, { rack: "r1", zone: "b" }, "i2"]);
    assert.is((await only(rig, { ...machine, profile: "pinned" }))!.imageId, "i1");
    assert.is((await only(rig, { ...machine, profile: "gone" }))!.profile.name, "default");
    assert.equal(
      bootImages(rig.store).map(({ id, current }) => [id, current]),
      [
        ["i1", false],
        ["i2", true],
      ],
    );
  }, quiet));

test("the cluster's range, once set, is what boot servers read nothing from; before, the configured one", () =>
  withRig(async (rig) => {
    await put(rig, { [keys.cluster]: null });
    assert.equal(targetOf(rig).jobNetworks, [rig.config.clusterRange]);
    await put(rig, { [keys.cluster]: { clusterRange: "10.99.0.0/16" } });
    const target = targetOf(rig);
    assert.equal(target.jobNetworks, ["10.99.0.0/16"]);
    assert.equal([target.term, target.seq], [rig.store.term, rig.store.durableSeq]);
    assert.equal([target.caPem, target.unknownMachines], [rig.caPem, rig.config.unknownMachines]);
  }, quiet));

test.run();
