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
  for (const taken of ["10.77.0.50", "10.77.0.51", "10.77.0.52", "192.168.0.1"]) {
    assert.is.not(leases.choose(mac(1), taken, 0), taken);
  }
  assert.is(leases.choose(mac(9), undefined, 0), "10.77.0.52");
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
  const rungs = () => ladder.discovered(mac(1));
  assert.equal([rungs(), rungs(), rungs(), rungs(), rungs()], [0, 0, 1, 2, 0]);
  const other = createLadder({ maxKeys: 10 });
  const climb = () => other.discovered(mac(2));
  assert.equal([climb(), climb(), climb()], [0, 0, 1]);
  other.progressed(mac(2));
  assert.is(climb(), 1);
});

test.run();
