import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RouterTarget } from "#api/router-agents.ts";
import { type Assigned, assign } from "../../router/assign.ts";
import { type Assignment, backendName } from "../../router/assignment.ts";
import { target } from "./rig.ts";

const EMPTY: Assignment = { backends: [] };
const idle = { isBusy: () => false, backends: 2, slots: 2 };
const busy = { ...idle, isBusy: () => true };
const job = (port: number, state: "up" | "drain" = "up") => ({ port, state });
const hello = (...ports: number[]) => ({ app: "hello", routes: ["a.test"], jobs: ports.map((port) => job(port)) });
const slots = ({ assignment }: Assigned, b = 0) =>
  assignment.backends[b]!.slots.map((slot) =>
    slot ? `${slot.port}${slot.state === "up" ? "" : ` ${slot.state}`}` : "-",
  );

test("a pool gets a free backend and each job a slot of it", () => {
  const first = assign(EMPTY, target(1, [hello(1001)]), idle);
  assert.equal(slots(first), ["1001", "-"]);
  assert.equal([...first.maps.routes], [["a.test/", "be_0001"]]);
  assert.is(first.assignment.backends.length, 2);
});

test("a pool without a route takes no backend", () => {
  const { assignment } = assign(EMPTY, target(1, [{ app: "hidden", routes: [], jobs: [job(1)] }]), idle);
  assert.ok(assignment.backends.every(({ pool }) => pool === undefined));
});

test("a job that drains keeps its slot, and its place is not given away while it has requests", () => {
  const first = assign(EMPTY, target(1, [hello(1001, 1002)]), idle);
  const jobs = [job(1001, "drain"), job(1002), job(1003)];
  const second = assign(first.assignment, target(2, [{ ...hello(), jobs }]), busy);
  assert.equal(slots(second), ["1001 drain", "1002", "1003", "-"], "and the backend doubled");
});

test("a job that leaves is drained for a turn at least, and its slot is free only when nothing is open on it", () => {
  let now = assign(EMPTY, target(1, [hello(1001, 1002)]), idle);
  now = assign(now.assignment, target(2, [hello(1002)]), idle);
  assert.equal(slots(now), ["1001 leaving", "1002"], "idle, but it was open to traffic until this turn");
  now = assign(now.assignment, target(2, [hello(1002)]), busy);
  assert.equal(slots(now), ["1001 leaving", "1002"]);
  now = assign(now.assignment, target(2, [hello(1002)]), idle);
  assert.equal(slots(now), ["-", "1002"]);
});

test("a job that comes back before its slot was free keeps it", () => {
  let now = assign(EMPTY, target(1, [hello(1001)]), idle);
  now = assign(now.assignment, target(2, [hello()]), busy);
  now = assign(now.assignment, target(3, [hello(1001)]), busy);
  assert.equal(slots(now), ["1001", "-"]);
});

test("the same job at another address gets another slot", () => {
  const at = (port: number) => target(1, [{ ...hello(), jobs: [{ name: "j", port }] }]);
  const first = assign(EMPTY, at(1001), idle);
  assert.equal(slots(assign(first.assignment, at(1002), idle)), ["1001 leaving", "1002"]);
});

test("the backend of a pool that is gone is free again only when its last request ended", () => {
  let now = assign(EMPTY, target(1, [hello(1001)]), idle);
  now = assign(now.assignment, target(2, []), busy);
  assert.is(now.assignment.backends[0]!.pool?.id, "hello/web");
  assert.equal([...now.maps.routes], [], "its route goes at once");
  now = assign(now.assignment, target(2, []), idle);
  assert.is(now.assignment.backends[0]!.pool, undefined);
});

test("with no backend free their number doubles", () => {
  const pools = ["one", "two", "three"].map((app) => ({ app, routes: [`${app}.test`], jobs: [] }));
  const {
    assignment,
    maps: { routes },
  } = assign(EMPTY, target(1, pools), idle);
  assert.is(assignment.backends.length, 4);
  assert.is(routes.get("three.test/"), "be_0003");
});

