// Much of everything: what is done once stays done, and nothing keeps the program from its other work.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { assign, assignment } from "../../router/assign.ts";
import type { Refusal } from "../../router/assignment.ts";
import { certificateReader } from "../../router/certificates.ts";
import { touchedBy } from "../../router/scope.ts";
import { atOnce, inSlices } from "../../router/slices.ts";
import { target } from "./rig.ts";
import { certificateFor } from "./secure.ts";

const OPTIONS = { isBusy: () => false, backends: 32, slots: 8 };
const manyPools = (count: number) =>
  target(
    1,
    Array.from({ length: count }, (_, n) => ({ app: `app${n}`, routes: [`a${n}.test`], jobs: [{ port: 8_000 }] })),
  );

test("each certificate is parsed once for as long as it is wanted, whatever turns and generations come", async () => {
  const [a, b, c] = await Promise.all(["a", "b", "c"].map((id) => certificateFor(id, [`${id}.test`])));
  const broken = { id: "broken", names: ["x.test"], pem: "none" };
  const reader = certificateReader();
  const accept = (certificates: (typeof a)[]) => {
    const refused: Refusal[] = [];
    const files = [...atOnce(reader.accept(structuredClone(certificates) as never, refused)).keys()];
    return { files, refused: refused.length };
  };
  const first = accept([a, b, broken]);
  assert.is(first.files.length, 2);
  assert.is(first.refused, 1);
  assert.equal(accept([a, b, broken]), first, "a refusal is said of each generation");
  assert.is(reader.parsed(), 3);
  assert.is(accept([a, b, c]).files.length, 3);
  assert.is(reader.parsed(), 4);
  accept([a]);
  accept([a, b]);
  assert.is(reader.parsed(), 5, "one that was gone is looked at again");
});

test("ten thousand pools at once: each has a backend, in order, and the work is cut into many short pieces", async () => {
  const many = manyPools(10_000);
  const steps = assignment({ backends: [] }, many, OPTIONS);
  let pieces = 0;
  const counted = function* () {
    for (;;) {
      const { done, value } = steps.next();
      if (done) return value;
      pieces++;
      yield;
    }
  };
  const { assignment: made, maps } = await inSlices(counted());
  assert.ok(pieces > 400, `${pieces} pieces`);
  assert.is(maps.routes.size, 10_000);
  assert.is(new Set(maps.routes.values()).size, 10_000);
  assert.is(made.backends.length, 10_368, "room for more, and not for twice as many");
  assert.is(made.backends[9_999]?.pool?.id, "app9999/web");
});

test("a free backend is taken by its size: the smallest with room twice over, else the largest", () => {
  const free = (slots: number) => ({ slots: new Array(slots).fill(null) });
  const current = { backends: [free(8), free(2), free(4), free(2)] };
  const jobs = (count: number) => Array.from({ length: count }, (_, n) => ({ port: 8_000 + n }));
  const wanted = target(1, [
    { app: "one", routes: ["one.test"], jobs: jobs(1) },
    { app: "two", routes: ["two.test"], jobs: jobs(2) },
    { app: "three", routes: ["three.test"], jobs: jobs(9) },
    { app: "four", routes: ["four.test"], jobs: jobs(3) },
  ]);
  const { assignment: made } = assign(current, wanted, { ...OPTIONS, backends: 4 });
  assert.equal(
    made.backends.map(({ pool }) => pool?.app),
    ["three", "one", "two", "four"],
  );
});

const COMMANDS: [string, { backends: string[]; routes?: string[]; sticky?: string[] }][] = [
  ["set server be_0002/s2 addr 10.0.0.1 port 80", { backends: ["be_0002"] }],
  ["set server tcp_3000/s1 state ready", { backends: ["tcp_3000"] }],
  ["add map /var/lib/x/routes.map a.test/ be_0001", { backends: [], routes: ["a.test/"] }],
  ["del map /x/sticky.map be_0001/abc", { backends: [], sticky: ["be_0001/abc"] }],
];
for (const [command, { backends, routes = [], sticky = [] }] of COMMANDS)
  test(`what is read again after: ${command}`, () => {
    const wanted = { backends: [{ slots: [] }, { slots: [null] }], tcp: [{ port: 3000, slots: [] }] };
    const scope = touchedBy([[command]], { assignment: wanted });
    assert.equal([...scope.backends.keys()], backends);
    assert.equal([...scope.keys.routes, ...scope.keys.replies], routes);
    assert.equal([...scope.keys.sticky, ...scope.keys.jobs], sticky);
  });

test.run();
