import { test } from "uvu";
import * as assert from "uvu/assert";
import { createLadder } from "../../../bootstrap/dhcp/ladder.ts";
import { createLeases } from "../../../bootstrap/dhcp/leases.ts";

const mac = (n: number) =>
  `52:54:00:00:${(n >> 8).toString(16).padStart(2, "0")}:${(n & 255).toString(16).padStart(2, "0")}`;
const range = { first: "10.77.0.50", last: "10.77.0.59" };

test("an empty table gives the same machine the same address every time", () => {
  assert.is(createLeases(range).choose(mac(1), undefined, 0), createLeases(range).choose(mac(1), undefined, 0));
});

test("that address is by FNV-1a of the MAC, so that an update which finds the table empty moves no machine", () => {
  // Counted elsewhere: 32 bits, offset basis 2166136261, prime 16777619, modulo the ten addresses.
  assert.equal(
    [1, 2, 300].map((n) => createLeases(range).choose(mac(n), undefined, 0)),
    ["10.77.0.58", "10.77.0.59", "10.77.0.53"],
  );
});

test("machines are spread over an empty range, so that few ask for one another's address", () => {
  const wide = createLeases({ first: "10.77.0.0", last: "10.77.3.255" });
  const addresses = new Set(Array.from({ length: 200 }, (_, n) => wide.choose(mac(n), undefined, 0)));
  assert.ok(addresses.size > 150, `${addresses.size}`);
});

test("a full range gives every address once, and then nothing", () => {
  const leases = createLeases(range);
  const given = new Set<string>();
  for (let n = 0; n < 10; n++) {
    const address = leases.choose(mac(n), undefined, 0)!;
    given.add(address);
    leases.apply({ mac: mac(n), address, state: "bound", expiresAtMs: 1_000 });
  }
  assert.is(given.size, 10);
  assert.is(leases.choose(mac(11), undefined, 999), undefined);
});

test("when no address is unused, the one that expired longest ago changes hands, and its old holder loses it", () => {
  const leases = createLeases(range);
  for (let n = 0; n < 10; n++) {
    leases.apply({ mac: mac(n), address: `10.77.0.${50 + n}`, state: "bound", expiresAtMs: n === 4 ? 100 : 500 });
  }
  assert.is(leases.choose(mac(11), undefined, 1_000), "10.77.0.54");
  leases.apply({ mac: mac(11), address: "10.77.0.54", state: "bound", expiresAtMs: 9_000 });
  assert.is(leases.byMac(mac(4)), undefined);
  assert.is(leases.byAddress("10.77.0.54")?.mac, mac(11));
});

test("an expired lease is still its machine's while the range has unused addresses", () => {
  const leases = createLeases(range);
  leases.apply({ mac: mac(1), address: "10.77.0.57", state: "bound", expiresAtMs: 10 });
  assert.is(leases.choose(mac(1), undefined, 1_000_000), "10.77.0.57");
  for (let n = 2; n < 11; n++) {
    const address = leases.choose(mac(n), undefined, 1_000_000)!;
    assert.is.not(address, "10.77.0.57");
    leases.apply({ mac: mac(n), address, state: "bound", expiresAtMs: 2_000_000 });
  }
});

test("a wish is granted when the address is free, and not when it is another's, excluded or reserved", () => {
  const leases = createLeases({ ...range, exclude: ["10.77.0.51"], reservations: new Map([[mac(9), "10.77.0.52"]]) });
  leases.apply({ mac: mac(2), address: "10.77.0.50", state: "bound", expiresAtMs: 1_000 });
  assert.is(leases.choose(mac(1), "10.77.0.55", 0), "10.77.0.55");
  assert.is(leases.choose(mac(1), "10.77.0.59", 0), "10.77.0.59", "the last of the range");
  for (const taken of ["10.77.0.50", "10.77.0.51", "10.77.0.52", "192.168.0.1", "10.77.0.49", "10.77.0.60"]) {
    assert.is.not(leases.choose(mac(1), taken, 0), taken);
  }
  assert.is(leases.choose(mac(9), undefined, 0), "10.77.0.52");
});

test("an address outside the range is reserved for its machine alone, and the range is none the smaller", () => {
  const leases = createLeases({ ...range, reservations: new Map([[mac(9), "10.77.0.60"]]) });
  assert.is(leases.whose(mac(1), "10.77.0.60"), "reserved for another machine");
  assert.equal([leases.whose(mac(9), "10.77.0.60"), leases.whose(mac(1), "10.77.0.59")], [undefined, undefined]);
  assert.is(leases.choose(mac(9), undefined, 0), "10.77.0.60");
  leases.apply({ mac: mac(9), address: "10.77.0.60", state: "bound", expiresAtMs: 100 });
  const given = new Set<string>();
  for (let n = 10; n < 20; n++) {
    const address = leases.choose(mac(n), undefined, 50)!;
    given.add(address);
    leases.apply({ mac: mac(n), address, state: "bound", expiresAtMs: 9_000 });
  }
  assert.equal([given.size, given.has("10.77.0.60")], [10, false]);
  assert.is(leases.choose(mac(30), undefined, 8_000), undefined, "what is reserved changes no hands when it ends");
  assert.is(leases.choose(mac(9), undefined, 8_000), "10.77.0.60");
});

