// What a person's word makes of a machine.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { machineCalled } from "../../../control/find-machine.ts";
import {
  adoptedBy,
  approvedAfter,
  claimOf,
  refuseStale,
  rejectedAfter,
} from "../../../control/identity/machine-decision.ts";
import { keys } from "../../../control/keys.ts";
import type { MachineRecord } from "../../../control/records.ts";
import { refusal } from "../faults.ts";
import { kept } from "../kept.ts";

const AT = new Date("2026-01-01T00:00:00.000Z");
const MAC = "52:54:00:00:00:01";
const UUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const machine = (over: Partial<MachineRecord> = {}): MachineRecord =>
  ({
    id: "m1",
    name: "box",
    state: "discovered",
    reason: "new",
    identity: { mac: MAC },
    macs: [MAC],
    ...over,
  }) as MachineRecord;
const pending = (over: object = {}) =>
  ({ claim: "c1", reason: "it shows another serial", ...over }) as MachineRecord["pending"] & object;

test("claims have eight hex digits, the same for the same words only", () => {
  assert.match(claimOf("a", 1), /^[0-9a-f]{8}$/);
  assert.is(claimOf("a", { b: 1 }), claimOf("a", { b: 1 }));
  assert.is.not(claimOf("a", "b"), claimOf("ab"));
});

test("a decision holds for what was read, and for nothing that came since", () => {
  const cases: [over: Partial<MachineRecord>, claim: string | undefined, answer: string][] = [
    [{}, undefined, "fine"],
    [{ pending: pending() }, "c1", "fine"],
    [
      { pending: pending() },
      undefined,
      "conflict machine box waits for a decision, which must name its claim: it shows another serial (claim c1)",
    ],
    [
      { pending: pending() },
      "c0",
      "conflict machine box: it shows something else now: it shows another serial (claim c1); look again with: flynn machine show box",
    ],
    [
      {},
      "c1",
      "conflict machine box: it shows something else now: nothing of it waits for a decision; look again with: flynn machine show box",
    ],
  ];
  for (const [over, claim, answer] of cases)
    assert.is(
      refusal(() => refuseStale(machine(over), claim)),
      answer,
    );
});

test("a machine is approved as it showed itself last, and its card stays the one it was seen with", () => {
  const claimed = { mac: "52:54:00:00:00:99", uuid: UUID, serial: "A1", product: "X" };
  assert.equal(approvedAfter(machine({ claimed, identity: { mac: MAC, architecture: "amd64" } as never }), "ann", AT), {
    target: "boot",
    state: "approved",
    reason: "",
    identity: { mac: MAC, architecture: "amd64", product: "X", uuid: UUID, serial: "A1" } as never,
    pending: undefined,
    approvedAt: AT.toISOString(),
    approvedBy: "ann",
  });
  const own = { mac: MAC, serial: "mine" };
  assert.is(approvedAfter(machine({ claimed, identity: own }), "ann", AT).identity!.serial, "mine");
});

test("a change that is accepted is what the machine is from then on; what it no longer shows is not kept", () => {
  const approved = machine({
    state: "ready",
    identity: { mac: MAC, uuid: UUID, serial: "A1", product: "X" },
    approvedAt: "2025-01-01T00:00:00.000Z",
    approvedBy: "bob",
    pending: pending({ kind: "changed", claimed: { mac: "52:54:00:00:00:99", serial: "B2" } }),
  });
  assert.equal(approvedAfter(approved, "ann", AT), {
    target: "boot",
    state: "ready",
    reason: "",
    identity: { mac: MAC, product: "X", serial: "B2" },
    pending: undefined,
    approvedAt: "2025-01-01T00:00:00.000Z",
    approvedBy: "bob",
  });
});

test("only a machine that waits or was refused becomes approved; any other goes on in its state", () => {
  for (const [state, after] of [
    ["discovered", "approved"],
    ["rejected", "approved"],
    ["ready", "ready"],
    ["booting", "booting"],
    ["lost", "lost"],
  ] as const)
    assert.is(approvedAfter(machine({ state }), "ann", AT).state, after);
});

