// Docker's build output, line by line, as people see it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readOutput } from "../../../hostd/builds/dockerfile-output.ts";

const STEPS = ["FROM node", undefined, "RUN a \\\n   b", "CMD x"];
const ID = "0123456789ab";
function shown(text: string, steps: (string | undefined)[] = STEPS) {
  const output = readOutput(steps);
  const found = output.read(text);
  return {
    output,
    lines: found.flatMap(({ lines }) => lines),
    containers: found.flatMap(({ container }) => container ?? []),
  };
}
const INDENT = "       ";

test("each step of people's is numbered among theirs and on one line; ours is not shown, nor what it prints", () => {
  const { lines, output } = shown(
    "Step 1/4 : FROM x\npulling\nStep 2/4 : LABEL y\nhidden\n ---> Using cache\nStep 3/4 : RUN z\nout\n ---> Using cache\n",
  );
  assert.equal(lines, [
    `${INDENT}Step 1/3: FROM node`,
    `${INDENT}pulling`,
    `${INDENT}Step 2/3: RUN a \\ b`,
    `${INDENT}out`,
    `${INDENT}  (from cache)`,
  ]);
  assert.is(output.step(), "RUN a \\\n   b");
});

test("a step is shown with 200 characters, and is at work from its line on", () => {
  const output = readOutput(["x".repeat(300)]);
  assert.is(output.step(), undefined);
  assert.equal(output.read("Step 1/1 : FROM\n")[0]!.lines, [`${INDENT}Step 1/1: ${"x".repeat(200)}`]);
  assert.is(output.step(), "x".repeat(300));
});

test("a line that only looks like a step, of one that was or is none, is what a step printed", () => {
  for (const text of ["Step 1/4 : again", "Step 5/4 : none", "Step 0/4 : none", "Step x/4 : no", " Step 3/4 : no"]) {
    const { lines, output } = shown(`Step 1/4 : FROM\n${text}\n`);
    assert.equal(lines.slice(1), [`${INDENT}${text}`]);
    assert.is(output.step(), "FROM node");
  }
  assert.is(shown("Step 4/4 : CMD\n").output.step(), "CMD x", "the last one");
});

test("ids of images and containers are read and not shown; what is no id is text", () => {
  const { lines, output, containers } = shown(
    ` ---> ${ID}\n ---> Running in ${ID}\nRemoving intermediate container ${ID}\nSuccessfully built ${ID}\n`,
  );
  assert.equal([lines, [...output.images], containers], [[], [ID], [ID]]);
  const odd = [
    ` ---> ${ID}c`,
    ` ---> Running in x`,
    `x ---> ${ID}`,
    `Successfully built ${ID} x`,
    ` ---> Using cache x`,
  ];
  const other = shown(`${odd.join("\n")}\n`);
  assert.equal(
    other.lines,
    odd.map((text) => `${INDENT}${text}`),
  );
  assert.equal([other.output.images.size, other.containers], [0, []]);
});

test("a line is read when it has ended, however it comes; empty ones are not shown", () => {
  const output = readOutput(STEPS);
  const lines = ["Step 1/", "4 : FR", "OM\n\n  \nab", "", "c\nd\ne"]
    .flatMap((text) => output.read(text))
    .flatMap(({ lines }) => lines);
  assert.equal(lines, [`${INDENT}Step 1/3: FROM node`, `${INDENT}abc`, `${INDENT}d`]);
  assert.equal(output.read("\n")[0]!.lines, [`${INDENT}e`]);
});

test("a line without an end is cut at 64 KiB, and what follows is a new one", () => {
  const output = readOutput([]);
  assert.equal(output.read("x".repeat(1 << 16)), []);
  assert.is(output.read("x")[0]!.lines[0]!.length, INDENT.length + (1 << 16));
  assert.equal(output.read("y\n")[0]!.lines, [`${INDENT}y`]);
});

test("the last twenty lines that say something are kept, those of our own steps too", () => {
  const output = readOutput([undefined]);
  output.read("Step 1/1 : LABEL\n");
  for (let n = 1; n <= 25; n++) output.read(`line ${n}\n\n`);
  assert.is(output.tail(), Array.from({ length: 20 }, (_, n) => `line ${n + 6}`).join("\n"));
  output.read("  \n\t\n\n");
  assert.match(output.tail(), /^line 6\n.*line 25$/s, "empty lines take nobody's place");
  assert.is(readOutput([]).tail(), "");
});

test.run();
