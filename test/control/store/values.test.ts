// What may be stored, requests that may be sent twice, and records as text.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { IDEMPOTENCY_TTL_MS, type Outcome, outcomeIndex } from "../../../control/store/idempotency.ts";
import { IDEMPOTENCY_PREFIX, type LogRecord, viewChanges } from "../../../control/store/log.ts";
import { decodeRecord, encodeRecord, paddedSeq } from "../../../control/store/record.ts";
import { checkKey, MAX_VALUE_BYTES, storable } from "../../../control/store/values.ts";
import { refusal } from "../faults.ts";

test("a value of 32 KiB is stored, counted in bytes of its JSON, and one byte more is not", () => {
  assert.is(MAX_VALUE_BYTES, 32 * 1024);
  for (const [text, bytes] of [
    ["x".repeat(32 * 1024 - 2), 32 * 1024],
    ["x".repeat(32 * 1024 - 1), 32 * 1024 + 1],
    ["é".repeat(16 * 1024 - 1), 32 * 1024],
    ["é".repeat(16 * 1024), 32 * 1024 + 2],
    ["\u20ac".repeat(10_922), 32_768],
    ["\u20ac".repeat(10_923), 32_771],
  ] as const)
    assert.is(
      refusal(() => storable(text, "hosts/a")),
      bytes <= 32 * 1024 ? "fine" : `too-large hosts/a is ${bytes} bytes; at most 32768 fit`,
    );
});

test("what is no JSON is refused, whatever it is", () => {
  const ring: { self?: unknown } = {};
  ring.self = ring;
  for (const value of [undefined, () => 1, Symbol("x"), ring, 7n])
    assert.is(
      refusal(() => storable(value, "hosts/a")),
      "invalid hosts/a is not JSON",
    );
});

test("what is stored is a copy that nobody can change, as a later start reads it", () => {
  const given = { list: [{ deep: 1 }], left: undefined, at: new Date(0), none: null };
  const value = storable(given, "x") as { list: { deep: number }[] };
  assert.equal(value, { list: [{ deep: 1 }], at: "1970-01-01T00:00:00.000Z", none: null } as never);
  given.list[0]!.deep = 2;
  assert.is(value.list[0]!.deep, 1);
  for (const part of [value, value.list, value.list[0]!]) assert.ok(Object.isFrozen(part));
});

test("keys are plain text of 1 to 512 characters", () => {
  for (const key of ["a", "hosts/a", "é/\u{1f600}", "x".repeat(512), " ", "\u0080"])
    assert.is(
      refusal(() => checkKey(key)),
      "fine",
      JSON.stringify(key),
    );
  for (const key of [
    "",
    "x".repeat(513),
    "a\u0000",
    "a\u001f",
    "\n",
    "a\u007fb",
    "\ud800",
    7 as never,
    undefined as never,
  ])
    assert.match(
      refusal(() => checkKey(key)),
      /^invalid ".*" is not a store key$/,
      JSON.stringify(key),
    );
  assert.is(
    refusal(() => checkKey("x".repeat(513))),
    `invalid "${"x".repeat(80)}" is not a store key`,
  );
});

const outcome = (seq: number, atMs: number, hash = "h"): Outcome => ({
  seq,
  hash,
  result: seq,
  atMs,
  durable: Promise.resolve(),
});

test("a request sent again within a day gets its first outcome; the key with another request is a conflict", () => {
  const index = outcomeIndex();
  const first = outcome(1, 1_000);
  index.add("k", first);
  assert.is(index.size, 1);
  assert.is(index.find("k", "h", 1_000), first);
  assert.is(index.find("k", "h", 1_000 + 24 * 3_600_000), first);
  assert.is(index.find("k", "h", 1_001 + 24 * 3_600_000), undefined);
  assert.is(index.find("other", "h", 1_000), undefined);
  assert.is(
    refusal(() => index.find("k", "x", 1_000)),
    'conflict idempotency key "k" was used for another request',
  );
  assert.is(index.find("k", "x", 1_001 + IDEMPOTENCY_TTL_MS), undefined, "a key is free after its day");
  index.forget("k");
  assert.equal([index.find("k", "h", 1_000), index.size], [undefined, 0]);
});

