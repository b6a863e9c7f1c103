import { Readable } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { amount, counting, progress } from "../../../cli/output/progress.ts";

function recorder(terminal: { err: boolean; errColumns: number }) {
  const said: string[] = [];
  const drawn: string[] = [];
  const cli = {
    terminal: { in: false, out: false, columns: 0, ...terminal },
    say: (line: string) => void said.push(line),
    draw: (text: string) => void drawn.push(text),
  };
  return { cli, said, drawn };
}

test("off a terminal it says plain lines, each step once, bytes every 5 s at most, and none of what is over sooner", () => {
  const { cli, said, drawn } = recorder({ err: false, errColumns: 0 });
  let nowMs = 0;
  const shown = progress(cli, () => nowMs);
  shown.step("one");
  shown.step("one");
  shown.step("two");
  for (let n = 0; n <= 10; n++) {
    nowMs = n * 1_000;
    shown.bytes("uploading x", n * 1024, 10 * 1024);
  }
  shown.end();
  assert.equal(said, [
    "one",
    "two",
    "uploading x 5 KiB of 10 KiB (50 %), 1 KiB/s, 5.0s left",
    "uploading x 10 KiB of 10 KiB (100 %), 1 KiB/s",
  ]);
  assert.equal(drawn, []);
});

test("a terminal of 0 columns gets plain lines too", () => {
  const { cli, said, drawn } = recorder({ err: true, errColumns: 0 });
  const shown = progress(cli);
  shown.step("one");
  shown.end();
  assert.equal([said, drawn], [["one"], []]);
});

test("on a terminal one line is drawn over, never wider than it, and taken away at the end", () => {
  const { cli, said, drawn } = recorder({ err: true, errColumns: 20 });
  const shown = progress(cli, () => 0);
  shown.step("a step whose words are longer than the line");
  shown.line("kept");
  shown.end();
  assert.equal(said, ["kept"]);
  assert.is(drawn.at(-1), "\r\x1b[K");
  for (const text of drawn) assert.ok(text.replace("\r\x1b[K", "").length < 20, text);
});

test("steps that hold escape sequences are said without them", () => {
  const { cli, said } = recorder({ err: false, errColumns: 0 });
  progress(cli).step("job \x1b[2Jcrashed");
  assert.equal(said, ["job crashed"]);
});

test("an unknown total is left out", () => assert.is(amount(2048), "2 KiB"));

test("a rate is said once it means something, and what is left with a total", () => {
  const MIB = 1024 ** 2;
  assert.is(amount(3 * MIB), "3 MiB");
  assert.is(amount(3 * MIB, 12 * MIB), "3 MiB of 12 MiB (25 %)");
  assert.is(amount(3 * MIB, 12 * MIB, MIB), "3 MiB of 12 MiB (25 %), 1 MiB/s, 9.0s left");
  assert.is(amount(3 * MIB, undefined, MIB), "3 MiB, 1 MiB/s");
});

test("on a terminal bytes fill a bar; what a line says already is drawn there, and is not said twice elsewhere", () => {
  const { cli, said, drawn } = recorder({ err: true, errColumns: 100 });
  let nowMs = 0;
  const shown = progress(cli, () => nowMs);
  shown.bytes("uploading x", 0, 100);
  nowMs = 2_000;
  shown.bytes("uploading x", 50, 100);
  shown.line("a line");
  assert.match(drawn.at(-1)!, "uploading x [============            ] 50 B of 100 B (50 %), 25 B/s, 2.0s left");
  shown.doing("packing");
  assert.match(drawn.at(-1)!, "packing");
  shown.end();
  assert.equal(said, ["a line"]);
  const plain = recorder({ err: false, errColumns: 0 });
  progress(plain.cli).doing("packing");
  assert.equal(plain.said, []);
});

test("counted bytes go through as they are; past the total that was said, there is none", async () => {
  const told: (readonly [number, number | undefined])[] = [];
  const steps: string[] = [];
  const counted = counting(
    { bytes: (_, done, total) => void told.push([done, total]), doing: (text) => void steps.push(text) },
    { what: "x", totalBytes: 5, after: "stored" },
  );
  const through = await Readable.from([Buffer.from("abc"), Buffer.from("defg")])
    .pipe(counted)
    .toArray();
  assert.is(Buffer.concat(through).toString(), "abcdefg");
  assert.equal(
    [told, steps],
    [
      [
        [3, 5],
        [7, undefined],
      ],
      ["stored"],
    ],
  );
});

test.run();
