// Inventories as control takes them: whose word counts before approval, what the six words bind a person's decision to, and what a host
// says of its own machine.
import { generateKeyPairSync, type KeyPairKeyObjectResult, sign } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type BootEvent, postBootEvents } from "#api/boot.ts";
import { checkOf } from "#api/check-words.ts";
import type { Fault } from "#api/fault.ts";
import {
  getMachineInventory,
  type InventoryReport,
  reportHostInventory,
  reportMachineInventory,
} from "#api/inventory.ts";
import {
  approveMachine,
  deleteMachine,
  getMachine,
  type Machine,
  machineTimeline,
  rejectMachine,
} from "#api/machines.ts";
import { listEvents } from "#api/status.ts";
import { partsChanged } from "../../../control/inventory/take.ts";
import { inventoryTroubles } from "../../../control/inventory/words.ts";
import { keys, PREFIX } from "../../../control/keys.ts";
import type { HostRecord, MachineRecord } from "../../../control/records.ts";
import { type Member, type Rig, withRig } from "../rig.ts";

const MAC = "52:54:00:00:00:01";
const OTHER = "52:54:00:00:00:66";
const UUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const quiet = { loops: false };
let count = 0;

const report = (over: Partial<InventoryReport> = {}): InventoryReport => ({
  mac: MAC,
  uuid: UUID,
  serial: "CZ1234",
  system: { manufacturer: "Maker", product: "Box 9" },
  firmware: { mode: "bios" },
  cpu: { model: "Some CPU", sockets: 1, cores: 4, threads: 8, flags: ["vmx"] },
  memory: { totalBytes: 8 * 1024 ** 3, dimms: [] },
  disks: [{ path: "/dev/sda", serial: "D1", sizeBytes: 10, removable: false, holds: "zeros at both ends" }],
  nics: [{ name: "eth0", mac: MAC, carrier: true }],
  unread: [],
  ...over,
});

function signed(over: Partial<InventoryReport> = {}, pair: KeyPairKeyObjectResult = generateKeyPairSync("ed25519")) {
  const text = JSON.stringify(report(over));
  const key = pair.publicKey.export({ format: "der", type: "spki" }).toString("base64");
  return { report: text, key, signature: sign(null, Buffer.from(text), pair.privateKey).toString("base64") };
}

interface Boots {
  rig: Rig;
  boot: Member;
  /** Its firmware asks, and is seen to have the card. */
  asks(at: string, over?: Partial<BootEvent["claimed"]>): Promise<void>;
  reports(of: ReturnType<typeof signed>, at: string, observed?: { card?: string; address?: string }): Promise<string>;
  machine(): Promise<Machine>;
}

const withBoots = (work: (of: Boots) => Promise<void>) =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const params = { id: boot.id };
    const asks: Boots["asks"] = async (at, over = {}) => {
      const claimed = { mac: MAC, uuid: UUID, serial: "CZ1234", whole: true, ...over };
      const event: BootEvent = {
        ...{ eventId: `inv${++count}`, at, claimed, observed: { card: claimed.mac } },
        ...{ stage: "script", level: "info", message: "given a script" },
      };
      await boot.client.call(postBootEvents, { params, body: { events: [event] } });
    };
    const reports: Boots["reports"] = async (of, at, observed = { card: MAC, address: "10.77.0.9" }) => {
      const { machineId } = await boot.client.call(reportMachineInventory, {
        params,
        body: { ...of, mac: MAC, observed, at },
      });
      return machineId;
    };
    const machine = () => rig.admin.call(getMachine, { params: { id: MAC } });
    await work({ rig, boot, asks, reports, machine });
  }, quiet);

const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "none",
    (error: Fault) => error.code,
  );
const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();

test("before any agent speaks the six words are of the claim alone, and another claim has others", () =>
  withBoots(async ({ asks, machine }) => {
    await asks(at(1));
    const first = (await machine()).check!;
    assert.equal([first.words, first.by], [checkOf({ mac: MAC, uuid: UUID, serial: "CZ1234" }).words, "claim"]);
    await asks(at(2), { serial: "CZ9999" });
    const second = (await machine()).check!;
    assert.is.not(second.words, first.words);
    await asks(at(3), { serial: "CZ9999" });
    assert.equal((await machine()).check, second, "and the same claim keeps them");
  }));

