// Numbers that people are told of, and bytes that a relay of another version reads.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { LIMITS } from "../../../control/git/limits.ts";
import { exitFrame, frame, frameReader, KIND } from "../../../control/git/relay/frames.ts";

test("a push is at most 2 GiB in 1,000 refs and 200,000 files, within an hour; git has 2 GiB of memory and files of 4 GiB", () => {
  const GIB = 1_073_741_824;
  assert.equal(LIMITS, {
    packBytes: 2 * GIB,
    commands: 1_000,
    requestBytes: 10_485_760,
    files: 200_000,
    silentMs: 60_000,
    transferMs: 3_600_000,
    sessions: 64,
    sessionsOfApp: 16,
    memoryBytes: 2 * GIB,
    fileBytes: 4 * GIB,
  });
});

test("a frame is a byte of kind, four of length, and what it carries", () => {
  assert.is(frame(KIND.stdout, Buffer.from("abc")).toString("hex"), "0100000003616263");
  assert.is(frame(KIND.stderr, Buffer.alloc(0)).toString("hex"), "0200000000");
  assert.equal(
    [exitFrame(1), exitFrame(256 + 7)].map((bytes) => bytes.toString("hex")),
    ["030000000101", "030000000107"],
  );
});

test("a frame is at most 1 MiB", () => {
  const head = (length: number) => {
    const bytes = Buffer.alloc(5);
    bytes.writeUInt32BE(length, 1);
    return bytes;
  };
  assert.equal(frameReader()(head(1 << 20)), []);
  assert.throws(() => frameReader()(head((1 << 20) + 1)), /a frame of 1048577 bytes/);
  const read = frameReader();
  assert.equal(
    [read(head(0)), read(Buffer.from([1, 0, 0, 0]))].map((frames) => frames.length),
    [1, 0],
  );
});

test.run();
