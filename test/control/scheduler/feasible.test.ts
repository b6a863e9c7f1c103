// Whether a host may take one more job: each reason by itself, to the last unit.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Ask, fits, hasRoom, isOpen } from "../../../control/scheduler/feasible.ts";
import { Fleet, type FleetHost, groupKey } from "../../../control/scheduler/fleet.ts";
import { place } from "../../../control/scheduler/place.ts";
import { explain, explainBriefly, whyNotHere } from "../../../control/scheduler/why-not.ts";

const capacity = { cpuMillis: 1_000, memoryMiB: 512, diskMiB: 100 };
const fleetOf = (...hosts: Partial<FleetHost>[]): Fleet => {
  const fleet = new Fleet(2);
  for (const [n, over] of hosts.entries())
    fleet.setHost({ id: `h${n}`, name: `h${n}`, capacity, state: "eligible", tags: {}, addresses: 253, ...over });
  return fleet;
};
const ask = (over: Partial<Ask> = {}): Ask => ({
  app: "app",
  process: "web",
  release: "r1",
  need: { cpuMillis: 1_000, memoryMiB: 512, diskMiB: 100 },
  tags: {},
  jobs: ["j"],
  ...over,
});

test("a job that needs exactly what is free fits; one unit more of anything does not", () => {
  const fleet = fleetOf({});
  assert.ok(fits(fleet, 0, ask()));
  for (const unit of ["cpuMillis", "memoryMiB", "diskMiB"] as const)
    assert.not(fits(fleet, 0, ask({ need: { ...capacity, [unit]: capacity[unit] + 1 } })), unit);
});

test("room is counted with what the same round took", () => {
  const fleet = fleetOf({});
  const need = { cpuMillis: 500, memoryMiB: 256, diskMiB: 50 };
  assert.equal(
    [0, 1, 2].map((mine) => hasRoom(fleet, 0, need, mine)),
    [true, true, false],
  );
});

test("what a job does not ask for never stands in its way", () => {
  const fleet = fleetOf({});
  fleet.charge("other", "h0", "g", { cpuMillis: 2_000, memoryMiB: 1_024, diskMiB: 500 });
  const nothing = { cpuMillis: 0, memoryMiB: 0, diskMiB: 0 };
  assert.ok(hasRoom(fleet, 0, nothing, 5));
  for (const unit of ["cpuMillis", "memoryMiB", "diskMiB"] as const)
    assert.not(hasRoom(fleet, 0, { ...nothing, [unit]: 1 }, 0), unit);
});

test("a host takes as many jobs as its subnet has addresses, however small they are, and says so then", () => {
  const fleet = fleetOf({});
  const need = { cpuMillis: 1, memoryMiB: 1, diskMiB: 0 };
  for (let n = 0; n < 252; n++) fleet.charge(`j${n}`, "h0", "g", need);
  assert.ok(fits(fleet, 0, ask({ need })));
  assert.equal([hasRoom(fleet, 0, need, 0), hasRoom(fleet, 0, need, 1)], [true, false]);
  fleet.charge("last", "h0", "g", need);
  assert.not(fits(fleet, 0, ask({ need })));
  assert.match(whyNotHere(fleet, 0, ask({ need }))!, /no address left/);
  for (const words of [explain(fleet, ask({ need }), new Map()), explainBriefly(fleet, ask({ need }))])
    assert.match(words, /^no host has an address left/);
  fleet.release("j7");
  assert.ok(fits(fleet, 0, ask({ need })), "one that ended gives its own back");
  fleet.removeHost("h0");
  fleet.setHost({ id: "h0", name: "h0", capacity, state: "eligible", tags: {}, addresses: 253 });
  assert.not(hasRoom(fleet, 0, need, 1), "a host that comes back has its jobs' addresses in use");
});

