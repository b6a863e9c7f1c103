import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Ask } from "../../../control/scheduler/feasible.ts";
import { Fleet, type FleetHost, groupKey, type HostState } from "../../../control/scheduler/fleet.ts";
import { type Placement, place } from "../../../control/scheduler/place.ts";
import { carries } from "../../../control/scheduler/tag-classes.ts";

const GIB = 1024;

function host(name: string, over: Partial<FleetHost> = {}): FleetHost {
  const capacity = { cpuMillis: 4000, memoryMiB: 4 * GIB, diskMiB: 100 * GIB };
  return { id: `id-${name}`, name, capacity, state: "eligible", tags: {}, addresses: 253, ...over };
}

function fleetOf(...hosts: FleetHost[]): Fleet {
  const fleet = new Fleet(2);
  for (const each of hosts) fleet.setHost(each);
  return fleet;
}

function ask(count: number, over: Partial<Ask> = {}): Ask {
  const need = { cpuMillis: 100, memoryMiB: 512, diskMiB: 0 };
  const jobs = Array.from({ length: count }, (_, at) => `job-${at}`);
  return { app: "app", process: "web", release: "r1", need, tags: {}, jobs, ...over };
}

function charge(fleet: Fleet, asked: Ask, placements: Placement[]): void {
  for (const { job, host: at } of placements) {
    if (at !== undefined) fleet.charge(job, at, groupKey(asked.app, asked.process, asked.release), asked.need);
  }
}

const hostsOf = (placements: Placement[]) => placements.map((each) => each.host ?? each.reason);

test("jobs of one process spread over hosts before any host gets a second", () => {
  const fleet = fleetOf(host("h1"), host("h2"), host("h3"));
  assert.equal(hostsOf(place(fleet, ask(4))), ["id-h1", "id-h2", "id-h3", "id-h1"]);
});

test("spread counts what already runs, in the same process only", () => {
  const fleet = fleetOf(host("h1"), host("h2"));
  fleet.charge("a", "id-h1", groupKey("app", "web", "r1"), ask(1).need);
  fleet.charge("b", "id-h2", groupKey("other", "web", "r1"), { cpuMillis: 2000, memoryMiB: 2 * GIB, diskMiB: 0 });
  assert.equal(hostsOf(place(fleet, ask(1))), ["id-h2"]);
});

test("between hosts with equally many of the process the less loaded one is taken", () => {
  const fleet = fleetOf(host("h1"), host("h2"));
  fleet.charge("b", "id-h1", groupKey("other", "web", "r1"), ask(1).need);
  assert.equal(hostsOf(place(fleet, ask(1))), ["id-h2"]);
});

test("placing reads the fleet and changes nothing", () => {
  const fleet = fleetOf(host("h1"));
  place(fleet, ask(3));
  assert.is(fleet.freeMemory[0], 4 * GIB);
  assert.is(fleet.charged, 0);
});

test("anti-affinity counts one release: the next one takes the same hosts while the old one still runs", () => {
  const fleet = fleetOf(host("h1"), host("h2"));
  const old = ask(2, { antiAffinity: true });
  charge(fleet, old, place(fleet, old));
  const next = { ...ask(2, { antiAffinity: true, release: "r2" }), jobs: ["n1", "n2"] };
  assert.equal(hostsOf(place(fleet, next)), ["id-h1", "id-h2"]);
  charge(fleet, next, place(fleet, next));
  assert.match(String(hostsOf(place(fleet, { ...next, jobs: ["n3"] }))[0]), /already runs one web/);
});

test("anti-affinity allows one of the process per host and says so", () => {
  const fleet = fleetOf(host("h1"), host("h2"));
  assert.equal(hostsOf(place(fleet, ask(3, { antiAffinity: true }))), [
    "id-h1",
    "id-h2",
    "each host already runs one web of this app, and it allows one per host (2 hosts)",
  ]);
});

