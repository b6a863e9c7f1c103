// A segment of the journal as it lies on disk: what verifies, what a crash leaves, and what is damage.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeFrame, type Frame, GENESIS } from "../../../control/store/frame.ts";
import { encodeHeader, scanSegment } from "../../../control/store/journal-format.ts";

const HEADER = { id: "log-1", term: 3, firstSeq: 5, baseHash: GENESIS };
const header = Buffer.from(encodeHeader(HEADER));
const line = (seq: number) => `{"seq":${seq}}\n`;
function framesOf(...counts: number[]): Frame[] {
  const frames: Frame[] = [];
  let [seq, before] = [HEADER.firstSeq, HEADER.baseHash];
  for (const count of counts) {
    const lines = Array.from({ length: count }, (_, n) => line(seq + n)).join("");
    const frame = encodeFrame(seq, count, lines, before);
    frames.push(frame);
    [seq, before] = [seq + count, frame.hash];
  }
  return frames;
}
const frames = framesOf(2, 1, 3);
const [one, two, three] = frames.map(({ bytes }) => bytes) as [Buffer, Buffer, Buffer];
const scan = (...parts: (Buffer | string)[]) => {
  const { frames: found, header: head, ...rest } = scanSegment(Buffer.concat(parts.map((part) => Buffer.from(part))));
  return {
    ...rest,
    headHash: rest.headHash,
    found: found.map(({ firstSeq }) => firstSeq),
    isHeaded: head !== undefined,
  };
};
const bytesOf = (...parts: Buffer[]) => parts.reduce((sum, { length }) => sum + length, 0);

test("a header is one line of JSON with the number of its format", () => {
  assert.is(header.toString(), `{"format":2,"id":"log-1","term":3,"firstSeq":5,"baseHash":"${GENESIS}"}\n`);
  assert.equal(scanSegment(header).header, { format: 2, ...HEADER });
});

const SOUND = {
  headSeq: 10,
  headHash: frames[2]!.hash,
  lastFrameSeq: 8,
  claimedSeq: 10,
  found: [5, 7, 8],
  isHeaded: true,
};

test("a whole segment verifies to its end", () => {
  assert.equal(scan(header, one, two, three), {
    ...SOUND,
    tail: "clean",
    soundBytes: bytesOf(header, one, two, three),
  });
  assert.equal(scan(header), {
    headSeq: 4,
    headHash: GENESIS,
    lastFrameSeq: 0,
    claimedSeq: 4,
    found: [],
    isHeaded: true,
    tail: "clean",
    soundBytes: header.length,
  });
});

test("a last frame that is cut anywhere is torn, and what it said was to come is known once its head is whole", () => {
  const headLength = three.indexOf("\n") + 1;
  for (let length = 1; length < three.length; length++) {
    const { tail, claimedSeq, soundBytes, headSeq, found } = scan(header, one, two, three.subarray(0, length));
    assert.equal([tail, soundBytes, headSeq, found], ["torn", bytesOf(header, one, two), 7, [5, 7]], `${length}`);
    assert.is(claimedSeq, length >= headLength ? 10 : 7, `${length}`);
  }
});

test("a frame that does not verify before others is damage, and the newest that was written is known", () => {
  const bad = Buffer.from(two);
  bad[two.indexOf("seq")]! ^= 1;
  assert.equal(scan(header, one, bad, three), {
    headSeq: 6,
    headHash: frames[0]!.hash,
    lastFrameSeq: 5,
    claimedSeq: 10,
    found: [5],
    isHeaded: true,
    tail: "damaged",
    soundBytes: bytesOf(header, one),
  });
});

test("a frame that is missing, doubled or of another chain does not go on from the one before", () => {
  const foreign = encodeFrame(7, 1, line(7), GENESIS).bytes;
  const cases: [name: string, parts: Buffer[], claimed: number, tail: string][] = [
    ["missing", [one, three], 10, "torn"],
    ["doubled", [one, one], 6, "torn"],
    ["of another chain", [one, foreign], 7, "torn"],
    ["of another chain, and more after it", [one, foreign, three], 10, "damaged"],
  ];
  for (const [name, parts, claimed, tail] of cases) {
    const found = scan(header, ...parts);
    assert.equal([found.found, found.claimedSeq, found.tail, found.headSeq], [[5], claimed, tail, 6], name);
  }
});

test("bytes that are no frame at the end are what a crash leaves; before a frame they are damage", () => {
  assert.equal([scan(header, one, "rubbish").tail, scan(header, one, "rubbish").claimedSeq], ["torn", 6]);
  assert.equal(
    [scan(header, one, "rubbish\n", two).tail, scan(header, one, "rubbish\n", two).claimedSeq],
    ["damaged", 7],
  );
});

const NONE = { headSeq: 0, headHash: "", lastFrameSeq: 0, soundBytes: 0, found: [], isHeaded: false };

test("a header cut short with nothing after it is what a crash leaves; with frames after it, or another one, it is damage", () => {
  for (const length of [0, 1, header.length - 1])
    assert.equal(scan(header.subarray(0, length)), { ...NONE, claimedSeq: 0, tail: "torn" }, `${length}`);
  assert.equal(scan("{}\n"), { ...NONE, claimedSeq: 0, tail: "damaged" });
  assert.equal(scan("not JSON\n", one, two), { ...NONE, claimedSeq: 7, tail: "damaged" });
  assert.equal(scan(one, two), { ...NONE, claimedSeq: 7, tail: "damaged" });
  assert.equal(scan(one.subarray(0, one.indexOf("\n") + 1)), { ...NONE, claimedSeq: 6, tail: "damaged" });
});

test("a header of another format, or with a number that is none, is none", () => {
  const other = (over: object) => Buffer.from(`${JSON.stringify({ format: 2, ...HEADER, ...over })}\n`);
  assert.ok(scan(other({})).isHeaded);
  for (const over of [{ format: 1 }, { format: 3 }, { firstSeq: "5" }, { firstSeq: 1.5 }, { firstSeq: null }])
    assert.equal(scan(other(over), one), { ...NONE, claimedSeq: 6, tail: "damaged" }, JSON.stringify(over));
});

test.run();
