// What the boot server sees of an asker: cards from the neighbour table, configured relays, and whom it does not hear at all.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { kernelNeighbours } from "../../../bootstrap/identity/neighbours.ts";
import { createSight } from "../../../bootstrap/identity/sight.ts";

const MAC = "52:54:00:00:00:01";
const OTHER = "52:54:00:00:00:66";
const RELAY = { address: "10.88.0.1", network: { address: "10.88.0.0", prefix: 24 }, uplink: "172.16.0.2" };

function sightOf(cards: Record<string, string> = {}) {
  const clock = { ms: 0 };
  const sight = createSight({
    network: { address: "10.77.0.0", prefix: 24 },
    relays: [RELAY],
    refused: ["10.77.0.128/25"],
    neighbours: (address) => cards[address],
    leasedTo: (address) => (address === "10.77.0.9" || address === "10.88.0.60" ? OTHER : undefined),
    nowMs: () => clock.ms,
  });
  sight.setJobNetworks(["100.64.0.0/16"]);
  return { sight, clock };
}

test("jobs, refused ranges and routed strangers are dropped before they are read; the LAN and configured relays are heard", () => {
  const { sight } = sightOf();
  const table: [string, boolean][] = [
    ["10.77.0.50", true],
    ["10.88.0.50", true],
    ["10.77.0.200", false],
    ["100.64.3.7", false],
    ["172.18.0.2", false],
    ["192.168.1.1", false],
    ["", false],
  ];
  for (const [address, heard] of table) assert.is(sight.admits(address), heard, address);
});

test("a DHCP packet counts without an address, or from those who are heard, and for a relay only from that relay", () => {
  const { sight } = sightOf();
  const table: [string, string, boolean][] = [
    ["0.0.0.0", "0.0.0.0", true],
    ["10.77.0.50", "0.0.0.0", true],
    ["10.88.0.1", "10.88.0.1", true],
    ["172.16.0.2", "10.88.0.1", true],
    ["172.16.0.2", "0.0.0.0", false],
    ["10.88.0.50", "10.88.0.1", false],
    ["10.77.0.66", "10.88.0.1", false],
    ["0.0.0.0", "10.88.0.1", false],
    ["10.99.0.1", "10.88.0.1", false],
    ["10.77.0.50", "10.99.0.1", false],
    ["0.0.0.0", "10.99.0.1", false],
    ["100.64.0.9", "0.0.0.0", false],
  ];
  for (const [address, giaddr, heard] of table)
    assert.is(sight.admitsPacket(address, giaddr), heard, `${address} ${giaddr}`);
});

test("on our own wire the card is what is seen, whoever is claimed; without an entry nothing is", () => {
  const { sight } = sightOf({ "10.77.0.50": MAC });
  const seen = (address: string, mac: string) => sight.observed(sight.sourceOf(address, mac), mac);
  assert.equal(seen("10.77.0.50", MAC), { card: MAC, address: "10.77.0.50" });
  assert.equal(seen("10.77.0.50", OTHER), { card: MAC, address: "10.77.0.50" });
  assert.equal(seen("10.77.0.51", MAC), { address: "10.77.0.51" });
  assert.is(sight.sourceOf("10.77.0.9").leasedTo, OTHER);
});

test("behind a relay a card is believed only at the address that its own packets showed, which that relay carried lately", () => {
  const { sight, clock } = sightOf();
  const seen = (mac: string, address = "10.88.0.50") => sight.observed(sight.sourceOf(address, mac), mac);
  assert.equal(seen(MAC), { address: "10.88.0.50" });
  sight.carried(MAC, RELAY.address);
  assert.equal(seen(MAC), { address: "10.88.0.50" }, "no address was shown yet");
  sight.carried(MAC, RELAY.address, "10.88.0.50");
  sight.carried(MAC, RELAY.address);
  assert.equal(seen(MAC, "10.88.0.66"), { address: "10.88.0.66" }, "a neighbour of it");
  sight.carried(OTHER, RELAY.address, "10.88.0.60");
  assert.equal(seen(OTHER, "10.88.0.60"), { relay: RELAY.address, address: "10.88.0.60" });
  sight.carried(MAC, RELAY.address, "10.88.0.60");
  assert.equal(seen(MAC, "10.88.0.60"), { address: "10.88.0.60" }, "leased to another card");
  sight.carried(MAC, RELAY.address, "10.88.0.50");
  assert.equal(seen(MAC), { relay: RELAY.address, address: "10.88.0.50" });
  assert.equal(seen(OTHER), { address: "10.88.0.50" });
  clock.ms = 11 * 60_000;
  assert.equal(seen(MAC), { address: "10.88.0.50" });
});