test("hosts with subnets of several sizes take as many jobs as each has addresses, and more once one has a larger subnet", () => {
  const fleet = fleetOf({ addresses: 2 }, { addresses: 5 });
  const small = { cpuMillis: 1, memoryMiB: 1, diskMiB: 0 };
  const jobs = Array.from({ length: 9 }, (_, n) => `j${n}`);
  const placements = place(fleet, ask({ need: small, jobs }));
  const on = (host: string) => placements.filter((each) => each.host === host);
  assert.equal([on("h0").length, on("h1").length, placements.filter((each) => !each.host).length], [2, 5, 2]);
  for (const { job, host } of placements) if (host !== undefined) fleet.charge(job, host, "g", small);
  const words = "no host has an address left: they run 2 to 5 jobs, as many as its subnet has; add hosts";
  assert.ok(explain(fleet, ask({ need: small }), new Map()).startsWith(words));
  assert.match(whyNotHere(fleet, 1, ask({ need: small }))!, /^runs 5 jobs, and its subnet has no address left/);
  fleet.setHost({ id: "h0", name: "h0", capacity, state: "eligible", tags: {}, addresses: 1021 });
  assert.equal([fits(fleet, 0, ask({ need: small })), fits(fleet, 1, ask({ need: small }))], [true, false]);
  assert.is(fleet.freeAddresses[0], 1019);
});

test("a pinned job goes to its host alone, a tagged one to hosts that carry the tags, and none to a host out of use", () => {
  const fleet = fleetOf({}, { tags: { disk: "ssd" } }, { state: "cordoned" });
  const where = (over: Partial<Ask>) => [0, 1, 2].filter((slot) => fits(fleet, slot, ask(over)));
  assert.equal(where({}), [0, 1]);
  assert.equal(where({ host: "h1" }), [1]);
  assert.equal(where({ host: "nowhere" }), []);
  assert.equal(where({ tags: { disk: "ssd" } }), [1]);
  assert.equal(where({ tags: { disk: "hdd" } }), []);
  assert.not(isOpen(fleet, 2, fleet.classes.compile({})));
});

test("anti-affinity allows one job of a process and release to a host, and is asked for", () => {
  const fleet = fleetOf({});
  fleet.charge("j0", "h0", groupKey("app", "web", "r1"), { cpuMillis: 1, memoryMiB: 1, diskMiB: 1 });
  const need = { cpuMillis: 1, memoryMiB: 1, diskMiB: 1 };
  assert.ok(fits(fleet, 0, ask({ need })));
  assert.not(fits(fleet, 0, ask({ need, antiAffinity: true })));
  for (const other of [{ release: "r2" }, { process: "worker" }, { app: "b" }])
    assert.ok(fits(fleet, 0, ask({ need, antiAffinity: true, ...other })), JSON.stringify(other));
});

test("why a host takes no job of an ask is said as the first thing in its way, and nothing is said of one that does", () => {
  const fleet = fleetOf({}, { state: "cordoned" }, { tags: { disk: "ssd" } });
  fleet.charge("j0", "h0", groupKey("app", "web", "r1"), { cpuMillis: 400, memoryMiB: 12, diskMiB: 1 });
  const need = { cpuMillis: 300, memoryMiB: 100, diskMiB: 1 };
  const why = (slot: number, over: Partial<Ask> = {}, taken = 0) =>
    whyNotHere(fleet, slot, ask({ need, ...over }), new Map(taken === 0 ? [] : [[slot, taken]]));
  assert.is(why(0), undefined);
  assert.is(why(0, {}, 1), undefined);
  assert.match(why(0, {}, 2)!, /^has only .* needed free$/);
  assert.is(why(1), "is cordoned");
  assert.match(why(0, { tags: { disk: "ssd" } })!, /^does not carry tag/);
  assert.is(why(2, { tags: { disk: "ssd" } }), undefined);
  assert.is(why(0, { antiAffinity: true }), "already runs one web of this app");
  assert.is(why(2, { antiAffinity: true }), undefined);
  assert.is(why(2, { antiAffinity: true }, 1), "already runs one web of this app");
  const lacks = why(0, { need: { cpuMillis: 700, memoryMiB: 600, diskMiB: 1 } })!;
  assert.match(lacks, / and /, "both things that it lacks");
  assert.not.match(why(0, { need: { cpuMillis: 600, memoryMiB: 600, diskMiB: 1 } })!, / and /);
});

test.run();
