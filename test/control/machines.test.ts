// Machines: what boot servers report becomes of them, what the doctor says of each place they may stop at, and what is kept.
import { generateKeyPairSync, sign } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootEvent, BootImageManifest } from "#api/boot.ts";
import { bootTarget, listBootImages, postBootEvents, putProfile, registerBootImage } from "#api/boot.ts";
import type { Fault } from "#api/fault.ts";
import { outcomeOf } from "#api/machine-identity.ts";
import {
  adoptMachine,
  approveMachine,
  deleteMachine,
  getMachine,
  listMachines,
  type Machine,
  machineTimeline,
  rejectMachine,
  type Stage,
  type TimelineEvent,
} from "#api/machines.ts";
import { getStatus, listEvents } from "#api/status.ts";
import { diagnose } from "../../control/doctor/diagnose.ts";
import { eventChanges, eventsToTrim, plainText } from "../../control/events.ts";
import { approvedAfter, rejectedAfter } from "../../control/identity/machine-decision.ts";
import { approval, approvedOf, machineAfter, newMachine, type Sighting } from "../../control/identity/observe.ts";
import { quietest, UNAPPROVED_MOST } from "../../control/identity/unapproved.ts";
import { keys, PREFIX } from "../../control/keys.ts";
import type { MachineRecord } from "../../control/records.ts";
import { trimEvents } from "../../control/retention.ts";
import { publicPem } from "../bootstrap/image-fixture.ts";
import { withRig } from "./rig.ts";
import { surplus } from "./surplus.ts";

const AT = "2026-01-01T00:00:00.000Z";
const UUID = "11111111-2222-3333-4444-555555555555";
const quiet = { loops: false };
const macOf = (n: number) =>
  `52:54:00:00:${(n >> 8).toString(16).padStart(2, "0")}:${(n & 255).toString(16).padStart(2, "0")}`;
const machineOf = (identity: MachineRecord["identity"]) => newMachine(identity, { names: [], auto: false, at: AT });
const approvedOne = (identity: MachineRecord["identity"]): MachineRecord => ({
  ...machineOf(identity),
  ...approval("ann", AT),
});
/** As the observer does: the rule first, then the machine after it. */
const after = (machine: MachineRecord, event: BootEvent, over: Partial<Sighting> = {}): MachineRecord => {
  const outcome = outcomeOf(event.claimed, event.observed, { ofCard: approvedOf(machine) });
  return machineAfter(machine, { event, outcome, auto: false, hostAlive: false, ...over });
};
let eventCount = 0;
const event = (mac: string, stage: Stage, over: Partial<BootEvent> = {}): BootEvent => ({
  eventId: `e${++eventCount}`,
  at: AT,
  claimed: { mac },
  observed: { card: mac },
  stage,
  level: "info",
  message: stage,
  ...over,
});