test("outcomes expire a day after they came, oldest first, as many at a time as are asked for", () => {
  const index = outcomeIndex();
  for (let n = 0; n < 4; n++) index.add(`k${n}`, outcome(n, n));
  index.add("k0", outcome(9, 3));
  const day = 24 * 3_600_000;
  assert.equal(index.expired(day + 1, 10), []);
  assert.equal(index.expired(day + 3, 10), ["k1", "k2"]);
  assert.equal(index.expired(day + 4, 10), ["k1", "k2", "k3", "k0"]);
  assert.equal(index.expired(day + 4, 1), ["k1"]);
  assert.equal(index.expired(day + 4, 0), []);
});

test("outcomes are there again after a start, from the rows that records wrote", () => {
  const record: LogRecord = {
    seq: 7,
    term: 1,
    at: "2026-01-01T00:00:00.000Z",
    actor: "ann",
    mutations: [{ key: "a", value: 1 }],
    idempotency: { key: "k", hash: "h", result: { id: 1 } },
  };
  const changes = viewChanges(record);
  assert.equal(changes, [
    { key: "a", value: 1 },
    { key: "idempotency/k", value: { hash: "h", result: { id: 1 }, seq: 7, at: record.at } },
  ]);
  assert.is(IDEMPOTENCY_PREFIX, "idempotency/");
  const { idempotency: _, ...plain } = record;
  assert.equal(viewChanges(plain), record.mutations);
  const index = outcomeIndex();
  index.load({ ...changes[1]!, version: 7 } as never);
  const { durable, ...found } = index.find("k", "h", Date.parse(record.at))!;
  assert.ok(durable instanceof Promise);
  assert.equal(found, { seq: 7, hash: "h", result: { id: 1 }, atMs: Date.parse(record.at) });
});

test("property: a record is its own JSON, and comes back as it was, with each value's JSON by its side", () => {
  const json = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)));
  const mutation = fc.record({ key: fc.string({ unit: "grapheme" }), value: json });
  const idempotency = fc.option(fc.record({ key: fc.string(), hash: fc.string(), result: json }), { nil: undefined });
  fc.assert(
    fc.property(
      fc.nat(),
      fc.nat(),
      fc.string(),
      fc.array(mutation, { maxLength: 4 }),
      idempotency,
      (seq, term, actor, mutations, sent) => {
        const record = {
          seq,
          term,
          at: "2026",
          actor,
          mutations,
          ...(sent === undefined ? {} : { idempotency: sent }),
        };
        const { text, values } = encodeRecord(record as LogRecord);
        assert.is(text, JSON.stringify(record));
        assert.is(JSON.stringify(decodeRecord(text)), text);
        assert.equal(
          values,
          mutations.map(({ value }) => JSON.stringify(value)),
        );
        assert.is(encodeRecord(record as LogRecord, values).text, text);
      },
    ),
    { numRuns: 100 },
  );
});

test("the JSON that is ready is used as it is", () => {
  const record = {
    seq: 1,
    term: 1,
    at: "",
    actor: "",
    mutations: [
      { key: "a", value: 1 },
      { key: "b", value: 2 },
    ],
  };
  assert.equal(encodeRecord(record, ["7"]).values, ["7", "2"]);
});

test("text order of padded numbers is number order", () => {
  assert.is(paddedSeq(7), "0000000000000007");
  assert.ok(paddedSeq(9) < paddedSeq(10) && paddedSeq(999) < paddedSeq(1_000));
  assert.is(paddedSeq(Number.MAX_SAFE_INTEGER), String(Number.MAX_SAFE_INTEGER));
});

test.run();
