// Differences put together with what was there are what control has; what does not fit is refused, and what is the same stays the same.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RouterTarget, RouterTargetPart } from "#api/router-agents.ts";
import { assembler } from "../../router/assemble.ts";
import { applied, changeBetween } from "../../router/kept-changes.ts";
import { target } from "./rig.ts";

const certificate = (id: string, pem = `key of ${id}`) => ({ id, names: [`${id}.test`], pem });
const pools = (...ports: number[]) =>
  ports.map((port, n) => ({ app: `a${n}`, routes: [`a${n}.test`], jobs: [{ port }] }));
const whole = (generation: number, ports: number[], ids: string[] = []): RouterTarget => ({
  ...target(generation, pools(...ports)),
  certificates: ids.map((id) => certificate(id)),
});

test("a row that is as before is the same object, whether all is sent or only what differs", () => {
  const { add } = assembler();
  const first = add(whole(1, [80, 81, 82], ["one"]))!;
  const second = add(structuredClone(whole(2, [80, 99, 82], ["one"])))!;
  assert.is(second.pools[0], first.pools[0]);
  assert.is.not(second.pools[1], first.pools[1]);
  assert.is(second.routes, first.routes);
  assert.is(second.certificates, first.certificates);
  const { clusterRange, term } = second;
  const third = add({ term, clusterRange, generation: 3, since: 2, pools: [second.pools[1]!], routes: [] })!;
  assert.is(third.pools[2], first.pools[2]);
  assert.is(third.peers, second.peers);
  assert.is(third.generation, 3);
});

test("differences from a target that is not here are refused", () => {
  const { clusterRange, term } = whole(1, []);
  const difference = { term, clusterRange, generation: 9, since: 8, pools: [], routes: [] };
  assert.throws(() => assembler().add(difference), /generation 8 was sent, and undefined is here/);
  const { add } = assembler(whole(7, [80]));
  assert.throws(() => add(difference), /and 7 is here/);
  assert.throws(() => add({ ...difference, since: 7, term: 2 }), /and 7 is here/);
  assert.is(add({ ...difference, since: 7 })?.generation, 9);
});

test("keys of the target from before a restart are not needed again, and one that never came is refused", () => {
  const { add } = assembler(whole(1, [80], ["one"]));
  const without = { ...whole(5, [80]), certificates: [{ id: "one", names: ["one.test", "www.test"] }] };
  assert.equal(add(without)?.certificates, [{ ...certificate("one"), names: ["one.test", "www.test"] }]);
  assert.throws(() => add({ ...whole(6, []), certificates: [{ id: "two", names: [] }] }), /certificate two was never/);
});

const anyPorts = fc.dictionary(fc.constantFrom("a", "b", "c", "d", "e"), fc.integer({ min: 1, max: 3 }));
const state = (ports: Record<string, number>): RouterTarget =>
  target(
    1,
    Object.entries(ports).map(([app, port]) => ({ app, routes: [`${app}.test`], jobs: [{ port }] })),
  );
const sorted = ({ pools: some, routes }: RouterTarget) => ({
  pools: some.toSorted((a, b) => (a.id < b.id ? -1 : 1)),
  routes: routes.toSorted((a, b) => (a.domain < b.domain ? -1 : 1)),
});

test("property: from any target to any other by differences, and the same again from the journal of a router", () =>
  fc.assert(
    fc.property(fc.array(anyPorts, { minLength: 1, maxLength: 8 }), (states) => {
      const { add } = assembler();
      let now = add({ ...state({}), generation: 0 })!;
      const base = { target: now, assignment: { backends: [] } };
      const lines = [];
      for (const [n, ports] of states.entries()) {
        const wanted = state(ports);
        const ids = new Set(wanted.pools.map(({ id }) => id));
        const part: RouterTargetPart = {
          ...wanted,
          generation: n + 1,
          since: n,
          removed: {
            pools: now.pools.flatMap(({ id }) => (ids.has(id) ? [] : [id])),
            routes: now.routes.flatMap(({ domain, path, poolId }) => (ids.has(poolId) ? [] : [{ domain, path }])),
          },
        };
        const next = add(structuredClone(part))!;
        assert.equal(sorted(next), sorted(wanted));
        const backends = [{ slots: new Array(n + 1).fill(null) }];
        const change = changeBetween({ ...base, target: now }, { target: next, assignment: { backends } });
        lines.push(JSON.parse(JSON.stringify({ seq: n + 1, ...change })));
        now = next;
      }
      const read = applied(base, lines, { target: 0, assignment: 0 });
      assert.equal(sorted(read.target), sorted(now));
      assert.is(read.target.generation, states.length);
      assert.is(read.assignment.backends[0]?.slots.length, states.length);
      assert.is(applied(base, lines, { target: states.length, assignment: 0 }).target, base.target, "newer than them");
    }),
  ));

test.run();
