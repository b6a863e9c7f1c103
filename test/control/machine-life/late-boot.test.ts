// A host that keeps its identity boots while control is away: it reports before its boot server has told of the boot. The boot is the
// machine's all the same; in quiet times whatever boots beside a live host is not what runs.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { reportHost } from "#api/host-agents.ts";
import { getMachine } from "#api/machines.ts";
import { keys } from "../../../control/keys.ts";
import type { HostRecord, MachineRecord } from "../../../control/records.ts";
import { bootIdOf, macOf, type World, world } from "../machine-world.ts";
import { factsOf, type Member, type Rig, withRig } from "../rig.ts";

const MAC = macOf(1);
const quiet = { loops: false };
const engine = { healthy: true, version: "20.10", reason: "" };

const report = ({ id, client }: Member, kernel: string) =>
  client.call(reportHost, {
    params: { id },
    body: { term: 0, seq: 0, facts: { ...factsOf("node-1", 1), bootId: kernel, macs: [MAC] }, engine, jobs: [] },
  });
const boots = async ({ tell }: World, n: number, imageId: string) => {
  await tell(MAC, "script", { bootId: bootIdOf(n), imageId });
  await tell(MAC, "kernel", { bootId: bootIdOf(n), imageId });
};
const shown = async (rig: Rig) => {
  const { state, bootId, imageId } = await rig.admin.call(getMachine, { params: { id: MAC } });
  return [state, bootId, imageId];
};

test("late events of the boot that a live host runs are that machine's; those of a boot beside it are not", () =>
  withRig(async (rig) => {
    const at = await world(rig);
    await at.image("old");
    await at.image("new", true);
    const { id } = await at.approved(1);
    await boots(at, 901, "old");
    const host = await rig.host("one");
    const { key, value } = rig.store.get<HostRecord>(keys.host(host.id))!;
    const machine = rig.store.get<{ hostId?: string }>(keys.machine(id))!;
    await rig.store.commit({
      actor: "test",
      mutations: [
        { key, value: { ...value, machineId: id } },
        { key: machine.key, value: { ...machine.value, hostId: host.id } },
      ],
    });
    await report(host, "k1");
    assert.equal(await shown(rig), ["ready", bootIdOf(901), "old"]);
    await boots(at, 902, "new");
    assert.equal(await shown(rig), ["ready", bootIdOf(901), "old"], "its host lives, with the kernel it had");

    await report(host, "k2");
    await boots(at, 903, "new");
    assert.equal(await shown(rig), ["booting", bootIdOf(903), "new"]);
    await report(host, "k2");
    assert.equal(await shown(rig), ["ready", bootIdOf(903), "new"]);
    const joined = () => rig.store.get<MachineRecord>(machine.key)!.value.joinedBootId;
    assert.is(joined(), bootIdOf(903), "what waits for a new boot of it has seen one");
    await boots(at, 904, "old");
    assert.equal(
      await shown(rig),
      ["ready", bootIdOf(903), "new"],
      "and that is told: what boots beside it does not run",
    );
    await at.stop();
  }, quiet));

test.run();
