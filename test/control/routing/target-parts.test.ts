// What control sends a router is what the router then has, however large it is, and no key travels twice.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RouterTarget } from "#api/router-agents.ts";
import { formatEvent, parseEvents } from "#api/stream.ts";
import { inParts, partsOf } from "../../../control/routing/target-parts.ts";
import { assembler } from "../../../router/assemble.ts";
import { target } from "../../router/rig.ts";

const certificate = (id: string, pem = `key of ${id}`) => ({ id, names: [`${id}.test`], pem });
const whole = (generation: number, pools: number, ids: ReturnType<typeof certificate>[]): RouterTarget => {
  const apps = Array.from({ length: pools }, (_, n) => ({
    app: `a${n}`,
    routes: [`a${n}.test`],
    jobs: [{ port: 80 }],
  }));
  return {
    ...target(generation, apps),
    peers: [{ hostId: "h1", subnet: "100.64.1.0/24", address: "10.0.0.1" }],
    tcp: [{ port: 3000, poolId: "a0/web" }],
    certificates: ids,
  };
};

test("a small target is one event, each key in it once per stream and again when it changes", () => {
  const sent = new Map<string, string>();
  const first = partsOf(whole(1, 1, [certificate("one"), certificate("two")]), sent);
  assert.equal(first, [whole(1, 1, [certificate("one"), certificate("two")])]);
  const pems = (generation: number, ids: ReturnType<typeof certificate>[]) =>
    partsOf(whole(generation, 1, ids), sent)[0]?.certificates?.map(({ id, pem }) => `${id} ${pem}`);
  assert.equal(pems(2, [certificate("one"), certificate("two")]), ["one undefined", "two undefined"]);
  assert.equal(pems(3, [certificate("one", "new"), certificate("two")]), ["one new", "two undefined"]);
  assert.equal(pems(4, [certificate("two")]), ["two undefined"]);
  assert.equal(pems(5, [certificate("one", "new")]), ["one new"], "it was gone, it is sent again");
});

test("a large target comes in parts and is the same when put together", () => {
  const sent = new Map<string, string>();
  const { add } = assembler();
  for (let generation = 1; generation < 4; generation++) {
    const all = whole(generation, 200, [certificate("one"), certificate("two", `changed in ${generation}`)]);
    const parts = partsOf(all, sent, 4_000);
    assert.ok(parts.length > 10);
    const got = parts.map((part) => add(JSON.parse(JSON.stringify(part))));
    assert.ok(got.slice(0, -1).every((each) => each === undefined));
    assert.equal(got.at(-1), all);
  }
});

test("a target over the size of one event is delivered through the event stream", async () => {
  const page = "p".repeat(10_000);
  const all = whole(1, 3_500, []);
  for (const pool of all.pools) pool.errorPage = page;
  assert.ok(JSON.stringify(all).length > 32 << 20);
  const text = async function* () {
    const one = async function* () {
      yield { event: "item" as const, id: "1", data: all };
      yield { event: "current" as const, id: "1" };
    };
    for await (const event of inParts(one())) yield formatEvent(event);
  };
  const { add } = assembler();
  let got: RouterTarget | undefined;
  const events: string[] = [];
  for await (const event of parseEvents(text())) {
    events.push(event!.event);
    if (event!.event === "item") got = add(event!.data as never) ?? got;
  }
  assert.is(events.at(-1), "current");
  assert.is(got?.pools.length, 3_500);
  assert.is(got?.pools.at(-1)?.errorPage, page);
  const asOne = async function* () {
    yield formatEvent({ event: "item", data: all });
  };
  await parseEvents(asOne())
    .next()
    .then(
      () => assert.unreachable(),
      (error: Error) => assert.match(error.message, /stream event is larger than 33554432 bytes/),
    );
});

test("an unchanged list of certificates stays the same list, so nobody looks at it again", () => {
  const { add } = assembler();
  const first = add(whole(1, 1, [certificate("one")]));
  const { certificates } = add({ ...whole(2, 1, []), certificates: [{ id: "one", names: ["one.test"] }] })!;
  assert.is(certificates, first?.certificates);
});

test("parts that do not follow each other are refused, and a target that begins anew is taken", () => {
  const parts = partsOf(whole(1, 50, [certificate("one")]), new Map(), 2_000);
  const { add } = assembler();
  add(parts[0]!);
  assert.throws(() => add(parts[2]!), /not what follows/);
  assert.throws(() => add({ ...parts[1]!, generation: 2 }), /not what follows/);
  let got: RouterTarget | undefined;
  for (const part of parts) got = add(part);
  assert.is(got?.pools.length, 50);
  const unknown = { ...whole(2, 1, []), certificates: [{ id: "x", names: ["x.test"] }] };
  assert.throws(() => add(unknown), /certificate x was never sent/);
});

test.run();