test("nothing that is claimed or observed changes what was approved; another body on its card waits for a person", () => {
  const machine = approvedOne({ mac: macOf(1), uuid: UUID, serial: "CZ1234ABCD" });
  const script = (over: Partial<BootEvent["claimed"]>, observed: BootEvent["observed"] = { card: macOf(1) }) =>
    event(macOf(1), "script", { claimed: { mac: macOf(1), whole: true, ...over }, observed, bootId: "b1" });
  const own = { uuid: UUID, serial: "CZ1234ABCD" };
  const frozen = ({ identity, macs, state, bootId, target, approvedAt }: MachineRecord) => ({
    identity,
    macs,
    state,
    bootId,
    target,
    approvedAt,
  });
  for (const one of [
    script({ ...own, product: "Box 9" }),
    script({ uuid: UUID, serial: "OTHER-ONE" }),
    script({}),
    script(own, { card: macOf(66) }),
    script({ serial: "X".repeat(8) }, {}),
    event(macOf(1), "refused", { observed: { card: macOf(66) } }),
  ])
    assert.equal(frozen(after(machine, one)), frozen(machine), JSON.stringify(one));

  const changed = after(machine, script({ uuid: UUID, serial: "OTHER-ONE" }));
  assert.is(changed.pending!.kind, "changed");
  assert.match(changed.pending!.reason, /its serial is OTHER-ONE, not CZ1234ABCD; run `flynn machine approve/);
  assert.is(after(changed, script({ uuid: UUID, serial: "OTHER-ONE" })), changed, "asked once");
  const accepted = { ...changed, ...approvedAfter(changed, "ann", new Date(AT)) };
  assert.equal(accepted.identity, { mac: macOf(1), uuid: UUID, serial: "OTHER-ONE" });
  assert.is(after(accepted, script({ uuid: UUID, serial: "OTHER-ONE" })).pending, undefined);
  const refused = { ...changed, ...rejectedAfter(changed) };
  assert.equal(frozen(refused), frozen(machine), "refused, the machine is what it was");
  assert.is(after(refused, script({ uuid: UUID, serial: "OTHER-ONE" })).pending, undefined, "and is not asked again");
  assert.is(after(machine, script({}, { card: macOf(66) })).pending, undefined, "a refusal is never learnt from");
});

test("a record from before claim and approval were told apart is read as approved with what it says", () => {
  const { claimed: _, observed: __, ...old } = approvedOne({ mac: macOf(1), serial: "CZ1234ABCD" });
  assert.equal(approvedOf(old), {
    id: old.id,
    macs: [macOf(1)],
    uuid: undefined,
    serial: "CZ1234ABCD",
    rejected: false,
  });
});

test("its state moves only on what was fetched: a script served is not a boot", () => {
  const machine = approvedOne({ mac: macOf(1) });
  for (const stage of ["discover", "offer", "tftp", "script"] as const)
    assert.is(after(machine, event(macOf(1), stage, { bootId: "b1" })).state, "approved", stage);
  const booting = after(machine, event(macOf(1), "kernel", { bootId: "b1", imageId: "i1" }));
  assert.equal([booting.state, booting.bootId, booting.imageId], ["booting", "b1", "i1"]);
  const ready: MachineRecord = { ...booting, state: "ready" };
  assert.is(after(ready, event(macOf(1), "initrd", { bootId: "b1" })).state, "ready");
  assert.is(after(ready, event(macOf(1), "kernel", { bootId: "b2" })).state, "booting");
  const kernel = event(macOf(1), "kernel", { bootId: "b2" });
  assert.is(after(ready, kernel, { hostAlive: true }).bootId, "b1", "nor is one beside a host that lives");
  const elsewhere = event(macOf(1), "kernel", { bootId: "b2", observed: {} });
  assert.is(after(ready, elsewhere).state, "ready", "nor one that was not seen on the wire");
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

const asks = (mac: string, body: { uuid?: string; serial?: string }, over: Partial<BootEvent> = {}) =>
  event(mac, "wait-approval", { claimed: { mac, whole: true, ...body }, message: "waiting for approval", ...over });

test("a new card that shows an approved machine's body is a machine of its own until a person adopts it, under auto too", () =>
  withRig(
    async (rig) => {
      const boot = await rig.join("boot");
      const post = (...events: BootEvent[]) =>
        boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events } });
      const show = (id: string) => rig.admin.call(getMachine, { params: { id } });
      const body = { uuid: UUID, serial: "CZ1234ABCD" };
      await post(event(macOf(1), "discover", { observed: {} }));
      assert.is((await show(macOf(1))).state, "discovered", "a packet alone approves nothing");
      await post(asks(macOf(1), body));
      const node = await show(macOf(1));
      assert.is(node.state, "approved");
      await post(asks(macOf(2), body));
      const clone = await show(macOf(2));
      assert.is.not(clone.id, node.id);
      assert.is(clone.state, "discovered");
      assert.is(
        clone.reason,
        `says it is ${node.name} with a new card; run: flynn machine adopt ${clone.name} ${node.name}`,
      );
      assert.equal(await show(macOf(1)), node, "the machine it says it is stays as it is");
      const refusal = await rig.admin.call(approveMachine, { params: { id: clone.id }, body: {} }).catch((e) => e.code);
      assert.is(refusal, "conflict");
      const adopted = await rig.admin.call(adoptMachine, {
        params: { id: node.name },
        body: { card: clone.name, claim: clone.pending!.claim! },
      });
      assert.equal(adopted.macs, [macOf(1), macOf(2)]);
      assert.is((await show(macOf(2))).id, node.id);
      assert.is(rig.store.count(PREFIX.machines), 1);
      const { items } = await rig.admin.call(listEvents, { query: { type: "machine.new-card", after: 0 } });
      assert.is(items.length, 1);
    },
    { ...quiet, unknownMachines: "auto" },
  ));

test("under auto two cards of one body are one machine and a question, also when they come in one report", () =>
  withRig(
    async (rig) => {
      const boot = await rig.join("boot");
      const body = { uuid: UUID, serial: "CZ1234ABCD" };
      const events = [asks(macOf(1), body), asks(macOf(2), body)];
      await boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events } });
      const show = (id: string) => rig.admin.call(getMachine, { params: { id } });
      assert.is((await show(macOf(1))).state, "approved");
      const other = await show(macOf(2));
      assert.equal([other.state, other.pending?.kind], ["discovered", "new-card"]);
    },
    { ...quiet, unknownMachines: "auto" },
  ));

test("auto does not approve the second card of a machine that a person rejected; a person may", () =>
  withRig(
    async (rig) => {
      const boot = await rig.join("boot");
      const post = (...events: BootEvent[]) =>
        boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events } });
      const show = (id: string) => rig.admin.call(getMachine, { params: { id } });
      const body = { uuid: UUID, serial: "CZ1234ABCD" };
      await post(asks(macOf(1), body));
      await rig.admin.call(rejectMachine, { params: { id: macOf(1) }, body: { revoke: true } });
      await post(asks(macOf(2), body), asks(macOf(3), { ...body, serial: "CZ5678EFGH" }));
      await post(asks(macOf(2), body));
      assert.is((await show(macOf(2))).state, "discovered");
      assert.is((await show(macOf(3))).state, "approved", "another box is none of it");
      assert.is((await rig.admin.call(approveMachine, { params: { id: macOf(2) }, body: {} })).state, "approved");
    },
    { ...quiet, unknownMachines: "auto" },
  ));

test("a change waits under auto too; accepted it is what was approved, refused it is forgotten; a rejected machine gets no boot file", () =>
  withRig(
    async (rig) => {
      const boot = await rig.join("boot");
      const post = (...events: BootEvent[]) =>
        boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events } });
      const params = { id: macOf(1) };
      const show = () => rig.admin.call(getMachine, { params });
      const target = async () => (await boot.client.call(bootTarget, { params: { id: boot.id } })).machines[0];
      await post(asks(macOf(1), { serial: "CZ1234ABCD" }));
      await post(asks(macOf(1), { serial: "CZ9999ZZZZ" }));
      assert.is((await show()).pending?.kind, "changed");
      assert.is((await target())?.serial, "CZ1234ABCD");
      const code = (work: Promise<unknown>) =>
        work.then(
          () => "done",
          ({ code: of, message }) => `${of}: ${message}`,
        );
      const claim = async () => ({ claim: (await show()).pending!.claim! });
      const first = await claim();
      await post(asks(macOf(1), { serial: "CZ8888XXXX" }));
      for (const decide of [approveMachine, rejectMachine]) {
        assert.match(
          await code(rig.admin.call(decide, { params, body: first })),
          /^conflict: .*something else now: .*CZ8888XXXX/,
        );
        assert.match(await code(rig.admin.call(decide, { params, body: {} })), /^conflict: .*must name its claim/);
      }
      assert.not.ok((await rig.admin.call(rejectMachine, { params, body: await claim() })).pending);
      assert.is((await show()).state, "approved");
      await post(asks(macOf(1), { serial: "CZ7777YYYY" }));
      const both = await claim();
      await rig.admin.call(approveMachine, { params, body: both });
      assert.is((await target())?.serial, "CZ7777YYYY");
      for (const body of [both, {}])
        assert.match(await code(rig.admin.call(rejectMachine, { params, body })), /^conflict: .*nothing of it waits/);
      assert.is((await show()).state, "approved", "a second person's late no takes nothing back");
      assert.is((await rig.admin.call(rejectMachine, { params, body: { revoke: true } })).state, "rejected");
      assert.is((await target())?.rejected, true);
      await post(asks(macOf(1), { serial: "CZ7777YYYY" }));
      assert.is((await show()).state, "rejected", "auto does not overrule a person");
      assert.is((await rig.admin.call(approveMachine, { params, body: {} })).state, "approved");
    },
    { ...quiet, unknownMachines: "auto" },
  ));

test("a refused claim is an event with both cards, and neither makes a machine nor touches one", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const refused = (mac: string) =>
      event(mac, "refused", { observed: { card: macOf(66) }, message: `${mac} was claimed by ${macOf(66)}` });
    const post = (...events: BootEvent[]) =>
      boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events } });
    await post(asks(macOf(1), { serial: "CZ1234ABCD" }));
    await rig.admin.call(approveMachine, { params: { id: macOf(1) }, body: {} });
    const before = await rig.admin.call(getMachine, { params: { id: macOf(1) } });
    await post(refused(macOf(1)), refused(macOf(5)));
    assert.equal(await rig.admin.call(getMachine, { params: { id: macOf(1) } }), before);
    assert.is(rig.store.count(PREFIX.machines), 1);
    const { items } = await rig.admin.call(listEvents, { query: { type: "machine.claim-refused", after: 0 } });
    assert.is(items.length, 2);
    assert.match(items[0]!.message, macOf(66));
    const timeline = await rig.admin.call(machineTimeline, { params: { id: macOf(1) } });
    assert.ok(timeline.items.some(({ stage }) => stage === "refused"));
  }, quiet));

test("ten thousand claimed cards leave room: a real machine appears after them, can be approved, and nobody approved is lost", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const post = (events: BootEvent[]) =>
      boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events } });
    const real = (n: number) => `52:54:01:00:00:0${n}`;
    await post([asks(real(1), { serial: "CZ1234ABCD" })]);
    await rig.admin.call(approveMachine, { params: { id: real(1) }, body: {} });
    await post([asks(real(2), { serial: "CZ2222ABCD" })]);
    for (let n = 0; n < 10_000; n += 500)
      await post(
        Array.from({ length: 500 }, (_, at) =>
          event(macOf(n + at), "discover", { observed: {}, at: new Date(Date.parse(AT) + 1_000).toISOString() }),
        ),
      );
    assert.ok(rig.store.count(PREFIX.machines) <= UNAPPROVED_MOST + 1);
    const waiting = await rig.admin.call(getMachine, { params: { id: real(2) } });
    assert.is(waiting.state, "discovered", "one that was seen on the wire was not pushed out");
    await post([asks(real(3), { serial: "CZ3333ABCD" })]);
    assert.is((await rig.admin.call(approveMachine, { params: { id: real(3) }, body: {} })).state, "approved");
    assert.is((await rig.admin.call(getMachine, { params: { id: real(1) } })).state, "approved");
    const { machines } = await boot.client.call(bootTarget, { params: { id: boot.id } });
    assert.is(machines.length, 2, "boot servers are not told of the flood");
  }, quiet));

test("the table of those that wait is bounded: never seen goes before seen, the longest silent first", () => {
  const waiting = [5, 1, 3].map((n) => ({
    ...machineOf({ mac: macOf(n) }),
    lastSeenAt: `2026-01-0${n}T00:00:00.000Z`,
  }));
  const seen = {
    ...machineOf({ mac: macOf(9) }),
    observed: { card: macOf(9) },
    lastSeenAt: "2025-01-01T00:00:00.000Z",
  };
  const entries = [seen, ...waiting].map((value) => ({ key: keys.machine(value.id), value, version: 1 }));
  const gone = (count: number) => quietest(entries, count).map(({ value }) => value.identity.mac);
  assert.equal(gone(2), [macOf(1), macOf(3)]);
  assert.equal(gone(4), [macOf(1), macOf(3), macOf(5), macOf(9)]);
  assert.equal(gone(-1), []);
});

test("a machine that nobody approved and nobody saw for a day is forgotten with its timeline; one that was decided on is not", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const events = [1, 2, 3].map((n) => asks(macOf(n), {}));
    await boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events } });
    await rig.admin.call(approveMachine, { params: { id: macOf(2) }, body: {} });
    await rig.admin.call(rejectMachine, { params: { id: macOf(3) }, body: {} });
    const later = (hours: number) => surplus(rig.store, Date.parse(AT) + hours * 3_600_000);
    const machineKeys = later(25).filter(({ key }) => key.startsWith(PREFIX.machines));
    assert.equal(
      later(23).filter(({ key }) => key.startsWith(PREFIX.machines)),
      [],
    );
    const first = await rig.admin.call(getMachine, { params: { id: macOf(1) } });
    assert.equal(
      machineKeys.map(({ key }) => key),
      [keys.machine(first.id)],
    );
    assert.ok(later(25).some(({ key }) => key.startsWith(keys.timelineOf(first.id))));
  }, quiet));

test("a waiting machine that is deleted appears again when it next says that it waits", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const post = () =>
      boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events: [asks(macOf(1), {})] } });
    const first = (await post()).machines[0]!.machineId;
    await post();
    const timeline = await rig.admin.call(machineTimeline, { params: { id: macOf(1) } });
    assert.is(timeline.items.length, 1, "that it still waits is said once");
    await rig.admin.call(deleteMachine, { params: { id: macOf(1) } });
    assert.is.not((await post()).machines[0]!.machineId, first);
    assert.is((await rig.admin.call(listMachines, { query: {} })).items.length, 1);
  }, quiet));

const BAD_WORDS = ["$(id)", "`id`", "a\\b", "x#y", "||", "&&", ";", 'say="hi"', "it's", "two words", ""];
const GOOD_WORDS = ["console=ttyS0,115200n8", "ip=dhcp", "a||b", "root=/dev/ram0"];

test("a kernel command line that iPXE could not pass on is refused when it is set, with an example", () =>
  withRig(async (rig) => {
    const profile = {
      name: "default",
      image: "current",
      tags: {},
      sshKeys: [],
      diskPolicy: { name: "default", mode: "ram" as const },
    };
    const put = (word: string) =>
      rig.admin.call(putProfile, { params: { name: "default" }, body: { ...profile, cmdline: ["quiet", word] } }).then(
        () => undefined,
        (error: Fault) => `${error.code}: ${error.message}`,
      );
    for (const word of BAD_WORDS)
      assert.match((await put(word)) ?? "taken", /^invalid: .*console=ttyS0,115200n8/, word);
    for (const word of GOOD_WORDS) assert.is(await put(word), undefined);
  }, quiet));

test("a signed boot image whose own command line iPXE could not pass on is refused, and nothing of it is kept", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-image-key-"));
  const imageKey = join(directory, "image.pub");
  const { privateKey } = generateKeyPairSync("ed25519");
  await writeFile(imageKey, publicPem(privateKey));
  const file = { sha256: "0".repeat(64), sizeBytes: 1 };
  try {
    await withRig(
      async (rig) => {
        const register = (id: string, word: string) => {
          const manifest = JSON.stringify({
            ...{ id, name: "host", createdAt: AT, architecture: "amd64", memoryNeedBytes: 1 },
            ...{ kernel: file, initrd: file, squashfs: file, cmdline: ["quiet", word] },
          } satisfies BootImageManifest);
          const signature = sign(null, Buffer.from(manifest), privateKey).toString("base64");
          return rig.admin.call(registerBootImage, { body: { manifest, signature } }).then(
            () => undefined,
            (error: Fault) => `${error.code}: ${error.message}`,
          );
        };
        for (const [n, word] of BAD_WORDS.entries())
          assert.match((await register(`bad-${n}`, word)) ?? "taken", /^invalid: .*cmdline/, word);
        for (const [n, word] of GOOD_WORDS.entries()) assert.is(await register(`good-${n}`, word), undefined, word);
        const { items } = await rig.admin.call(listBootImages, { query: {} });
        assert.equal(items.map(({ id }) => id).sort(), ["good-0", "good-1", "good-2", "good-3"]);
      },
      { ...quiet, imageKey },
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

const STUCK: [Stage, RegExp, RegExp][] = [
  ["discover", /got no offer from us/, /boot server's log/],
  ["offer", /gave it an address/, /--dhcp full/],
  ["tftp", /did not come back for a script/, /Secure Boot/],
  ["approved", /has not asked for its boot script/, /off and on/],
  ["script", /no sign of running it/, /console/],
  ["kernel", /not the initrd/, /console/],
  ["initrd", /its kernel was never heard of/, /driver/],
  ["squashfs", /did not ask for its seed/, /console/],
  ["seed", /neither it nor the agent/, /flynn-hostd/],
  ["cloud-init", /agent did not join/, /TCP 7777/],
  ["join", /not heard of since/, /flynn-hostd/],
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
  const refetch = (stage: Stage, seconds: number): TimelineEvent => ({
    ...{ seq: seconds, machineId: machine.id, bootId: "b1", stage, level: "info", message: stage },
    at: new Date(Date.parse(AT) + seconds * 1_000).toISOString(),
  });
  const secureBoot = [refetch("offer", 0), refetch("tftp", 1), refetch("discover", 20), refetch("offer", 21)];
  const later = { now: new Date(Date.parse(AT) + 120_000), bootServers: 1 };
  assert.match(diagnose(machine, secureBoot, later).findings[0]!.todo, /Secure Boot/);
  const step = (seq: number, stage: Stage, more: object = {}): TimelineEvent => ({
    ...{ seq, machineId: machine.id, stage, level: "info", message: `${stage} was seen` },
    at: new Date(Date.parse(AT) + seq * 1_000).toISOString(),
    ...more,
  });
  const why = "its initrd refused to boot: this image needs 900 MiB of memory, the machine has 489 MiB";
  const refusal = { level: "error", message: why, detail: { refusal: "memory", code: "initrd-memory" } };
  // It restarts after 30 s and begins again, as another boot.
  const looping = [
    ...[step(1, "script", { bootId: "b0" }), step(2, "initrd", { bootId: "b0" })],
    step(3, "boot-failed", { bootId: "b0", ...refusal }),
    ...[
      step(60, "discover"),
      step(63, "script", { bootId: "b0.5" }),
      step(65, "boot-failed", { bootId: "b0.5", ...refusal }),
    ],
    ...[step(118, "script", { bootId: "b1" }), step(119, "initrd", { bootId: "b1" })],
  ];
  const told = diagnose(machine, looping, later);
  assert.match(told.summary, `node-1 does not boot: it has too little memory: ${why} (`);
  assert.match(told.summary, /2 times by now/);
  assert.match(told.findings[0]!.todo, /more memory/);
  const mended = [...looping, step(119, "seed", { bootId: "b1" })];
  assert.match(diagnose(machine, mended, later).summary, /is booting: seed was seen/, "it got further since");
  const old = { now: new Date(Date.parse(AT) + 3_600_000), bootServers: 1 };
  assert.match(diagnose(machine, looping, old).summary, /stopped: .*kernel was never heard of/, "it was long ago");
  const isNew: Machine = { ...machine, state: "discovered", bootId: undefined };
  const refused = diagnose(isNew, secureBoot, later);
  assert.match(refused.summary, /does not boot: .* Secure Boot refused it/, "approval would not help it");
  assert.match(refused.findings[0]!.todo, /Secure Boot/);
  const bios: Machine = { ...machine, identity: { ...machine.identity, firmware: "bios" } };
  assert.match(diagnose(bios, secureBoot, later).findings[0]!.todo, /iPXE has no driver/, "a BIOS has no Secure Boot");
  const stalled = {
    level: "warning" as const,
    detail: { code: "tftp-stalled", file: "snponly.efi", block: 4, blocks: 9 },
  };
  const broken = secureBoot.map((step) => (step.stage === "tftp" ? { ...step, ...stalled } : step));
  assert.match(
    diagnose(machine, broken, later).summary,
    /block 4 of 9 of snponly.efi/,
    "it did not get the whole file",
  );
  assert.match(diagnose({ ...machine, state: "lost" }, [], circumstances).summary, /fell silent/);
  for (const [identity, what, todo] of [
    [{ architecture: "riscv64", firmware: "uefi" }, "riscv64 UEFI", /x86-64 machine/],
    [{ architecture: "arm64", firmware: "unknown" }, "arm64 without UEFI", /arm64 one with UEFI/],
    [{ architecture: "i386", firmware: "uefi" }, "32-bit x86 UEFI", /64-bit UEFI or to legacy BIOS/],
    [{ architecture: "arm64", firmware: "unknown", product: "Raspberry Pi" }, "Raspberry Pi", /x86-64 machine/],
  ] as const) {
    const foreign = { ...isNew, identity: { ...machine.identity, ...identity } };
    const { summary, findings } = diagnose(foreign, [], later);
    assert.match(
      summary,
      `cannot boot from here: its firmware is ${what}; this appliance boots x86-64, and arm64 with UEFI`,
    );
    assert.match(findings[0]!.todo, todo);
  }
  const legacy = { ...isNew, identity: { ...machine.identity, architecture: "i386", firmware: "bios" as const } };
  assert.match(diagnose(legacy, [], later).summary, /flynn machine approve/, "iPXE for BIOS is a 32-bit program");
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
    await trimEvents(store, new AbortController().signal);
    assert.is(store.count(PREFIX.events), 10_000);
    assert.is(control.context.jobs.ofApp("app-1").length, 0);
  }, quiet));

test.run();