test("a large pool is given the backend with most room rather than a new one", () => {
  const first = assign(EMPTY, target(1, [hello(1, 2, 3, 4)]), idle);
  const gone = assign(assign(first.assignment, target(2, []), idle).assignment, target(2, []), idle);
  const again = assign(gone.assignment, target(3, [{ ...hello(5, 6), app: "other" }]), idle);
  assert.is(again.maps.routes.get("a.test/"), "be_0001");
});

for (const [domain, path, poolId, why] of [
  ["bad domain", "/", "hello/web", "host name"],
  ["a.test\n  server x 1.2.3.4:1", "/", "hello/web", "host name"],
  ["a.test;quit", "/", "hello/web", "host name"],
  ["A.test", "/", "hello/web", "host name"],
  ["*", "/", "hello/web", "host name"],
  ["b.*.test", "/", "hello/web", "host name"],
  [`${"a".repeat(64)}.test`, "/", "hello/web", "host name"],
  ["b.test", "/a b", "hello/web", "plain path"],
  ["b.test", "no-slash", "hello/web", "plain path"],
  ["b.test", "/x\0", "hello/web", "plain path"],
  ["b.test", "/", "nobody/web", "no pool nobody/web"],
  ["a.test", "/", "other/web", "pool hello/web has it already"],
] as const)
  test(`a route ${JSON.stringify(`${domain} ${path} ${poolId}`).slice(0, 60)} is refused and spoils no other`, () => {
    const good = target(1, [hello(1001), { app: "other", routes: ["o.test"], jobs: [] }]);
    const { maps, refused } = assign(EMPTY, { ...good, routes: [...good.routes, { domain, path, poolId }] }, idle);
    assert.equal([...maps.routes.keys()], ["a.test/", "o.test/"]);
    assert.is(refused.length, 1);
    assert.match(refused[0]!.why, why);
    assert.match(refused[0]!.what, /^route [\x21-\x7e]*$/);
  });

for (const [address, port] of [
  ["10.0.0.1 check", 80],
  ["::1", 80],
  ["", 80],
  ["10.0.0.1", 0],
  ["10.0.0.1", 1.5],
  ["10.0.0.1", 70_000],
] as const)
  test(`a job at ${JSON.stringify(address)} port ${port} is refused and spoils no other`, () => {
    const good = target(1, [hello(1001)]);
    good.pools[0]!.backends.push({ jobId: "bad", address, port, state: "up" });
    const assigned = assign(EMPTY, good, idle);
    assert.equal(slots(assigned), ["1001", "-"]);
    assert.equal(
      assigned.refused.map(({ what }) => what),
      ["job bad"],
    );
  });

test("a canary's pool has a backend of its own, and the route's value says its share", () => {
  const canary = { percent: 5, jobs: [job(2001)] };
  const { maps, assignment, refused } = assign(EMPTY, target(1, [{ ...hello(1001), canary }]), idle);
  assert.equal([...maps.routes], [["a.test/", "be_0001:-::5:be_0002"]]);
  assert.equal(
    assignment.backends.map(({ pool }) => pool?.id),
    ["hello/web", "hello/web@next"],
  );
  assert.equal(refused, []);
});

test("a pool whose jobs speak h2c has a backend of that kind, and one spoken to in both ways has two", () => {
  const next = target(1, [{ ...hello(1001), routes: ["a.test", "b.test"] }]);
  const [a, b] = next.routes as [(typeof next.routes)[0], (typeof next.routes)[0]];
  const both = { ...next, routes: [{ ...a, protocol: "h2c" as const }, b] };
  const first = assign(EMPTY, both, idle);
  assert.equal(
    [...first.maps.routes],
    [
      ["a.test/", "be_0003"],
      ["b.test/", "be_0001"],
    ],
  );
  assert.equal(slots(first, 0), ["1001", "-"]);
  assert.equal(slots(first, 2), ["1001", "-"]);
  assert.equal(
    first.assignment.backends.map(({ protocol }) => protocol),
    [undefined, undefined, "h2c", "h2c", "h2c", "h2c"],
    "with room for the next",
  );
  const only = assign(first.assignment, { ...both, routes: [{ ...a, protocol: "h2c" as const }] }, busy);
  assert.equal([...only.maps.routes], [["a.test/", "be_0003"]]);
  assert.equal(slots(only, 0), ["1001 leaving", "-"]);
  const gone = assign(only.assignment, { ...both, routes: [] }, idle);
  const free = assign(gone.assignment, { ...both, routes: [] }, idle);
  assert.equal(
    free.assignment.backends.map(({ protocol, pool }) => [protocol, pool]),
    [...new Array(2).fill([undefined, undefined]), ...new Array(4).fill(["h2c", undefined])],
  );
});

