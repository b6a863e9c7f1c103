// time limit: 60 s
// Loops end, over a real control: the boot server tells what it saw, and what the machine is to boot changes.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { getProfile, putProfile } from "#api/boot.ts";
import { approveMachine, getMachine, machineTimeline, updateMachine } from "#api/machines.ts";
import { rolloutBootImage } from "#api/rollouts.ts";
import { listEvents } from "#api/status.ts";
import { keys } from "../../../control/keys.ts";
import type { MachineRecord } from "../../../control/records.ts";
import { bootIdOf, macOf, type World, world } from "../machine-world.ts";
import { type Rig, withRig } from "../rig.ts";

const MAC = macOf(1);
const quiet = { loops: false };
let boots = 0;
/** A boot that gets its script of what the boot server was told, and comes as far as its initrd. */
async function boot({ target, tell }: World): Promise<string> {
  const bootId = bootIdOf(++boots);
  const [machine] = (await target()).machines;
  if (machine!.target !== "boot") {
    await tell(MAC, "script", { message: "given the rescue shell", detail: { code: machine!.target } });
    return machine!.target;
  }
  const imageId = machine!.imageId!;
  await tell(MAC, "script", { bootId, imageId, message: `given boot image ${imageId}` });
  await tell(MAC, "initrd", { bootId, imageId });
  return imageId;
}
const refuse = (at: World) =>
  at.tell(MAC, "boot-failed", { bootId: bootIdOf(boots), level: "error", message: "its initrd refused to boot: no" });
const machineOf = (rig: Rig) => rig.admin.call(getMachine, { params: { id: MAC } });
const stages = async (rig: Rig) =>
  (await rig.admin.call(machineTimeline, { params: { id: MAC } })).items.filter(({ stage }) => stage === "fallback");

const setUp = async (rig: Rig, good?: string): Promise<World> => {
  const at = await world(rig);
  await at.image("old");
  await at.image("new", true);
  const { id } = await at.approved(1);
  if (good === undefined) return at;
  const { key, value } = rig.store.get<MachineRecord>(keys.machine(id))!;
  await rig.store.commit({ actor: "test", mutations: [{ key, value: { ...value, lastGoodImageId: good } }] });
  return at;
};

test("a machine that never gets ready boots the image that worked, then the rescue prompt; each with its reason", () =>
  withRig(async (rig) => {
    const at = await setUp(rig, "old");
    const given: string[] = [];
    for (let n = 0; n < 9; n++) given.push(await boot(at));
    assert.equal(given, ["new", "new", "new", "new", "old", "old", "old", "rescue", "rescue"]);
    const { state, reason, fallback } = await machineOf(rig);
    assert.is(state, "failed");
    assert.is(fallback?.stage, "rescue");
    assert.match(reason, /^3 boots within .* of image old ended before it was ready .*rescue prompt$/);
    const told = await stages(rig);
    assert.equal(
      told.map(({ level, detail }) => [level, detail?.["to"], detail?.["imageId"]]),
      [
        ["warning", "image", "old"],
        ["error", "rescue", "old"],
      ],
    );
    const events = (await rig.admin.call(listEvents, { query: {} })).items;
    assert.is(events.filter(({ type }) => type === "machine.fallback").length, 2);
  }, quiet));

test("a refusal in the initrd counts at once: the very next boot is the other one", () =>
  withRig(async (rig) => {
    const at = await setUp(rig, "old");
    const given: string[] = [];
    for (let n = 0; n < 4; n++) {
      given.push(await boot(at));
      await refuse(at);
    }
    assert.equal(given, ["new", "new", "new", "old"]);
    assert.match((await machineOf(rig)).fallback!.reason, /the last: its initrd refused to boot: no/);
  }, quiet));

test("the boot server's own word for a rescue prompt, given while control was away, makes the machine failed", () =>
  withRig(async (rig) => {
    const at = await setUp(rig, "old");
    for (let n = 0; n < 3; n++) await boot(at);
    for (let n = 0; n < 3; n++)
      await at.tell(MAC, "script", { bootId: bootIdOf(++boots), imageId: "old", message: "given boot image old" });
    assert.is((await machineOf(rig)).fallback?.stage, "image");
    await at.tell(MAC, "script", { message: "given the rescue shell", detail: { code: "rescue" } });
    const { state, fallback } = await machineOf(rig);
    assert.equal([state, fallback?.stage], ["failed", "rescue"]);
  }, quiet));

test("what it counted stays counted over a restart of control, told twice or not", () =>
  withRig(async (rig) => {
    const at = await setUp(rig, "old");
    const given: string[] = [];
    for (let n = 0; n < 4; n++) {
      given.push(await boot(at));
      await refuse(at);
      await refuse(at);
      await rig.restart();
    }
    assert.equal(given, ["new", "new", "new", "old"]);
    assert.is((await stages(rig)).length, 1);
  }, quiet));

for (const [what, decide] of [
  ["to approve it", (rig: Rig) => rig.admin.call(approveMachine, { params: { id: MAC }, body: {} })],
  ["another next boot", (rig: Rig) => rig.admin.call(updateMachine, { params: { id: MAC }, body: { target: "boot" } })],
  ["a rollout", (rig: Rig) => rig.admin.call(rolloutBootImage, { params: { id: "new" }, body: {} })],
  [
    "another profile",
    async (rig: Rig) => {
      const params = { name: "default" };
      const profile = await rig.admin.call(getProfile, { params });
      await rig.admin.call(putProfile, { params, body: { ...profile, cmdline: ["console=ttyS0"] } });
    },
  ],
] as const)
  test(`a person decides anew: ${what}`, () =>
    withRig(async (rig) => {
      const at = await setUp(rig);
      for (let n = 0; n < 6; n++) {
        await boot(at);
        await refuse(at);
      }
      assert.is((await machineOf(rig)).state, "failed");
      assert.is(await boot(at), "rescue");
      await decide(rig);
      const { state, fallback, reason } = await machineOf(rig);
      assert.equal([state, fallback, reason], ["approved", undefined, ""]);
      const again: string[] = [];
      for (let n = 0; n < 3; n++) again.push(await boot(at));
      assert.equal(again, ["new", "new", "new"]);
    }, quiet));

test.run();