test("a pinned job goes to its host or waits for it", () => {
  const fleet = fleetOf(host("h1"), host("h2"), host("h3", { state: "cordoned" }));
  assert.equal(hostsOf(place(fleet, ask(1, { host: "id-h2" }))), ["id-h2"]);
  assert.equal(hostsOf(place(fleet, ask(1, { host: "id-h3" }))), ["bound to host h3, which is cordoned"]);
  assert.equal(hostsOf(place(fleet, ask(1, { host: "id-h9" }))), ["bound to host id-h9, which is not in the cluster"]);
  const big = { cpuMillis: 0, memoryMiB: 8 * GIB, diskMiB: 0 };
  assert.equal(hostsOf(place(fleet, ask(1, { host: "id-h2", need: big }))), [
    "bound to host h2, which has only 4 GiB of the 8 GiB memory needed free",
  ]);
});

test("a job that asks for nothing of a resource runs where that resource is overdrawn", () => {
  const fleet = fleetOf(host("h1"));
  fleet.charge("a", "id-h1", "x/y", { cpuMillis: 0, memoryMiB: 0, diskMiB: 200 * GIB });
  assert.ok(fleet.freeDisk[0]! < 0);
  assert.equal(hostsOf(place(fleet, ask(1))), ["id-h1"]);
});

const EACH = ["cpuMillis", "memoryMiB", "diskMiB"] as const;
for (const resource of EACH)
  test(`of equally many the host whose ${resource} will be least taken is next, counted with the job and those placed before it`, () => {
    const amount = (value: number) => ({ cpuMillis: 0, memoryMiB: 0, diskMiB: 0, [resource]: value });
    // 1: 10 % with one job, 20 % with two. 2: 16 % with one, 17 % with two.
    const fleet = fleetOf(host("h1", { capacity: amount(1_000) }), host("h2", { capacity: amount(10_000) }));
    fleet.charge("other", "id-h2", groupKey("other", "web", "r1"), amount(1_500));
    const need = amount(100);
    assert.equal(hostsOf(place(fleet, ask(1, { need }))), ["id-h1"]);
    assert.equal(hostsOf(place(fleet, ask(4, { need }))), ["id-h1", "id-h2", "id-h2", "id-h1"]);
  });

test("a host that already runs one of the process comes after any other, however loaded that is", () => {
  const nothing = { cpuMillis: 0, memoryMiB: 0, diskMiB: 0 };
  const fleet = fleetOf(host("h1"), host("h2"));
  fleet.charge("mine", "id-h1", groupKey("app", "web", "r1"), nothing);
  const overdrawn = { cpuMillis: 40_000, memoryMiB: 40 * GIB, diskMiB: 1_000 * GIB };
  fleet.charge("big", "id-h2", groupKey("other", "web", "r1"), overdrawn);
  assert.equal(hostsOf(place(fleet, ask(1, { need: nothing }))), ["id-h2"]);
  assert.equal(hostsOf(place(fleet, ask(2, { need: nothing }))), ["id-h2", "id-h1"]);
});

test("a job bound to the first of the hosts goes there, alone or with others", () => {
  const fleet = fleetOf(host("h1"), host("h2"));
  assert.equal(hostsOf(place(fleet, ask(1, { host: "id-h1" }))), ["id-h1"]);
  assert.equal(hostsOf(place(fleet, ask(2, { host: "id-h1" }))), ["id-h1", "id-h1"]);
});

