// The first pass may only ever say "caught", and only of what a test of its own process notices as well.
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { type Copy, copyOf } from "./copy.ts";
import { firstPass } from "./first-pass.ts";
import type { Mutant } from "./operators.ts";

const uvu = fileURLToPath(import.meta.resolve("uvu"));
const SOURCE = "export const answer: number = 1;\n";
const SEEN_ONLY_ONCE = `import { existsSync, writeFileSync } from "node:fs";
test("the answer, the first time", () => {
  const isFirst = !existsSync("/tmp/seen");
  writeFileSync("/tmp/seen", "");
  ok(isFirst);
});`;
const TESTS: Record<string, string> = {
  "answer.test.ts": `import { between } from "./between.ts";\ntest("answer", () => ok(between() === 1));`,
  "other.test.ts": `import { answer } from "./answer.ts";\ntest("a number", () => ok(typeof answer === "number"));`,
  "seen-once.test.ts": SEEN_ONLY_ONCE,
};
const afresh = ["answer.ts", "between.ts", ...Object.keys(TESTS)].map((each) => `test/${each}`);

const becomes = (replacement: string): Mutant => ({
  path: "test/answer.ts",
  operator: "",
  line: 1,
  start: SOURCE.indexOf("1;"),
  end: SOURCE.indexOf("1;") + 1,
  replacement,
});

async function inCopy(use: (copy: Copy) => Promise<void>): Promise<void> {
  const base = await mkdtemp(join(tmpdir(), "flynn-first-"));
  const put = async (path: string, text: string) => {
    await mkdir(dirname(join(base, path)), { recursive: true });
    await writeFile(join(base, path), text);
  };
  try {
    await put("package.json", `{"type":"module"}`);
    await put("test/answer.ts", SOURCE);
    await put("test/between.ts", `import { answer } from "./answer.ts";\nexport const between = () => answer;\n`);
    for (const [name, text] of Object.entries(TESTS))
      await put(
        `test/${name}`,
        `import { test } from ${JSON.stringify(uvu)};\nimport { ok } from "node:assert";\n${text}\ntest.run();\n`,
      );
    await exec(["git", "init", "-q", base]);
    const copy = await copyOf(base);
    try {
      await use(copy);
    } finally {
      await copy.remove();
    }
  } finally {
    await rm(base, { recursive: true, force: true });
  }
}

test("the first pass names the test that fails for the mutant alone, and leaves the source whole and nothing running", async () => {
  await inCopy(async (copy) => {
    const started: number[] = [];
    const first = firstPass({
      write: copy.write,
      start: () => {
        const child = copy.start();
        started.push(child.pid!);
        return child;
      },
    });
    const caughtBy = (replacement: string, tests: string[], limitMs = 30_000) =>
      first.caughtBy(becomes(replacement), SOURCE, { tests: tests.map((each) => `test/${each}`), afresh, limitMs });
    try {
      assert.is(await caughtBy("2", ["other.test.ts", "answer.test.ts"]), "test/answer.test.ts");
      assert.is(await caughtBy("2", ["other.test.ts"]), undefined, "a test that does not look says nothing");
      assert.is(await caughtBy("(1 + 0)", ["answer.test.ts"]), undefined, "a mutant that changes nothing");
      assert.is(await caughtBy("((() => { throw new Error(); })())", ["other.test.ts"]), "test/other.test.ts");
      assert.is(started.length, 1, "one process does for all of them");
      assert.is(
        await caughtBy("2", ["seen-once.test.ts", "seen-once.test.ts"]),
        undefined,
        "what fails with the source whole as well says nothing of a mutant",
      );
      assert.is(await caughtBy("(process.exit(), 1)", ["answer.test.ts"]), undefined, "the full pass decides");
      assert.is(await caughtBy("2", ["answer.test.ts"]), "test/answer.test.ts");
      // Long enough for a process that is there already to answer at all; what never ends is not waited for.
      assert.is(await caughtBy("((() => { while (true); })())", ["answer.test.ts"], 2_000), undefined);
      assert.is(await caughtBy("2", ["answer.test.ts"]), "test/answer.test.ts");
      assert.is(await readFile(join(copy.root, "test/answer.ts"), "utf8"), SOURCE);
    } finally {
      await first.end();
    }
    for (const pid of started) assert.throws(() => process.kill(pid, 0), "it still runs");
  });
});

test.run();