test("an offer that is not taken frees its address, and only an offer does", () => {
  const leases = createLeases({ first: "10.77.0.50", last: "10.77.0.50" });
  leases.apply({ mac: mac(1), address: "10.77.0.50", state: "offered", expiresAtMs: 9_000 });
  assert.is(leases.choose(mac(2), undefined, 0), undefined);
  leases.forgetOffer(mac(2));
  leases.forgetOffer(mac(1));
  assert.equal([leases.byMac(mac(1)), leases.byAddress("10.77.0.50")], [undefined, undefined]);
  assert.is(leases.choose(mac(2), undefined, 0), "10.77.0.50");
  leases.apply({ mac: mac(2), address: "10.77.0.50", state: "bound", expiresAtMs: 9_000 });
  leases.forgetOffer(mac(2));
  assert.is(leases.byMac(mac(2))?.state, "bound");
});

test("a reserved address that another holds stays its until that lease ends, and the owner has one of the range meanwhile", () => {
  const leases = createLeases({ ...range, reservations: new Map([[mac(9), "10.77.0.52"]]) });
  leases.apply({ mac: mac(1), address: "10.77.0.52", state: "bound", expiresAtMs: 1_000 });
  const meanwhile = leases.choose(mac(9), undefined, 500)!;
  assert.is.not(meanwhile, "10.77.0.52");
  leases.apply({ mac: mac(9), address: meanwhile, state: "bound", expiresAtMs: 9_000 });
  assert.is.not(leases.choose(mac(1), undefined, 500), "10.77.0.52", "nor is it offered to the holder again");
  assert.is(leases.choose(mac(9), undefined, 1_000), "10.77.0.52");
  leases.apply({ mac: mac(9), address: "10.77.0.52", state: "bound", expiresAtMs: 9_000 });
  assert.is(leases.byAddress(meanwhile), undefined, "what it had meanwhile is unused again");
});

test("one machine that declines all it is given takes three addresses away, and many of them a quarter of the range", () => {
  const wide = { first: "10.77.0.1", last: "10.77.0.40" };
  const leases = createLeases(wide);
  const decline = (n: number): void => {
    const address = leases.choose(mac(n), undefined, 0)!;
    leases.apply({ mac: mac(n), address, state: "declined", expiresAtMs: 600_000 });
  };
  const resting = () => leases.durable().filter(({ state }) => state === "declined").length;
  for (let n = 0; n < 22; n++) decline(1);
  assert.is(resting(), 3);
  for (let n = 2; n < 40; n++) decline(n);
  assert.is(resting(), 10);
  for (let n = 100; n < 130; n++)
    leases.apply({ mac: mac(n), address: leases.choose(mac(n), undefined, 0)!, state: "bound", expiresAtMs: 600_000 });
  assert.is(leases.choose(mac(200), undefined, 0), undefined, "all others are given out, once each");
});

test("what is reserved or excluded is given to nobody else, also when the range is full and all leases have ended", () => {
  const reservations = new Map([[mac(99), "10.77.0.52"]]);
  const leases = createLeases({ ...range, exclude: ["10.77.0.51"], reservations });
  const bind = (n: number, address: string, expiresAtMs: number) =>
    leases.apply({ mac: mac(n), address, state: "bound", expiresAtMs });
  bind(99, leases.choose(mac(99), undefined, 0)!, 10);
  const given = new Set<string>();
  for (let n = 0; n < 8; n++) {
    const address = leases.choose(mac(n), undefined, 0)!;
    given.add(address);
    bind(n, address, 1_000);
  }
  assert.equal([given.size, given.has("10.77.0.51"), given.has("10.77.0.52")], [8, false, false]);
  assert.is(
    leases.choose(mac(20), undefined, 999),
    undefined,
    "the reserved one's lease ended long ago, and it stays reserved",
  );
  const first = leases.choose(mac(20), undefined, 1_000)!;
  assert.ok(given.has(first), "the moment a lease ends its address may change hands");
  // Its own machine leaves the reserved address for another: still nobody else's.
  bind(99, first, 2_000);
  assert.is(leases.byAddress("10.77.0.52"), undefined);
  bind(0, leases.choose(mac(0), undefined, 1_000)!, 3_000);
  for (let n = 1; n < 8; n++) {
    const held = leases.byMac(mac(n));
    if (held !== undefined) bind(n, held.address, 3_000);
  }
  assert.is.not(leases.choose(mac(21), undefined, 1_500), "10.77.0.52");
});

