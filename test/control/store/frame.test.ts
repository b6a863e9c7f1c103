// Frames and rows as they lie on disk. Their form is a promise: what an earlier version wrote is read by every later one.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeFrame, frameTexts, GENESIS, parseFrame, parseFrameHead } from "../../../control/store/frame.ts";
import {
  addRow,
  emptyHead,
  headRow,
  parseHead,
  parseViewRow,
  removeRow,
  viewRow,
} from "../../../control/store/level-rows.ts";

const LINES = '{"seq":7}\n{"seq":8}\n';
const frame = encodeFrame(7, 2, LINES, GENESIS);
const GOLDEN_ROW = '1456578231 3 {"id":"a"}';
const GOLDEN_HEAD = `ef54d4cc{"format":2,"id":"26e57467-0e4f-497f-9e43-d51ec517a128","seq":0,"hash":"${GENESIS}","term":0,"oldestSeq":1,"baseSeq":1,"baseHash":"${GENESIS}","view":{"count":0,"sum":0}}`;

test("a frame is read as it was written, wherever it lies", () => {
  const bytes = Buffer.concat([Buffer.from("before"), frame.bytes, Buffer.from("after")]);
  const read = parseFrame(bytes, 6)!;
  assert.equal([read.firstSeq, read.lastSeq, read.before, read.hash], [7, 8, GENESIS, frame.hash]);
  assert.equal(frameTexts(read), ['{"seq":7}', '{"seq":8}']);
  assert.is(parseFrame(bytes, 5), undefined);
});

test("no byte of a frame can be another, and none can be missing", () => {
  for (let at = 0; at < frame.bytes.length; at++) {
    const other = Buffer.from(frame.bytes);
    other[at]! ^= 1;
    assert.is(parseFrame(other), undefined, `byte ${at}`);
    assert.is(parseFrame(frame.bytes.subarray(0, at)), undefined, `${at} bytes`);
  }
});

test("the last byte is a newline whatever the hash says, so that two frames never run into one another", () => {
  const other = Buffer.from(frame.bytes);
  other[other.length - 1] = "x".charCodeAt(0);
  assert.is(parseFrame(other), undefined);
  assert.ok(parseFrameHead(other, 0), "its head is sound");
});

test("a row of the view written by the first version is read", () => {
  const { row, check } = viewRow("apps/a", 3, '{"id":"a"}');
  assert.is(row, GOLDEN_ROW);
  assert.equal(parseViewRow("apps/a", GOLDEN_ROW)?.check, check);
  assert.is(parseViewRow("apps/b", GOLDEN_ROW), undefined, "under another key it is none");
  assert.equal(parseViewRow("apps/a", GOLDEN_ROW), { version: 3, valueText: '{"id":"a"}', check });
  assert.is(parseViewRow("apps/a", GOLDEN_ROW.replace("a", "b")), undefined);
  for (const text of ["", " ", "7", "no row"]) assert.is(parseViewRow("apps/a", text), undefined, text);
});

test("rows taken out of the digest of the view leave it as it was before, whatever the order", () => {
  const { view } = emptyHead();
  const empty = { ...view };
  const checks = [1, 0xffff_ffff, -1, 0x8000_0000, 5];
  for (const check of checks) addRow(view, check);
  assert.is(view.count, 5);
  for (const check of checks.toReversed()) removeRow(view, check);
  assert.equal(view, empty);
  removeRow(view, 7);
  assert.ok(view.sum > 0, "it stays in its range");
  addRow(view, 7);
  assert.equal(view, empty);
});

test("a head is read as it was written, and no changed one is", () => {
  const head = emptyHead();
  const row = headRow(head);
  assert.equal(parseHead(row), head);
  assert.is(headRow(parseHead(GOLDEN_HEAD)!), GOLDEN_HEAD, "of the first version too");
  for (let at = 0; at < row.length; at++)
    if (/[0-9a-f]/.test(row[at]!))
      assert.is(parseHead(row.slice(0, at) + (row[at] === "0" ? "1" : "0") + row.slice(at + 1)), undefined, `${at}`);
});

test.run();