test("what a relay carried is believed for ten minutes from its last packet, with the address that was shown last", () => {
  const { sight, clock } = sightOf();
  const seen = (address: string) => sight.observed(sight.sourceOf(address, MAC), MAC).relay;
  clock.ms = 5_000_000;
  sight.carried(MAC, RELAY.address, "10.88.0.50");
  clock.ms += 599_999;
  assert.equal([seen("10.88.0.50"), seen("10.88.0.51")], [RELAY.address, undefined]);
  clock.ms += 1;
  assert.is(seen("10.88.0.50"), undefined);
  sight.carried(MAC, RELAY.address);
  assert.is(seen("10.88.0.50"), RELAY.address, "a packet without an address keeps the one that was shown");
  clock.ms += 599_999;
  sight.carried(MAC, RELAY.address, "10.88.0.51");
  clock.ms += 599_999;
  assert.equal([seen("10.88.0.50"), seen("10.88.0.51")], [undefined, RELAY.address]);
});

test("of more than 16,384 cards that relays carried the one longest silent is forgotten", () => {
  const { sight } = sightOf();
  const card = (n: number) =>
    `52:54:01:00:${(n >> 8).toString(16).padStart(2, "0")}:${(n & 255).toString(16).padStart(2, "0")}`;
  const knows = (mac: string) => sight.observed(sight.sourceOf("10.88.0.50", mac), mac).relay !== undefined;
  for (let n = 0; n < 16_384; n++) sight.carried(card(n), RELAY.address, "10.88.0.50");
  assert.equal([knows(card(0)), knows(card(16_383))], [true, true]);
  sight.carried(card(0), RELAY.address, "10.88.0.50");
  sight.carried(card(20_000), RELAY.address, "10.88.0.50");
  assert.equal([card(0), card(1), card(2), card(20_000)].map(knows), [true, false, true, true]);
});

test("each relay speaks for itself only, and one whose address is a job's or refused is not heard", () => {
  const second = { address: "10.89.0.1", network: { address: "10.89.0.0", prefix: 24 } };
  const jobs = { address: "100.64.0.1", network: { address: "100.64.0.0", prefix: 24 } };
  const ours = { address: "10.77.0.129", network: { address: "10.90.0.0", prefix: 24 }, uplink: "100.64.5.5" };
  const sight = createSight({
    network: { address: "10.77.0.0", prefix: 24 },
    relays: [RELAY, second, jobs, ours],
    refused: ["10.77.0.128/25", "no range"],
    neighbours: () => undefined,
  });
  const heard = (address: string, giaddr: string) => sight.admitsPacket(address, giaddr);
  assert.ok(heard("100.64.0.1", "100.64.0.1"), "before anything is known of jobs");
  sight.setJobNetworks(["100.64.0.0/16", "no range"]);
  assert.equal([heard("10.89.0.1", "10.89.0.1"), heard("10.88.0.1", "10.89.0.1")], [true, false]);
  assert.equal([heard("100.64.0.1", "100.64.0.1"), heard("100.64.5.5", "10.77.0.129")], [false, false]);
  assert.is(heard("10.77.0.129", "10.77.0.129"), false);
  assert.equal(
    [sight.admits("100.64.0.50"), sight.admits("10.89.0.50"), sight.admits("10.90.0.5")],
    [false, true, true],
  );
  assert.is(sight.sourceOf("10.89.0.50").relay, "10.89.0.1");
  sight.setJobNetworks([]);
  assert.ok(sight.admits("100.64.0.50"), "the range was changed");
});

test("an address that the kept table does not know, or has for another card, is looked up again at once", async () => {
  const root = await mkdtemp(join(tmpdir(), "flynn-neighbours-"));
  const path = join(root, "arp");
  const table = (...rows: string[]) =>
    writeFile(path, ["IP address HW type Flags HW address Mask Device", ...rows].join("\n"));
  const row = (address: string, mac: string) => `${address} 0x1 0x2 ${mac} * br0`;
  try {
    await table(row("10.77.0.50", MAC));
    const neighbours = kernelNeighbours("br0", { path, nowMs: () => 0 });
    assert.is(neighbours("10.77.0.50"), MAC);
    await table(row("10.77.0.50", OTHER), row("10.77.0.51", MAC));
    assert.is(neighbours("10.77.0.51"), MAC, "an honest new card is not read as unknown");
    await table(row("10.77.0.51", OTHER));
    assert.is(neighbours("10.77.0.51", OTHER), OTHER, "nor by the card that had its address before");
    await table();
    for (let n = 0; n < 1_000; n++) neighbours("10.77.0.99");
    await table(row("10.77.0.99", MAC));
    assert.is(neighbours("10.77.0.99"), undefined, "a flood of unknown addresses does not read it each time");
  } finally {
    await rm(root, { recursive: true });
  }
});

test.run();
