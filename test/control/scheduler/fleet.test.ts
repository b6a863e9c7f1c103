import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fits } from "../../../control/scheduler/feasible.ts";
import { Fleet, type FleetHost } from "../../../control/scheduler/fleet.ts";
import { carries, TagClasses } from "../../../control/scheduler/tag-classes.ts";

const need = { cpuMillis: 100, memoryMiB: 256, diskMiB: 10 };

function host(id: string, over: Partial<FleetHost> = {}): FleetHost {
  const capacity = { cpuMillis: 1000, memoryMiB: 1024, diskMiB: 100 };
  return { id, name: id, capacity, state: "eligible", tags: {}, ...over };
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

test("property: free is capacity less what is charged, whatever the order of changes", async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("charge" as const), job: fc.nat(6), host: fc.nat(3), cpu: fc.nat(100) }),
    fc.record({ do: fc.constant("release" as const), job: fc.nat(6) }),
    fc.record({ do: fc.constant("host" as const), host: fc.nat(3), cpu: fc.nat(1000) }),
    fc.record({ do: fc.constant("remove" as const), host: fc.nat(3) }),
  );
  const check = fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const fleet = new Fleet(1);
    const capacity = new Map<string, number>();
    const held = new Map<string, { host: string; cpu: number }>();
    for (const each of steps) {
      if (each.do === "charge") {
        fleet.charge(`j${each.job}`, `h${each.host}`, "a/web", { cpuMillis: each.cpu, memoryMiB: 0, diskMiB: 0 });
        held.set(`j${each.job}`, { host: `h${each.host}`, cpu: each.cpu });
      } else if (each.do === "release") {
        fleet.release(`j${each.job}`);
        held.delete(`j${each.job}`);
      } else if (each.do === "host") {
        fleet.setHost(host(`h${each.host}`, { capacity: { cpuMillis: each.cpu, memoryMiB: 0, diskMiB: 0 } }));
        capacity.set(`h${each.host}`, each.cpu);
      } else {
        fleet.removeHost(`h${each.host}`);
        capacity.delete(`h${each.host}`);
      }
      for (const [id, cpu] of capacity) {
        const slot = fleet.slotOf(id)!;
        const here = [...held.values()].filter((charge) => charge.host === id);
        assert.is(
          fleet.freeCpu[slot],
          here.reduce((left, charge) => left - charge.cpu, cpu),
        );
        assert.is(fleet.countsOf("a/web").get(slot) ?? 0, here.length);
      }
    }
  });
  await fc.assert(check);
});

test.run();