test("a change that is refused leaves an approved machine as it is, and is remembered", () => {
  const claimed = { mac: MAC, serial: "B2" };
  const changed = machine({ approvedAt: AT.toISOString(), pending: pending({ claimed }) });
  assert.equal(rejectedAfter(changed), { pending: undefined, refusedClaim: claimed });
  const card = machine({ approvedAt: AT.toISOString(), pending: pending() });
  assert.equal(rejectedAfter(card), { pending: undefined });
});

test("a machine that is refused may not boot, and says how it may after all", () => {
  const rejected = {
    state: "rejected",
    reason: "rejected; `flynn machine approve box` lets it boot after all",
    target: "wait",
    pending: undefined,
    approvedAt: undefined,
    approvedBy: undefined,
  };
  for (const one of [machine(), machine({ pending: pending() }), machine({ approvedAt: AT.toISOString() })])
    assert.equal(rejectedAfter(one), rejected as never);
});

test("an approved machine takes over a stranger's cards, and what it showed of its body", () => {
  const own = machine({ approvedAt: AT.toISOString(), identity: { mac: MAC, uuid: UUID, serial: "A1" } });
  const other = "52:54:00:00:00:02";
  const stranger = machine({ id: "m2", name: "new", identity: { mac: other, serial: "B2" }, macs: [other, MAC] });
  assert.equal(adoptedBy(own, stranger), {
    ...own,
    macs: [MAC, other],
    identity: { mac: MAC, uuid: UUID, serial: "B2" },
  });
  const silent = machine({ id: "m2", identity: { mac: other }, macs: [other] });
  assert.equal(adoptedBy(own, silent).identity, own.identity);
  const bare = machine({ approvedAt: AT.toISOString() });
  assert.equal(adoptedBy(bare, silent).identity, { mac: MAC });
  const shown = machine({ id: "m2", identity: { mac: other, uuid: UUID }, macs: [other] });
  assert.equal(adoptedBy(bare, shown).identity, { mac: MAC, uuid: UUID });
});

test("nothing is adopted by what is not approved, nor itself, nor an approved machine, nor a host's, nor a card too many", () => {
  const own = machine({ approvedAt: AT.toISOString() });
  const stranger = machine({ id: "m2", name: "new" });
  const cards = (count: number) => Array.from({ length: count }, (_, n) => `card ${n}`);
  const cases: [own: MachineRecord, stranger: MachineRecord, answer: string][] = [
    [own, { ...stranger, id: "m1" }, "invalid box cannot adopt itself"],
    [machine(), stranger, "conflict machine box is not approved; only an approved machine takes a new card"],
    [own, { ...stranger, approvedAt: "x" }, "conflict machine new is approved itself; delete it first"],
    [own, { ...stranger, hostId: "h" }, "conflict machine new is approved itself; delete it first"],
    [{ ...own, macs: cards(31) }, { ...stranger, macs: ["one"] }, "fine"],
    [{ ...own, macs: cards(32) }, { ...stranger, macs: ["one"] }, "conflict machine box has 32 cards already"],
    [{ ...own, macs: cards(32) }, { ...stranger, macs: ["card 0"] }, "fine"],
  ];
  for (const [own, stranger, answer] of cases)
    assert.is(
      refusal(() => adoptedBy(own, stranger)),
      answer,
    );
});

test("a machine is found by id, name, or card in any case", () => {
  const store = kept({
    [keys.machine("m1")]: machine({ macs: ["52:54:00:00:00:0a"] }),
    [keys.machine("m2")]: machine({ id: "m2", name: "other" }),
  });
  for (const text of ["m1", "box", "52:54:00:00:00:0A", "52:54:00:00:00:0a"])
    assert.is(machineCalled(store, text).value.id, "m1", text);
  assert.is(machineCalled(store, "other").value.id, "m2");
  assert.is(
    refusal(() => machineCalled(store, "BOX")),
    "not-found no machine BOX",
  );
});

test.run();