test("a report gives the machine its agent's words, its inventory and a step of its timeline", () =>
  withBoots(async ({ rig, asks, reports, machine }) => {
    await asks(at(1));
    const of = signed();
    const id = await reports(of, at(40));
    const { check, state, approvedAt } = await machine();
    assert.equal([check!.words, check!.by], [checkOf({ mac: MAC, uuid: UUID, serial: "CZ1234" }, of.key).words, "key"]);
    assert.equal([state, approvedAt], ["discovered", undefined]);
    const kept = await rig.admin.call(getMachineInventory, { params: { id: MAC } });
    assert.equal([kept.takenBy, kept.machineId, kept.check, kept.report], ["waiting", id, check, report()]);
    const { items } = await rig.admin.call(machineTimeline, { params: { id } });
    const step = items.find(({ stage }) => stage === "inventory")!;
    assert.match(step.message, /4 cores \(Some CPU\), 8 GiB of memory, 1 disk, 1 network card; its six words are: /);
    assert.match(step.message, check!.words);
    await reports(of, at(50));
    const after = (await rig.admin.call(machineTimeline, { params: { id } })).items;
    assert.is(after.filter(({ stage }) => stage === "inventory").length, 1, "told once, however often it is sent");
  }));

test("a decision binds to the words that were read: without them, or with those of another key, nothing is approved", () =>
  withBoots(async ({ rig, asks, reports, machine }) => {
    await asks(at(1));
    await reports(signed(), at(40));
    const { claim } = (await machine()).check!;
    const params = { id: MAC };
    assert.is(await codeOf(rig.admin.call(approveMachine, { params, body: {} })), "conflict");
    await reports(signed(), at(45));
    assert.is(await codeOf(rig.admin.call(approveMachine, { params, body: { claim } })), "conflict");
    assert.is(await codeOf(rig.admin.call(rejectMachine, { params, body: { claim } })), "conflict");
    assert.is((await machine()).approvedAt, undefined);
    const now = (await machine()).check!;
    const approved = await rig.admin.call(approveMachine, { params, body: { claim: now.claim } });
    assert.equal([approved.state, approved.check], ["approved", undefined]);
    const { items } = await rig.admin.call(machineTimeline, { params: { id: approved.id } });
    assert.ok(items.some(({ message }) => message.includes(`its six words were: ${now.words}`)));
  }));

test("two agents in one card's name are an event that shows both sets of words", () =>
  withBoots(async ({ rig, asks, reports, machine }) => {
    await asks(at(1));
    await reports(signed(), at(40));
    const first = (await machine()).check!.words;
    await reports(signed(), at(45));
    const second = (await machine()).check!.words;
    const { items } = await rig.admin.call(listEvents, {});
    const told = items.find(({ type }) => type === "machine.words-changed");
    assert.ok(told?.message.includes(first) && told.message.includes(second), JSON.stringify(told));
  }));

test("a machine that starts over loses its agent's words until the agent of the new boot speaks", () =>
  withBoots(async ({ rig, asks, reports, machine }) => {
    await asks(at(1));
    await reports(signed(), at(40));
    await asks(at(30));
    assert.is((await machine()).check!.by, "key", "a step of before, told late, takes nothing back");
    await asks(at(100));
    assert.is((await machine()).check!.by, "claim");
    const of = signed();
    await reports(of, at(140));
    assert.is((await machine()).check!.words, checkOf({ mac: MAC, uuid: UUID, serial: "CZ1234" }, of.key).words);
    const { items } = await rig.admin.call(listEvents, {});
    assert.not.ok(
      items.some(({ type }) => type === "machine.words-changed"),
      "which is no second agent",
    );
  }));

test("of an approved machine a report is taken when it was ordered; nothing is bound to it, and its words stay away", () =>
  withBoots(async ({ rig, boot, asks, machine }) => {
    await asks(at(1));
    await rig.admin.call(approveMachine, { params: { id: MAC }, body: {} });
    const sent = { ...signed(), mac: MAC, observed: { card: MAC, address: "10.77.0.9" }, at: at(40) };
    const send = (body: typeof sent & { ordered?: true }) =>
      boot.client.call(reportMachineInventory, { params: { id: boot.id }, body });
    assert.is(await codeOf(send(sent)), "conflict");
    await send({ ...sent, ordered: true });
    const kept = await rig.admin.call(getMachineInventory, { params: { id: MAC } });
    assert.equal([kept.takenBy, kept.check, kept.report], ["order", undefined, report()]);
    assert.equal([(await machine()).check, (await machine()).tpm], [undefined, undefined]);
    const other = {
      ...signed({ serial: "OTHER-9" }),
      mac: MAC,
      observed: sent.observed,
      at: at(50),
      ordered: true,
    } as const;
    assert.is(await codeOf(send(other)), "conflict");
  }));