test("of addresses that are too many to rest the one declined first comes back first", () => {
  const wide = createLeases({ first: "10.77.0.1", last: "10.77.0.40" });
  const decline = (n: number, address: string) =>
    wide.apply({ mac: mac(n), address, state: "declined", expiresAtMs: 600_000 });
  for (const last of [1, 2, 3, 4]) decline(1, `10.77.0.${last}`);
  const resting = () => wide.durable().map(({ address }) => address);
  assert.equal(resting(), ["10.77.0.2", "10.77.0.3", "10.77.0.4"]);
  decline(1, "10.77.0.2");
  decline(1, "10.77.0.5");
  assert.equal(resting().sort(), ["10.77.0.2", "10.77.0.4", "10.77.0.5"], "one declined again rests anew");
  const small = createLeases({ first: "10.77.0.1", last: "10.77.0.4" });
  for (const n of [1, 2])
    small.apply({ mac: mac(n), address: `10.77.0.${n}`, state: "declined", expiresAtMs: 600_000 });
  assert.equal(
    small.durable().map(({ address }) => address),
    ["10.77.0.2"],
    "a quarter of four is one",
  );
});

test("an address that rested and is somebody's again is not taken from it when others are declined", () => {
  const leases = createLeases({ first: "10.77.0.1", last: "10.77.0.4" });
  leases.apply({ mac: mac(1), address: "10.77.0.1", state: "declined", expiresAtMs: 100 });
  assert.is(leases.choose(mac(2), "10.77.0.1", 100), "10.77.0.1");
  leases.apply({ mac: mac(2), address: "10.77.0.1", state: "bound", expiresAtMs: 9_000 });
  leases.apply({ mac: mac(3), address: "10.77.0.2", state: "declined", expiresAtMs: 9_000 });
  assert.is(leases.byAddress("10.77.0.1")?.mac, mac(2));
});

test("a full range of 65,536 is given out address by address, the one that ended first changes hands", () => {
  const leases = createLeases({ first: "10.0.0.0", last: "10.0.255.255" });
  const given = new Set<string>();
  const wide = (n: number) =>
    `52:54:01:${[n >> 16, n >> 8, n].map((byte) => (byte & 255).toString(16).padStart(2, "0")).join(":")}`;
  for (let n = 0; n < 65_536; n++) {
    const address = leases.choose(wide(n), undefined, 0)!;
    given.add(address);
    leases.apply({ mac: wide(n), address, state: "bound", expiresAtMs: 1_000 + ((n * 7_919) % 65_536) });
  }
  assert.is(given.size, 65_536);
  assert.is(leases.choose(wide(70_000), undefined, 999), undefined);
  for (let n = 0; n < 1_000; n++)
    assert.is(leases.choose(wide(70_000), undefined, 5_000), leases.byMac(wide(0))!.address);
});

test("only what outlives a restart is durable", () => {
  const leases = createLeases(range);
  leases.apply({ mac: mac(1), address: "10.77.0.50", state: "offered", expiresAtMs: 30 });
  leases.apply({ mac: mac(2), address: "10.77.0.51", state: "bound", expiresAtMs: 30 });
  leases.apply({ mac: mac(3), address: "10.77.0.52", state: "declined", expiresAtMs: 30 });
  assert.equal(
    leases.durable().map((lease) => lease.state),
    ["bound", "declined"],
  );
});

test("firmware that ignores an offer twice is shown the next shape, and keeps the one that worked", () => {
  const ladder = createLadder({ maxKeys: 10 });
  const rungs = () => ladder.discovered(mac(1)).rung;
  assert.equal([rungs(), rungs(), rungs(), rungs(), rungs()], [0, 0, 1, 2, 0]);
  const other = createLadder({ maxKeys: 10 });
  const climb = () => other.discovered(mac(2)).rung;
  assert.equal([climb(), climb(), climb()], [0, 0, 1]);
  other.progressed(mac(2));
  assert.is(climb(), 1);
});

test("of more machines than are remembered the one that was silent longest begins from the first shape again", () => {
  const ladder = createLadder({ maxKeys: 2 });
  const rungs = (n: number, times: number) => Array.from({ length: times }, () => ladder.discovered(mac(n)).rung);
  assert.equal(
    [rungs(1, 3), rungs(2, 3)],
    [
      [0, 0, 1],
      [0, 0, 1],
    ],
  );
  assert.equal(rungs(1, 1), [2], "two are remembered");
  assert.equal(rungs(3, 1), [0]);
  assert.equal([rungs(1, 1), rungs(2, 2)], [[0], [0, 0]], "the first went round, the second was forgotten");
});

test.run();
