import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fits } from "../../../control/scheduler/feasible.ts";
import { Fleet, type FleetHost } from "../../../control/scheduler/fleet.ts";
import { carries, TagClasses } from "../../../control/scheduler/tag-classes.ts";

const need = { cpuMillis: 100, memoryMiB: 256, diskMiB: 10 };

function host(id: string, over: Partial<FleetHost> = {}): FleetHost {
  const capacity = { cpuMillis: 1000, memoryMiB: 1024, diskMiB: 100 };
  return { id, name: id, capacity, state: "eligible", tags: {}, addresses: 253, ...over };
}

test("charging a job twice takes its room once", () => {
  const fleet = new Fleet(1);
  fleet.setHost(host("h1"));
  fleet.charge("j", "h1", "a/web", need);
  fleet.charge("j", "h1", "a/web", { ...need });
  assert.is(fleet.freeMemory[0], 768);
  assert.is(fleet.countsOf("a/web").get(0), 1);
  assert.is(fleet.release("j"), 0);
  assert.is(fleet.release("j"), undefined);
  assert.is(fleet.freeMemory[0], 1024);
  assert.is(fleet.countsOf("a/web").size, 0);
});

test("a job charged elsewhere leaves the first host", () => {
  const fleet = new Fleet(1);
  fleet.setHost(host("h1"));
  fleet.setHost(host("h2"));
  fleet.charge("j", "h1", "a/web", need);
  fleet.charge("j", "h2", "a/web", need);
  assert.equal([...fleet.freeMemory.slice(0, 2)], [1024, 768]);
  assert.is(fleet.hostOfJob("j"), "h2");
});

test("a job that is charged for another process of its app counts for that one, on the same host", () => {
  const fleet = new Fleet(1);
  fleet.setHost(host("h1"));
  fleet.charge("j", "h1", "a/web", need);
  fleet.charge("j", "h1", "a/worker", need);
  assert.equal([fleet.countsOf("a/web").size, fleet.countsOf("a/worker").get(0)], [0, 1]);
  assert.is(fleet.freeMemory[0], 768);
});

test("jobs of a host that is not known yet are charged when it comes, and again after it was removed", () => {
  const fleet = new Fleet(1);
  fleet.charge("j", "h1", "a/web", need);
  fleet.setHost(host("h1"));
  assert.is(fleet.freeMemory[0], 768);
  fleet.removeHost("h1");
  assert.is(fleet.size, 0);
  assert.is(fleet.countsOf("a/web").size, 0);
  fleet.setHost(host("h2"));
  assert.is(fleet.freeMemory[0], 1024, "the slot is reused clean");
  fleet.setHost(host("h1"));
  assert.is(fleet.freeMemory[fleet.slotOf("h1")!], 768);
});

test("a new capacity keeps what is charged", () => {
  const fleet = new Fleet(1);
  fleet.setHost(host("h1"));
  fleet.charge("j", "h1", "a/web", need);
  fleet.setHost(host("h1", { capacity: { cpuMillis: 50, memoryMiB: 2048, diskMiB: 100 } }));
  assert.is(fleet.freeMemory[0], 1792);
  assert.is(fleet.freeCpu[0], -50);
});

test("fits follows state, room and tags", () => {
  const fleet = new Fleet(1);
  const asked = { app: "a", process: "web", release: "r1", need, tags: { disk: "ssd" }, jobs: [] };
  fleet.setHost(host("h1"));
  assert.not(fits(fleet, 0, asked));
  fleet.setHost(host("h1", { tags: { disk: "ssd" } }));
  assert.ok(fits(fleet, 0, asked));
  fleet.setHost(host("h1", { tags: { disk: "ssd" }, state: "cordoned" }));
  assert.not(fits(fleet, 0, asked));
});

test("a tag named like an object's own machinery is only a tag", () => {
  assert.not(carries({}, { constructor: "x" }));
  assert.not(carries({}, { toString: "x" }));
  assert.ok(carries({ toString: "x" }, { toString: "x" }));
});