test("who is not seen to have the card, who forges, and who is approved are not heard", () =>
  withBoots(async ({ rig, asks, reports, machine }) => {
    assert.is(await codeOf(reports(signed(), at(1))), "not-found", "a card that control has not heard of");
    await asks(at(1));
    for (const observed of [{ card: OTHER }, {}, { address: "10.77.0.9" }])
      assert.is(await codeOf(reports(signed(), at(2), observed)), "conflict", JSON.stringify(observed));
    const forged = { ...signed(), signature: signed().signature };
    assert.is(await codeOf(reports(forged, at(3))), "invalid");
    assert.is(await codeOf(reports(signed({ mac: OTHER }), at(4))), "invalid");
    const wrong: Record<string, unknown>[] = [
      { uuid: "../../etc" },
      { disks: [{ ...report().disks[0], holds: "\u001b[2J" }] },
      { colour: "blue" },
      { cpu: {} },
      { nics: Array.from({ length: 33 }, () => report().nics[0]) },
    ];
    for (const over of wrong)
      assert.is(
        await codeOf(reports(signed(over as Partial<InventoryReport>), at(5))),
        "invalid",
        JSON.stringify(over),
      );
    assert.is((await machine()).check!.by, "claim");
    assert.is(await codeOf(rig.admin.call(getMachineInventory, { params: { id: MAC } })), "not-found");
    await rig.admin.call(approveMachine, { params: { id: MAC }, body: {} });
    assert.is(await codeOf(reports(signed(), at(6))), "conflict");
  }));

test("an agent that says another serial than its firmware did is a warning before anybody approves", () =>
  withBoots(async ({ rig, asks, reports }) => {
    await asks(at(1));
    const id = await reports(signed({ serial: "OTHER-9" }), at(40));
    const { items } = await rig.admin.call(machineTimeline, { params: { id } });
    const warning = items.find(({ level, stage }) => stage === "inventory" && level === "warning");
    assert.match(warning!.message, /its agent says serial OTHER-9, its firmware said CZ1234/);
  }));

test("a machine that is forgotten takes its inventory with it", () =>
  withBoots(async ({ rig, asks, reports }) => {
    await asks(at(1));
    await reports(signed(), at(40));
    await rig.admin.call(deleteMachine, { params: { id: MAC } });
    assert.equal(rig.store.list(PREFIX.machineInventory), []);
  }));

test("a host reports its own machine's, and what is gone or new since the last is said; of no other machine", () =>
  withBoots(async ({ rig, asks, machine }) => {
    await asks(at(1));
    await rig.admin.call(approveMachine, { params: { id: MAC }, body: {} });
    const [host, other] = [await rig.host("one"), await rig.host("two")];
    const entry = rig.store.get<HostRecord>(keys.host(host.id))!;
    const { id } = await machine();
    await rig.store.commit({
      actor: "test",
      mutations: [{ key: entry.key, value: { ...entry.value, machineId: id } }],
    });
    const params = { id: host.id };
    await host.client.call(reportHostInventory, { params, body: { report: report() } });
    assert.is((await rig.admin.call(getMachineInventory, { params: { id } })).takenBy, "host");
    const disks = [{ ...report().disks[0]!, serial: "D2" }];
    await host.client.call(reportHostInventory, { params, body: { report: report({ disks }) } });
    const { items } = await rig.admin.call(machineTimeline, { params: { id } });
    const warnings = items.filter(({ stage, level }) => stage === "inventory" && level === "warning");
    assert.equal(
      warnings.map(({ message }) => message),
      ["disk D1 is gone since its last inventory", "disk D2 is new since its last inventory"],
    );
    const foreign = other.client.call(reportHostInventory, { params, body: { report: report() } });
    assert.is(await codeOf(foreign), "forbidden");
    await other.client.call(reportHostInventory, { params: { id: other.id }, body: { report: report() } });
    assert.is(rig.store.list<MachineRecord>(PREFIX.machineInventory).length, 1, "a host that is no machine keeps none");
  }));

test("what a person should look at first is said: failing disks, memory errors; nothing of a machine that is well", () => {
  assert.equal(inventoryTroubles(report()), []);
  const disks = [{ ...report().disks[0]!, smart: { healthy: false } }];
  const memory = { totalBytes: 1, dimms: [], correctedErrors: 3, uncorrectedErrors: 0 };
  assert.equal(inventoryTroubles(report({ disks, memory })), [
    "ECC corrected 3 memory errors",
    "disk /dev/sda (D1) says that it is failing",
  ]);
  assert.equal(partsChanged(report(), report()), []);
});

test.run();
