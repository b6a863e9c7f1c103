import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { DATA_MOST_BYTES, decodeFrame, encodeFrame, type Frame, SIGNALS } from "#api/frames.ts";

const text = fc.string({ unit: "binary", maxLength: 200 }).filter((given) => given.isWellFormed());
const argument = text.filter((given) => !given.includes("\0"));
const size = fc.integer({ min: 1, max: 65_535 });
const data = fc.uint8Array({ maxLength: 2_000 }).map((bytes) => Buffer.from(bytes));

const frame: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({ type: fc.constantFrom("stdin", "stdout", "stderr"), data }),
  fc.record({ type: fc.constantFrom("started", "stdin-eof", "stdout-eof") }),
  fc.record({ type: fc.constant("state"), text }),
  fc.record({ type: fc.constant("signal"), signal: fc.constantFrom(...SIGNALS) }),
  fc.record({ type: fc.constant("resize"), columns: size, rows: size }),
  fc.record({ type: fc.constant("window"), bytes: fc.integer({ min: 0, max: 2 ** 32 - 1 }) }),
  fc.record({
    type: fc.constant("start"),
    start: fc.record(
      {
        command: fc
          .tuple(
            argument.filter((given) => given !== ""),
            fc.array(argument, { maxLength: 5 }),
          )
          .map(([a, b]) => [a, ...b]),
        tty: fc.boolean(),
        env: fc.dictionary(fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,20}$/), argument, { noNullPrototype: true }),
        columns: size,
        rows: size,
      },
      { requiredKeys: [], noNullPrototype: true },
    ),
  }),
  fc.record({
    type: fc.constant("exit"),
    exit: fc.record(
      { code: fc.integer({ min: 0, max: 255 }), signal: text, reason: text },
      { requiredKeys: [], noNullPrototype: true },
    ),
  }),
) as fc.Arbitrary<Frame>;

test("what was encoded decodes to the same frame", async () => {
  await fc.assert(fc.property(frame, (sent) => assert.equal(decodeFrame(encodeFrame(sent)), { ...sent })));
});

test("any bytes are a frame or a Fault, never another error", async () => {
  await fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      try {
        decodeFrame(Buffer.from(bytes));
      } catch (error) {
        assert.ok(isFault(error, "invalid"), String(error));
      }
    }),
    { numRuns: 2_000 },
  );
});

test("a frame cut short or grown never decodes to another sound frame of fixed size", () => {
  for (const sent of [
    { type: "resize", columns: 80, rows: 24 },
    { type: "window", bytes: 7 },
    { type: "started" },
    { type: "stdin-eof" },
  ] as const) {
    const bytes = encodeFrame(sent);
    assert.throws(() => decodeFrame(Buffer.concat([bytes, Buffer.of(0)])), /not sound/);
    if (bytes.length > 1) assert.throws(() => decodeFrame(bytes.subarray(0, -1)), /not sound/);
  }
});

for (const [claim, start] of [
  ["an empty command", { command: [] }],
  ["an empty program", { command: ["", "x"] }],
  ["a NUL in an argument", { command: ["sh", "a\0b"] }],
  ["a command that is text", { command: "rm -rf /" }],
  ["a size of nothing", { columns: 0, rows: 24 }],
  ["a size beyond a terminal's", { columns: 65_536, rows: 24 }],
  ["a variable without a sound name", { env: { "A=B": "x" } }],
  ["a variable that is no text", { env: { A: 1 } }],
] as const)
  test(`a start with ${claim} is refused`, () => {
    const bytes = Buffer.concat([Buffer.of(1), Buffer.from(JSON.stringify(start))]);
    assert.throws(() => decodeFrame(bytes), /start frame is not sound/);
  });

test("more data than one frame may hold is refused", () => {
  assert.throws(
    () => decodeFrame(encodeFrame({ type: "stdin", data: Buffer.alloc(DATA_MOST_BYTES + 1) })),
    /not sound/,
  );
});

test.run();