test("a route's rate is in its value with a name of its own", () => {
  const next = target(1, [
    { ...hello(1001), routes: ["a.test", "b.test"], options: { rate: { requests: 600, per: "minute" } } },
  ]);
  const values = [...assign(EMPTY, next, idle).maps.routes.values()];
  for (const value of values) assert.match(value, /^be_0001:-::::m\.600\.[0-9a-f]{8}$/);
  assert.is(new Set(values).size, 2);
});

for (const [canary, why] of [
  [{ poolId: "nobody/web", percent: 5 }, "no pool nobody/web"],
  [{ poolId: "hello/web", percent: 5 }, "own pool"],
  [{ poolId: "other/web", percent: -1 }, "0 to 100"],
  [{ poolId: "other/web", percent: 101 }, "0 to 100"],
  [{ poolId: "other/web", percent: 1.5 }, "0 to 100"],
] as const)
  test(`a canary ${JSON.stringify(canary)} is refused, and its route is served without it`, () => {
    const good = target(1, [hello(1001), { app: "other", routes: [], jobs: [] }]);
    const routes = good.routes.map((route) => ({ ...route, canary }));
    const { maps, refused } = assign(EMPTY, { ...good, routes }, idle);
    assert.equal([...maps.routes], [["a.test/", "be_0001"]]);
    assert.equal(
      refused.map(({ what }) => what),
      ["canary of a.test/"],
    );
    assert.match(refused[0]!.why, why);
  });

const anyTarget: fc.Arbitrary<RouterTarget> = fc
  .uniqueArray(fc.constantFrom("p", "q", "r", "s", "t"), { maxLength: 5 })
  .chain((apps) =>
    fc.tuple(
      ...apps.map((app) =>
        fc
          .uniqueArray(fc.tuple(fc.integer({ min: 1, max: 12 }), fc.constantFrom("up" as const, "drain" as const)), {
            maxLength: 6,
            selector: ([port]) => port,
          })
          .map((jobs) => ({ app, routes: [`${app}.test`], jobs: jobs.map(([port, state]) => job(port, state)) })),
      ),
    ),
  )
  .map((pools) => target(1, pools));

test("over any sequence of targets a wanted job never moves, none is there twice, and no pool shares a backend", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anyTarget, fc.boolean()), { maxLength: 8 }), (sequence) => {
      let current = EMPTY;
      for (const [next, isBusy] of sequence) {
        const {
          assignment,
          maps: { routes },
        } = assign(current, next, { ...idle, isBusy: () => isBusy });
        for (const pool of next.pools) {
          const b = assignment.backends.findIndex((backend) => backend.pool?.id === pool.id);
          assert.is(routes.get(`${pool.app}.test/`), backendName(b));
          assert.is(assignment.backends.filter((backend) => backend.pool?.id === pool.id).length, 1);
          const before = current.backends.findIndex((backend) => backend.pool?.id === pool.id);
          if (before >= 0) assert.is(b, before);
          for (const { jobId, state } of pool.backends) {
            const at = assignment.backends[b]!.slots.flatMap((slot, s) => (slot?.jobId === jobId ? [s] : []));
            assert.ok(at.length === 1 || (at.length === 0 && state === "drain"));
            const was = before >= 0 ? current.backends[before]!.slots.findIndex((slot) => slot?.jobId === jobId) : -1;
            if (was >= 0) assert.equal(at, [was]);
          }
        }
        for (const [b, backend] of current.backends.entries())
          for (const [s, slot] of backend.slots.entries())
            if (slot && isBusy)
              assert.is(assignment.backends[b]!.slots[s]?.jobId, slot.jobId, "a busy slot is never reused");
        current = assignment;
      }
    }),
  );
});

test.run();