test("property: the bitset says what comparing the tags says, while classes come and go", async () => {
  const tags = fc.dictionary(fc.constantFrom("a", "b", "c"), fc.constantFrom("x", "y"), { maxKeys: 3 });
  const step = fc.record({ join: fc.boolean(), tags, wanted: tags });
  const check = fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
    const classes = new TagClasses();
    const joined: { id: number; tags: Record<string, string> }[] = [];
    for (const each of steps) {
      if (each.join || joined.length === 0) joined.push({ id: classes.join(each.tags), tags: each.tags });
      else classes.leave(joined.shift()!.id);
      const bits = classes.compile(each.wanted);
      for (const { id, tags: own } of joined) {
        assert.is((bits[id >>> 5]! & (1 << (id & 31))) !== 0, carries(own, each.wanted));
      }
    }
  });
  await fc.assert(check);
});

test("hosts with equal tags, in whatever order they were written, are one class; an id is free again when its last host leaves", () => {
  const classes = new TagClasses();
  const both = classes.join({ disk: "ssd", zone: "a" });
  assert.is(classes.join({ zone: "a", disk: "ssd" }), both);
  const other = classes.join({ zone: "b" });
  assert.is.not(other, both);
  classes.leave(both);
  assert.equal(classes.tagsOf(both), { disk: "ssd", zone: "a" }, "one host of two is left");
  classes.leave(both);
  assert.equal(classes.tagsOf(both), {});
  classes.leave(both);
  classes.leave(99);
  assert.is(classes.join({ zone: "c" }), both, "its id is taken again, once");
  assert.is.not(classes.join({ zone: "d" }), both);
  assert.equal([classes.tagsOf(both), classes.tagsOf(other)], [{ zone: "c" }, { zone: "b" }]);
});

test("every class counts, whatever their number", () => {
  const classes = new TagClasses();
  for (let n = 0; n < 130; n++) {
    const id = classes.join({ rack: `r${n}` });
    const bits = classes.compile({ rack: `r${n}` });
    assert.ok((bits[id >>> 5]! & (1 << (id & 31))) !== 0, `class ${n + 1}`);
  }
});

test("a constraint is decided once per class, also of classes that come later, and 4,096 constraints are kept at most", () => {
  const classes = new TagClasses();
  const ids = Array.from({ length: 100 }, (_, at) => classes.join({ rack: `r${at}`, parity: String(at % 2) }));
  const carried = (bits: Uint32Array) => ids.filter((id) => (bits[id >>> 5]! & (1 << (id & 31))) !== 0).length;
  const odd = classes.compile({ parity: "1" });
  assert.equal([carried(odd), carried(classes.compile({})), carried(classes.compile({ rack: "r7" }))], [50, 100, 1]);
  assert.is(classes.compile({ parity: "1" }), odd, "it was compiled again");
  const late = Array.from({ length: 900 }, (_, at) => classes.join({ rack: `r${100 + at}`, parity: String(at % 2) }));
  ids.push(...late);
  const grown = classes.compile({ parity: "1" });
  assert.equal([carried(grown), carried(classes.compile({}))], [500, 1000]);
  for (let at = 0; at < 4096 - 3; at++) classes.compile({ asked: String(at) });
  assert.is(classes.compile({ parity: "1" }), grown);
  classes.compile({ asked: "one too many" });
  assert.is.not(classes.compile({ parity: "1" }), grown);
  assert.is(carried(classes.compile({ parity: "1" })), 500);
});

test("a host carries what is wanted when it has each tag with that value", () => {
  const tags = { disk: "ssd", zone: "a" };
  assert.equal(
    [{}, { disk: "ssd" }, { disk: "hdd" }, { gpu: "1" }, { ...tags }, { ...tags, gpu: "1" }].map((each) =>
      carries(tags, each as Record<string, string>),
    ),
    [true, true, false, false, true, false],
  );
  assert.not(carries(Object.create({ disk: "ssd" }), { disk: "ssd" }), "what is inherited is no tag");
});

const RESOURCES = ["cpuMillis", "memoryMiB", "diskMiB"] as const;
type Need = FleetHost["capacity"];

