// The order in which hosts are chosen: a heap against plain sorting, and the weights that its keys are made of.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fleet, groupKey } from "../../../control/scheduler/fleet.ts";
import { HostHeap } from "../../../control/scheduler/host-heap.ts";
import { place } from "../../../control/scheduler/place.ts";

const anyKey = fc.integer({ min: 0, max: 5 });
const anyAct = fc.oneof(fc.constant("drop" as const), anyKey);

test("property: the smallest key is on top, the lower slot of equal ones, whatever is dropped or gets another key", () => {
  fc.assert(
    fc.property(
      fc.array(anyKey, { minLength: 1, maxLength: 20 }),
      fc.array(anyAct, { maxLength: 30 }),
      (given, acts) => {
        const heap = new HostHeap(given.length);
        for (const [slot, key] of given.entries()) heap.append(slot, key);
        heap.order();
        const model = given.map((key, slot) => ({ slot, key }));
        for (const act of acts) {
          assert.is(heap.size, model.length);
          if (model.length === 0) return;
          model.sort((a, b) => a.key - b.key || a.slot - b.slot);
          assert.is(heap.top(), model[0]!.slot);
          if (act === "drop") {
            heap.dropTop();
            model.shift();
          } else {
            heap.rekeyTop(act);
            model[0]!.key = act;
          }
        }
      },
    ),
    { numRuns: 500 },
  );
});

const capacity = { cpuMillis: 1_000, memoryMiB: 1_000, diskMiB: 1_000 };
const none = { cpuMillis: 0, memoryMiB: 0, diskMiB: 0 };
/** Hosts h0, h1 ... with what others hold on them. */
function fleetOf(held: Partial<typeof none>[], capacities: Partial<typeof none>[] = []): Fleet {
  const fleet = new Fleet();
  for (const [n, need] of held.entries()) {
    fleet.setHost({
      id: `h${n}`,
      name: `h${n}`,
      capacity: { ...capacity, ...capacities[n] },
      state: "eligible",
      tags: {},
      addresses: 253,
    });
    fleet.charge(`other ${n}`, `h${n}`, groupKey("b", "web", "r"), { ...none, ...need });
  }
  return fleet;
}
const chosen = (fleet: Fleet, count: number, need = {}, over = {}) => {
  const jobs = Array.from({ length: count }, (_, n) => `j${n}`);
  const ask = { app: "a", process: "web", release: "r", need: { ...none, ...need }, tags: {}, jobs, ...over };
  return place(fleet, ask).map(({ host }) => host);
};

for (const unit of ["cpuMillis", "memoryMiB", "diskMiB"] as const)
  test(`the host with less ${unit} in use is taken, for one job and for many`, () => {
    for (const count of [1, 2, 3])
      assert.equal(
        chosen(fleetOf([{ [unit]: 300 }, { [unit]: 100 }, { [unit]: 200 }]), count, { [unit]: 10 }),
        ["h1", "h2", "h0"].slice(0, count),
        `${count} jobs`,
      );
  });

test("load is the share of what a host has, summed over what it has", () => {
  const half = [{ cpuMillis: 300 }, { cpuMillis: 400 }];
  assert.equal(chosen(fleetOf(half, [{}, { cpuMillis: 2_000 }]), 1), ["h1"]);
  assert.equal(chosen(fleetOf([{ cpuMillis: 300 }, { cpuMillis: 200, memoryMiB: 200 }]), 1), ["h0"]);
  assert.equal(
    chosen(fleetOf([{ memoryMiB: 1 }, {}], [{}, { diskMiB: 0 }]), 1),
    ["h1"],
    "what a host has none of weighs nothing",
  );
});

for (const unit of ["cpuMillis", "memoryMiB", "diskMiB"] as const)
  test(`a job weighs by the share of ${unit} that it takes of the host`, () => {
    const fleet = fleetOf([{}, {}], [{}, { [unit]: 4_000 }]);
    assert.equal(chosen(fleet, 1, { [unit]: 500 }), ["h1"]);
    assert.equal(chosen(fleet, 4, { [unit]: 200 }), ["h1", "h0", "h1", "h0"]);
    const used = fleetOf([{ [unit]: 100 }, { [unit]: 300 }], [{}, { [unit]: 4_000 }]);
    assert.equal(chosen(used, 1, { [unit]: 100 }), ["h1"]);
  });

test("a host with one of the group waits for the others, however loaded they are", () => {
  const loaded = { cpuMillis: 990, memoryMiB: 990, diskMiB: 990 };
  for (const count of [1, 2]) {
    const fleet = fleetOf([{}, loaded, loaded]);
    fleet.charge("mine", "h0", groupKey("a", "web", "r"), none);
    assert.equal(chosen(fleet, count), ["h1", "h2"].slice(0, count));
  }
  const two = fleetOf([{}, {}, loaded]);
  for (const [job, host] of [
    ["m1", "h0"],
    ["m2", "h0"],
    ["m3", "h1"],
  ] as const)
    two.charge(job, host, groupKey("a", "web", "r"), none);
  assert.equal(chosen(two, 4), ["h2", "h1", "h2", "h0"]);
});

test("a host that is overdrawn counts as full and no more, so that the group is spread over it as well", () => {
  const fleet = fleetOf([{ cpuMillis: 90_000 }, {}]);
  fleet.charge("mine", "h1", groupKey("a", "web", "r"), none);
  assert.equal(chosen(fleet, 1), ["h0"]);
});

test("equal hosts are taken in their order; one per host takes each once; a full one is left", () => {
  assert.equal(chosen(fleetOf([{}, {}, {}]), 3), ["h0", "h1", "h2"]);
  assert.equal(chosen(fleetOf([{}, {}]), 3, {}, { antiAffinity: true }), ["h0", "h1", undefined]);
  assert.equal(chosen(fleetOf([{}, {}]), 5, { cpuMillis: 500 }), ["h0", "h1", "h0", "h1", undefined]);
  assert.equal(chosen(fleetOf([{}, {}, {}]), 2, { cpuMillis: 600 }, { host: "h1" }), ["h1", undefined]);
  assert.equal(chosen(fleetOf([{}, {}]), 0), []);
  const held = fleetOf([{}, {}]);
  held.charge("mine", "h0", groupKey("a", "web", "r"), none);
  for (const count of [1, 2])
    assert.equal(chosen(held, count, {}, { antiAffinity: true }), ["h1", undefined].slice(0, count));
});

test.run();