const reasons: [title: string, hosts: FleetHost[], asked: Ask, reason: string][] = [
  ["no host", [], ask(1), "no host has joined yet"],
  [
    "memory short everywhere",
    [
      host("h1", { capacity: { cpuMillis: 1000, memoryMiB: 256, diskMiB: 0 } }),
      host("h3", { capacity: { cpuMillis: 1000, memoryMiB: 512, diskMiB: 0 } }),
    ],
    ask(1, { need: { cpuMillis: 0, memoryMiB: 2 * GIB, diskMiB: 0 } }),
    "no host has 2 GiB memory free (largest free: 512 MiB on h3)",
  ],
  [
    "two resources short",
    [host("h1")],
    ask(1, { need: { cpuMillis: 8000, memoryMiB: 8 * GIB, diskMiB: 0 } }),
    "no host has 8 GiB memory free (largest free: 4 GiB on h1); no host has 8 CPU free (largest free: 4 on h1)",
  ],
  [
    "each resource somewhere, never together",
    [
      host("h1", { capacity: { cpuMillis: 4000, memoryMiB: 256, diskMiB: 0 } }),
      host("h2", { capacity: { cpuMillis: 100, memoryMiB: 4096, diskMiB: 0 } }),
    ],
    ask(1, { need: { cpuMillis: 500, memoryMiB: 512, diskMiB: 0 } }),
    "no host has 512 MiB memory and 0.5 CPU free together (of 2 hosts: 1 short of memory, 1 short of CPU)",
  ],
  ["no such tag", [host("h1")], ask(1, { tags: { disk: "ssd" } }), "no host carries tag disk=ssd"],
  [
    "tag only on a cordoned host",
    [host("h1"), host("h2", { tags: { disk: "ssd" }, state: "cordoned" })],
    ask(1, { tags: { disk: "ssd" } }),
    "no host carries tag disk=ssd (1 host out of use does); 1 host cordoned",
  ],
  [
    "tags never together",
    [host("h1", { tags: { disk: "ssd" } }), host("h2", { tags: { zone: "a" } })],
    ask(1, { tags: { zone: "a", disk: "ssd" } }),
    "no host carries tags disk=ssd and zone=a together",
  ],
  [
    "all out of use",
    [
      host("h1", { state: "cordoned" }),
      host("h2", { state: "cordoned" }),
      host("h3", { state: "cordoned" }),
      host("h4", { state: "down" }),
      host("h5", { state: "unready" }),
    ],
    ask(1),
    "3 hosts cordoned, 1 not ready, 1 lost",
  ],
  [
    "memory short on the tagged, the rest lost",
    [host("h1"), host("h2", { tags: { disk: "ssd" } }), host("h3", { state: "down" })],
    ask(1, { tags: { disk: "ssd" }, need: { cpuMillis: 0, memoryMiB: 5 * GIB, diskMiB: 0 } }),
    "no host with tag disk=ssd has 5 GiB memory free (largest free: 4 GiB on h2); 1 host lost",
  ],
];

for (const [title, hosts, asked, reason] of reasons) {
  test(`reason when ${title}`, () => assert.equal(hostsOf(place(fleetOf(...hosts), asked)), [reason]));
}

test("the reason counts what the same round already placed", () => {
  const fleet = fleetOf(host("h1", { capacity: { cpuMillis: 4000, memoryMiB: 1200, diskMiB: 0 } }));
  assert.equal(hostsOf(place(fleet, ask(3))), [
    "id-h1",
    "id-h1",
    "no host has 512 MiB memory free (largest free: 176 MiB on h1)",
  ]);
});

const anyHost = (at: number): fc.Arbitrary<FleetHost> =>
  fc.record({
    id: fc.constant<string>(`id-h${at}`),
    name: fc.constant<string>(`h${at}`),
    capacity: fc.record({ cpuMillis: fc.nat(4000), memoryMiB: fc.nat(4096), diskMiB: fc.nat(1000) }),
    state: fc.constantFrom<HostState>("eligible", "eligible", "eligible", "cordoned", "draining", "unready", "down"),
    tags: fc.dictionary(fc.constantFrom("a", "b"), fc.constantFrom("x", "y"), { maxKeys: 2 }),
    addresses: fc.constantFrom(3, 9, 253),
  });
const anyFleet = fc
  .integer({ min: 0, max: 8 })
  .chain((n) => fc.tuple(...Array.from({ length: n }, (_, at) => anyHost(at))));
const anyAsk = fc.record({
  app: fc.constantFrom("one", "two"),
  process: fc.constantFrom("web", "worker"),
  release: fc.constantFrom("r1", "r2"),
  need: fc.record({ cpuMillis: fc.nat(1000), memoryMiB: fc.nat(1024), diskMiB: fc.nat(300) }),
  tags: fc.dictionary(fc.constantFrom("a", "b"), fc.constantFrom("x", "y"), { maxKeys: 2 }),
  antiAffinity: fc.boolean(),
  count: fc.nat(12),
});

