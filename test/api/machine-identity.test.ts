// The table of identity, row by row: claimed, observed, approved -> outcome.
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  type Claimed,
  type Known,
  type Observed,
  type Outcome,
  outcomeOf,
  sameBody,
  sameUuid,
  tellsApart,
} from "#api/machine-identity.ts";

const MAC = "52:54:00:00:00:01";
const OTHER = "52:54:00:00:00:66";
const UUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const SWAPPED = "3c2d1e0f-5a4b-7869-8796-a5b4c3d2e1f0";
const SERIAL = "CZ1234ABCD";
const body = { uuid: UUID, serial: SERIAL };
const M = { id: "m-1", macs: [MAC], ...body };
const said = (over: Partial<Claimed> = {}): Claimed => ({ mac: MAC, ...body, whole: true, ...over });
const card: Observed = { card: MAC, address: "10.77.0.50" };
const relay: Observed = { relay: "10.88.0.1", address: "10.88.0.50" };
const nothing: Observed = { address: "10.77.0.50" };

const TABLE: [string, Claimed, Observed, Known, Outcome["kind"]][] = [
  ["an unknown card, seen", said(), card, {}, "discovered"],
  ["an unknown card, behind a relay", said(), relay, {}, "discovered"],
  ["an unknown card, not seen", said(), nothing, {}, "refused"],
  ["an unknown card, another seen", said(), { card: OTHER }, {}, "refused"],
  ["its card, seen, the same body", said(), card, { ofCard: M }, "boot"],
  ["its card behind a relay", said(), relay, { ofCard: M }, "boot"],
  ["UUID in the other byte order", said({ uuid: SWAPPED }), card, { ofCard: M }, "boot"],
  ["SMBIOS values that were never known", said(), card, { ofCard: { id: "m-1", macs: [MAC] } }, "boot"],
  ["DHCP cannot say a serial", { mac: MAC }, card, { ofCard: M }, "boot"],
  ["another UUID", said({ uuid: `a${UUID.slice(1)}` }), card, { ofCard: M }, "changed"],
  ["another serial", said({ serial: "CZ9999ZZZZ" }), card, { ofCard: M }, "changed"],
  ["UUID left out", said({ uuid: undefined }), card, { ofCard: M }, "changed"],
  ["serial left out", said({ serial: undefined }), card, { ofCard: M }, "changed"],
  ["both left out", { mac: MAC, whole: true }, card, { ofCard: M }, "changed"],
  ["its card claimed by another card", said(), { card: OTHER }, { ofCard: M }, "refused"],
  ["its card claimed by nobody to be seen", said(), nothing, { ofCard: M }, "refused"],
  ["another body, and not seen", said({ serial: "CZ9999ZZZZ" }), nothing, { ofCard: M }, "refused"],
  ["rejected", said(), card, { ofCard: { ...M, rejected: true } }, "rejected"],
  ["rejected, with another body", said({ uuid: undefined }), card, { ofCard: { ...M, rejected: true } }, "rejected"],
  ["its body on another card", said({ mac: OTHER }), { card: OTHER }, { ofSmbios: M }, "discovered"],
];

test("each row of the table of identity has its outcome", () => {
  for (const [what, claimed, observed, known, outcome] of TABLE)
    assert.is(outcomeOf(claimed, observed, known).kind, outcome, what);
});

test("whatever is claimed from an address of jobs or builds is dropped", () => {
  for (const [what, claimed, observed, known] of TABLE)
    assert.equal(outcomeOf(claimed, observed, known, "job"), { kind: "dropped" }, what);
});

test("a new card that shows the body of an approved machine is named as its twin, of a rejected one it is not", () => {
  const claimed = said({ mac: OTHER });
  assert.equal(outcomeOf(claimed, { card: OTHER }, { ofSmbios: M }), { kind: "discovered", twin: "m-1" });
  assert.equal(outcomeOf(claimed, { card: OTHER }, { ofSmbios: { ...M, rejected: true } }), { kind: "discovered" });
});

test("what changed is said with both values", () => {
  const outcome = outcomeOf(said({ uuid: undefined, serial: "CZ9999ZZZZ" }), card, { ofCard: M });
  assert.equal(outcome, {
    kind: "changed",
    differs: [`it shows no UUID, and had ${UUID}`, `its serial is CZ9999ZZZZ, not ${SERIAL}`],
  });
});

test("both byte orders of a UUID are one machine", () => {
  assert.ok(sameUuid(SWAPPED, UUID));
  assert.not.ok(sameUuid("3c2d1e0f-5a4b-7869-8796-a5b4c3d2e1f1", UUID));
});

test("a body is a UUID with a serial that tells machines apart", () => {
  assert.ok(sameBody(body, { uuid: SWAPPED, serial: SERIAL }));
  assert.not.ok(sameBody({ uuid: UUID }, { uuid: UUID }));
  assert.not.ok(sameBody({ serial: SERIAL }, { serial: SERIAL }));
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
    assert.not.ok(sameBody({ uuid: UUID, serial }, { uuid: UUID, serial }), serial);
  }
});

test.run();
