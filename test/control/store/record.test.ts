// Records as text: what JSON would make of them, and each value's text beside.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decodeRecord, encodeRecord, paddedSeq } from "../../../control/store/record.ts";

const record = fc.record({
  seq: fc.nat(),
  term: fc.nat(),
  at: fc.string(),
  actor: fc.string({ unit: "binary" }),
  mutations: fc.array(fc.record({ key: fc.string(), value: fc.jsonValue() }), { maxLength: 4 }),
  idempotency: fc.option(fc.record({ key: fc.string(), hash: fc.string() }), { nil: undefined }),
});

test("property: a record's text is the JSON of it, and is read back as it was", () => {
  void fc.assert(
    fc.property(record, (made) => {
      const { idempotency, ...rest } = made;
      const whole = (idempotency === undefined ? rest : { ...rest, idempotency }) as Parameters<typeof encodeRecord>[0];
      const { text, values } = encodeRecord(whole);
      assert.is(text, JSON.stringify(whole));
      assert.equal(decodeRecord(text), JSON.parse(JSON.stringify(whole)));
      assert.equal(
        values,
        made.mutations.map(({ value }) => JSON.stringify(value)),
      );
    }),
  );
});

test("values whose text is at hand already are not made again", () => {
  const made = {
    seq: 1,
    term: 2,
    at: "t",
    actor: "a",
    mutations: [
      { key: "x", value: { a: 1 } },
      { key: "y", value: 2 },
    ],
  };
  const { text, values } = encodeRecord(made as never, ['{"a":9}']);
  assert.equal(values, ['{"a":9}', "2"]);
  assert.is(
    text,
    '{"seq":1,"term":2,"at":"t","actor":"a","mutations":[{"key":"x","value":{"a":9}},{"key":"y","value":2}]}',
  );
});

test("a seq as text is in the order of numbers, sixteen digits long", () => {
  assert.equal([0, 7, 10, 2 ** 50].map(paddedSeq), [
    "0000000000000000",
    "0000000000000007",
    "0000000000000010",
    "1125899906842624",
  ]);
});

test.run();