/** What the fleet should be, kept the simplest way. */
function checkAgainst(fleet: Fleet, hosts: Map<string, FleetHost>, held: Map<string, { host: string } & Held>): void {
  assert.equal([fleet.size, fleet.charged], [hosts.size, held.size]);
  const slots = new Set<number>();
  for (const [id, each] of hosts) {
    const slot = fleet.slotOf(id)!;
    slots.add(slot);
    assert.equal([fleet.host(slot), fleet.stateOf(slot)], [each, each.state]);
    assert.equal(fleet.classes.tagsOf(fleet.tagClass[slot]!), each.tags);
    const here = [...held.values()].filter((charge) => charge.host === id);
    const addresses = [fleet.capAddresses[slot], fleet.freeAddresses[slot]];
    assert.equal(addresses, [each.addresses, each.addresses - here.length], "an address a job");
    const columns = [
      [fleet.capCpu, fleet.freeCpu, fleet.invCpu],
      [fleet.capMemory, fleet.freeMemory, fleet.invMemory],
      [fleet.capDisk, fleet.freeDisk, fleet.invDisk],
    ] as const;
    for (const [at, key] of RESOURCES.entries()) {
      const capacity = each.capacity[key];
      const free = here.reduce((left, charge) => left - charge.need[key], capacity);
      const [cap, freeColumn, inverse] = columns[at]!;
      assert.equal(
        [cap[slot], freeColumn[slot], inverse[slot]],
        [capacity, free, capacity === 0 ? 0 : 1 / capacity],
        key,
      );
    }
  }
  assert.is(slots.size, hosts.size, "two hosts in one slot");
  for (let slot = 0; slot < fleet.high; slot++)
    if (!slots.has(slot)) assert.equal([fleet.host(slot), fleet.stateOf(slot)], [undefined, undefined]);
  for (const group of GROUPS) {
    const wanted = new Map<number, number>();
    for (const charge of held.values()) {
      const slot = charge.group === group ? fleet.slotOf(charge.host) : undefined;
      if (slot !== undefined) wanted.set(slot, (wanted.get(slot) ?? 0) + 1);
    }
    assert.equal(new Map(fleet.countsOf(group)), wanted, group);
  }
  for (const [id, { host }] of held) assert.is(fleet.hostOfJob(id), host);
}

interface Held {
  group: string;
  need: Need;
}
const GROUPS = ["a/web/r1", "a/web/r2"];

test("property: whatever comes, goes and is charged in whatever order, the fleet is what a plain list of hosts and jobs says", async () => {
  const amounts = fc.record({ cpuMillis: fc.nat(3), memoryMiB: fc.nat(3), diskMiB: fc.nat(3) });
  const states = fc.constantFrom<FleetHost["state"]>("eligible", "cordoned", "draining", "unready", "down");
  const short = fc.constantFrom<FleetHost["state"]>("short of disk", "short of memory");
  const step = fc.oneof(
    fc.record({
      do: fc.constant("charge" as const),
      job: fc.nat(6),
      host: fc.nat(5),
      group: fc.constantFrom(...GROUPS),
      need: amounts,
    }),
    fc.record({ do: fc.constant("release" as const), job: fc.nat(6) }),
    fc.record({
      do: fc.constant("host" as const),
      host: fc.nat(5),
      capacity: amounts,
      state: fc.oneof(states, short),
      tags: fc.dictionary(fc.constantFrom("a", "b"), fc.constantFrom("x", "y"), { maxKeys: 2 }),
      addresses: fc.constantFrom(61, 253, 1021),
    }),
    fc.record({ do: fc.constant("remove" as const), host: fc.nat(5) }),
  );
  const check = fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const fleet = new Fleet(1);
    const hosts = new Map<string, FleetHost>();
    const held = new Map<string, { host: string } & Held>();
    let most = 0;
    for (const each of steps) {
      if (each.do === "charge") {
        const { need, group } = each;
        fleet.charge(`j${each.job}`, `h${each.host}`, group, need);
        held.set(`j${each.job}`, { host: `h${each.host}`, group, need });
      } else if (each.do === "release") {
        const was = held.get(`j${each.job}`);
        assert.is(fleet.release(`j${each.job}`), was && fleet.slotOf(was.host), "where room appeared");
        held.delete(`j${each.job}`);
      } else if (each.do === "host") {
        const { capacity, state, addresses } = each;
        const next = host(`h${each.host}`, { capacity, state, tags: { ...each.tags }, addresses });
        assert.is(fleet.setHost(next), fleet.slotOf(next.id));
        hosts.set(next.id, next);
      } else {
        fleet.removeHost(`h${each.host}`);
        hosts.delete(`h${each.host}`);
      }
      most = Math.max(most, hosts.size);
      assert.is(fleet.high, most, "a hole is used before the fleet grows");
      checkAgainst(fleet, hosts, held);
    }
  });
  await fc.assert(check, { numRuns: 300 });
});

test.run();
