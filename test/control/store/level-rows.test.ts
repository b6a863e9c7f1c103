// Rows of the state in LevelDB: what is damaged anywhere is seen, and the digest is of the rows that are there.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  addRow,
  emptyHead,
  headRow,
  LOG_ROWS,
  logKey,
  parseHead,
  parseViewRow,
  removeRow,
  VIEW_ROWS,
  viewKey,
  viewRow,
} from "../../../control/store/level-rows.ts";

test("a view row is read back as it was written, and by its own key only", () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(), fc.string({ unit: "binary" }), (key, version, valueText) => {
      const { row, check } = viewRow(key, version, valueText);
      assert.equal(parseViewRow(key, row), { version, valueText, check });
      assert.is(parseViewRow(`${key}x`, row), undefined);
    }),
  );
});

test("a view row of which any sign was changed, added or lost is damaged", () => {
  const { row } = viewRow("apps/a", 17, '{"name":"hello world"}');
  assert.is(row, '1186839323 17 {"name":"hello world"}');
  for (let at = 0; at < row.length; at++) {
    const other = row[at] === "x" ? "y" : "x";
    for (const damaged of [
      row.slice(0, at) + other + row.slice(at + 1),
      row.slice(0, at) + row.slice(at + 1),
      row.slice(0, at),
    ])
      assert.is(parseViewRow("apps/a", damaged), undefined, damaged);
  }
  assert.is(parseViewRow("apps/a", `${row} `), undefined);
  assert.is(parseViewRow("apps/a", ""), undefined);
});

test("a head is read back as it was written, and undefined once a sign of it was changed", () => {
  const head = { ...emptyHead(), seq: 7, term: 3, view: { count: 2, sum: 2 ** 47 } };
  const row = headRow(head);
  assert.equal(parseHead(row), head);
  assert.match(row, /^[0-9a-f]{8}\{/);
  for (let at = 0; at < row.length; at += 3)
    assert.is(parseHead(row.slice(0, at) + (row[at] === "0" ? "1" : "0") + row.slice(at + 1)), undefined, `${at}`);
  // Among many there are checksums that begin with zeros.
  for (let seq = 0; seq < 300; seq++) assert.is(parseHead(headRow({ ...head, seq }))?.seq, seq);
});

test("state of another release's format is refused in words, not taken for damage", () => {
  const other = headRow({ ...emptyHead(), format: 1 });
  assert.throws(() => parseHead(other), /^state is of format 1; this release reads format 2$/);
});

test("a new log has nothing, begins at record 1, and is no other log", () => {
  const { id, hash, baseHash, ...rest } = emptyHead();
  assert.equal(rest, { format: 2, seq: 0, term: 0, oldestSeq: 1, baseSeq: 1, view: { count: 0, sum: 0 } });
  assert.is(hash, baseHash);
  assert.is.not(id, emptyHead().id);
});

test("the digest is of the rows that are there, in whatever order they came and went", () => {
  const checks = fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { maxLength: 50 });
  fc.assert(
    fc.property(checks, checks, fc.constantFrom(0, 2 ** 48 - 1, 2 ** 48 - 2 ** 31), (kept, gone, sum) => {
      const digest = { count: 5, sum };
      for (const check of [...gone, ...kept]) addRow(digest, check);
      for (const check of gone) removeRow(digest, check);
      const direct = { count: 5, sum };
      for (const check of kept.toReversed()) addRow(direct, check);
      assert.equal(digest, direct);
      assert.ok(digest.sum >= 0 && digest.sum < 2 ** 48 && digest.count === 5 + kept.length);
      for (const check of kept) removeRow(digest, check);
      assert.equal(digest, { count: 5, sum });
    }),
  );
});

test("the digest's sum stays below 2^48, where numbers are whole", () => {
  const after = (sum: number, act: typeof addRow, check: number) => {
    const digest = { count: 1, sum };
    act(digest, check);
    return [digest.count, digest.sum];
  };
  assert.equal(after(0, addRow, -1), [2, 2 ** 32 - 1]);
  assert.equal(after(2 ** 48 - 2, addRow, 1), [2, 2 ** 48 - 1]);
  assert.equal(after(2 ** 48 - 1, addRow, 1), [2, 0]);
  assert.equal(after(0, removeRow, 1), [0, 2 ** 48 - 1]);
  assert.equal(after(1, removeRow, 1), [0, 0]);
});

test("rows lie in the order of their records, and each kind within its range", () => {
  const seqs = [1, 9, 10, 99, 100_000, 2 ** 40];
  const names = seqs.map(logKey);
  assert.equal(names.toSorted(), names);
  assert.ok(names.every((name) => name >= LOG_ROWS.gte && name < LOG_ROWS.lt));
  assert.ok(["", "apps/a", "\uffff"].map(viewKey).every((name) => name >= VIEW_ROWS.gte && name < VIEW_ROWS.lt));
  assert.not(viewKey("x") >= LOG_ROWS.gte && viewKey("x") < LOG_ROWS.lt);
});

test.run();