function runAll(hosts: FleetHost[], asks: (Omit<Ask, "jobs"> & { count: number })[]) {
  const fleet = fleetOf(...hosts);
  return asks.map(({ count, ...rest }, round) => {
    const asked = { ...rest, jobs: Array.from({ length: count }, (_, at) => `j${round}-${at}`) };
    const placements = place(fleet, asked);
    charge(fleet, asked, placements);
    return { asked, placements, fleet };
  });
}

test("property: never overcommits, respects state, tags and anti-affinity, and waits only when nothing fits", async () => {
  const check = fc.property(anyFleet, fc.array(anyAsk, { maxLength: 5 }), (hosts, asks) => {
    const perHost = new Map<string, number>();
    const jobsOn = new Map<string, number>();
    const used = new Map<string, FleetHost["capacity"]>(
      hosts.map((each) => [each.id, { cpuMillis: 0, memoryMiB: 0, diskMiB: 0 }]),
    );
    const byId = new Map<string, FleetHost>(hosts.map((each) => [each.id, each]));
    for (const { asked, placements } of runAll(hosts, asks)) {
      assert.equal(
        placements.map((each) => each.job),
        asked.jobs,
      );
      for (const { host: at } of placements) {
        const mayTake = hosts.filter((each) => {
          const u = used.get(each.id)!;
          const free = (key: "cpuMillis" | "memoryMiB" | "diskMiB") => each.capacity[key] - u[key] >= asked.need[key];
          const alone =
            !asked.antiAffinity ||
            (perHost.get(`${groupKey(asked.app, asked.process, asked.release)}@${each.id}`) ?? 0) === 0;
          const room = free("cpuMillis") && free("memoryMiB") && free("diskMiB");
          const hasAddress = (jobsOn.get(each.id) ?? 0) < each.addresses;
          return each.state === "eligible" && carries(each.tags, asked.tags) && alone && room && hasAddress;
        });
        if (at === undefined) {
          assert.is(mayTake.length, 0, "a job waits though a host fits");
          continue;
        }
        assert.ok(mayTake.includes(byId.get(at)!), "a job went where it does not fit");
        const u = used.get(at)!;
        u.cpuMillis += asked.need.cpuMillis;
        u.memoryMiB += asked.need.memoryMiB;
        u.diskMiB += asked.need.diskMiB;
        jobsOn.set(at, (jobsOn.get(at) ?? 0) + 1);
        const key = `${groupKey(asked.app, asked.process, asked.release)}@${at}`;
        perHost.set(key, (perHost.get(key) ?? 0) + 1);
      }
    }
  });
  await fc.assert(check, { numRuns: 500 });
});

test("property: spread differs by at most one where room allows", async () => {
  const check = fc.property(
    fc.integer({ min: 1, max: 9 }),
    fc.array(fc.nat(20), { minLength: 1, maxLength: 4 }),
    (n, counts) => {
      const hosts = Array.from({ length: n }, (_, at) =>
        host(`h${at}`, { capacity: { cpuMillis: 1e6, memoryMiB: 1e6 * (at + 1), diskMiB: 0 } }),
      );
      const asks = counts.map((count) => ({
        app: "app",
        process: "web",
        release: "r1",
        need: { cpuMillis: 100, memoryMiB: 512, diskMiB: 0 },
        tags: {},
        count,
      }));
      const fleet = runAll(hosts, asks).at(-1)!.fleet;
      const held = fleet.countsOf(groupKey("app", "web", "r1"));
      const each = hosts.map((_, slot) => held.get(slot) ?? 0);
      assert.ok(Math.max(...each) - Math.min(...each) <= 1, each.join(" "));
    },
  );
  await fc.assert(check);
});

test("property: the same input in the same order gives the same placements", async () => {
  const check = fc.property(anyFleet, fc.array(anyAsk, { maxLength: 5 }), (hosts, asks) => {
    const seen = () => runAll(hosts, asks).map(({ placements }) => placements);
    assert.equal(seen(), seen());
  });
  await fc.assert(check);
});

test.run();
