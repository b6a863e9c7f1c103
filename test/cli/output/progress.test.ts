import { test } from "uvu";
import * as assert from "uvu/assert";
import { amount, progress } from "../../../cli/output/progress.ts";

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

test("off a terminal it says plain lines, each step once, bytes not more often than every 5 s", () => {
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
    "uploading x 0 B of 10 KiB (0 %)",
    "uploading x 5 KiB of 10 KiB (50 %)",
    "uploading x 10 KiB of 10 KiB (100 %)",
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

test.run();
