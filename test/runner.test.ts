import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "#lib/time.ts";
import { declaredLimitMs, findTests, judge, parseTotals, runFile } from "./runner.ts";

const uvu = fileURLToPath(import.meta.resolve("uvu"));
const HEAD = `import { test } from ${JSON.stringify(uvu)};\nimport { ok } from "node:assert";\n`;

async function verdict(source: string, options: { limitMs?: number; graceMs?: number; signal?: AbortSignal } = {}) {
  const root = await mkdtemp(join(tmpdir(), "flynn-runner-"));
  try {
    await mkdir(join(root, "test"));
    await writeFile(join(root, "package.json"), `{"type":"module"}`);
    await writeFile(join(root, "test/a.test.ts"), HEAD + source);
    const { limitMs = 20_000, graceMs = 500, signal } = options;
    return await runFile({ path: "test/a.test.ts", isLab: false, limitMs, sizeBytes: 0 }, { root, graceMs, signal });
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

test("passing and failing tests are counted one by one", async () => {
  const result = await verdict(`test("a", () => {}); test("b", () => ok(false)); test("c", () => {}); test.run();`);
  assert.is(result.passed, 2);
  assert.is(result.failed, 1);
  assert.is(result.broken, undefined);
});

test("a file that starts a program which set-up does not know fails, however its name was put together", async () => {
  const result = await verdict(
    `import { spawn } from "node:child_process";
    test("a", () => new Promise((resolve) => spawn(["/bin/e", "cho-no"].join("")).once("error", resolve))); test.run();`,
  );
  assert.match(result.broken ?? "", /exited 1 though its tests passed/);
  assert.match(result.output, /started \/bin\/echo-no, which no Debian package of lib\/setup\/packages.mjs brings/);
});

test("a file without test.run() fails", async () => {
  const result = await verdict(`test("a", () => {});`);
  assert.is(result.failed, 1);
  assert.match(result.broken ?? "", /test\.run\(\)/);
});

test("a file that exits 0 before its tests end fails", async () => {
  const result = await verdict(`test("a", () => process.exit(0)); test.run();`);
  assert.is(result.failed, 1);
});

test("a file whose test never settles fails", async () => {
  const result = await verdict(`test("a", () => new Promise(() => {})); test.run();`);
  assert.is(result.failed, 1);
  assert.match(result.output, /Exiting early/);
});

test("a skipped test and a left-over test.only fail the file", async () => {
  assert.match((await verdict(`test("a", () => {}); test.skip("b", () => {}); test.run();`)).broken ?? "", /skipped 1/);
  assert.match((await verdict(`test("a", () => {}); test.only("b", () => {}); test.run();`)).broken ?? "", /skipped 1/);
});

test("an error that uvu cannot print, with details that are no text or no error at all, fails its own test in full", async () => {
  const error = `Object.assign(new Error("no"), { details: { field: "name" } })`;
  const odd = await verdict(
    `test("a", () => {}); test("b", () => { throw ${error}; }); test("c", () => {}); test.run();`,
  );
  assert.equal([odd.passed, odd.failed, odd.broken], [2, 1, undefined]);
  assert.match(odd.output, /details: \{ field: 'name' \}/);
  const none = await verdict(
    `test("a", () => ok(false)); test("b", () => { throw undefined; }); test("c", () => {}); test.run();`,
  );
  assert.equal([none.passed, none.failed, none.broken], [1, 2, undefined]);
});

test("a hook that throws fails the file, shows its error, and how many tests have no result", async () => {
  for (const hook of ["test.before", "test.before.each", "test.after", "test.after.each"]) {
    const result = await verdict(
      `${hook}(() => { throw new Error("the disk is gone"); }); test("a", () => {}); test.run();`,
    );
    assert.ok(result.failed > 0, hook);
    assert.match(result.output, "the disk is gone", hook);
  }
  const early = await verdict(`test.before(() => { throw new Error("no"); }); test("a", () => {}); test.run();`);
  assert.match(early.broken ?? "", /gave up early: 1 of its 1 tests have no result/);
});

test("a suite of uvu has its name, its state, its hooks and its order", async () => {
  const made = `import { suite } from ${JSON.stringify(uvu)}; const s = suite("named", { n: 1 });
    s.before((c) => { c.n = 2; }); s.before.each((c) => { c.n *= 2; });
    s("one", (c) => ok(c.n === 4)); s("two", (c) => ok(c.n === 8)); s.run();`;
  const result = await verdict(made);
  assert.equal([result.passed, result.failed, result.broken], [2, 0, undefined]);
  assert.match(result.output, /named {2}• •/);
});

test("tests that uvu shows as failed are failures of their own, whatever their titles hold", async () => {
  const result = await verdict(`test('x "y"', () => ok(false)); test("two\\nlines", () => ok(false)); test.run();`);
  assert.is(result.failed, 2);
  assert.is(result.broken, undefined);
});

test("a syntax error fails the file and its text is in the output", async () => {
  const result = await verdict(`const = 1;`);
  assert.is(result.failed, 1);
  assert.match(result.output, /SyntaxError|Expected/);
});

test("a server left listening after the tests ended is ended at the limit and said to be the reason", async () => {
  const result = await verdict(
    `import { createServer } from "node:net"; createServer().listen(0, "127.0.0.1"); test("a", () => {}); test.run();`,
    {
      limitMs: 2_000,
    },
  );
  assert.is(result.passed, 1);
  assert.is(result.failed, 1);
  assert.match(result.broken ?? "", /left open/);
});

test("a file past its limit that ignores SIGTERM is killed with the children it started", async () => {
  const result = await verdict(
    `import { spawn } from "node:child_process";
     process.on("SIGTERM", () => {});
     test("a", async () => { const child = spawn("sleep", ["300"]); console.log("child=" + child.pid + ";"); await new Promise(() => setInterval(() => {}, 1000)); });
     test.run();`,
    { limitMs: 2_000, graceMs: 200 },
  );
  assert.match(result.broken ?? "", /took longer than its limit of 2 s/);
  const pid = Number(/child=(\d+);/.exec(result.output)?.[1]);
  assert.ok(pid > 1, result.output);
  await until(() => !isRunning(pid), { what: "the child's end", timeoutMs: 30_000 });
});

test("an aborted run stops the file", async () => {
  const controller = new AbortController();
  const running = verdict(`test("a", () => new Promise(() => setInterval(() => {}, 1000))); test.run();`, {
    signal: controller.signal,
  });
  controller.abort();
  assert.match((await running).broken ?? "", /stopped with the run/);
});

test("compiled modules are kept in the folder given, and a changed file is compiled anew", async () => {
  const root = await mkdtemp(join(tmpdir(), "flynn-runner-"));
  try {
    await mkdir(join(root, "test"));
    await writeFile(join(root, "package.json"), `{"type":"module"}`);
    const compiledIn = join(root, "compiled");
    const run = async (answer: number) => {
      await writeFile(join(root, "test/answer.ts"), `export const answer: number = ${answer};`);
      await writeFile(
        join(root, "test/a.test.ts"),
        `${HEAD}import { answer } from "./answer.ts"; test("a", () => ok(answer === 1)); test.run();`,
      );
      return await runFile(
        { path: "test/a.test.ts", isLab: false, sizeBytes: 0, limitMs: 20_000 },
        { root, compiledIn },
      );
    };
    for (const answer of [1, 1, 2, 1]) assert.is((await run(answer)).passed, answer === 1 ? 1 : 0);
    const kept = (await readdir(compiledIn, { recursive: true, withFileTypes: true })).filter((entry) =>
      entry.isFile(),
    );
    assert.ok(kept.length >= 3, `${kept.length} modules are kept`);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});

test("totals are the last ones printed, and a lookalike inside a line is none", () => {
  assert.equal(
    parseTotals("  Total:     1\n  Passed:    1\n  Skipped:   0\n x\n  Total:     3\n  Passed:    2\n  Skipped:   1\n"),
    { total: 3, passed: 2, skipped: 1 },
  );
  assert.is(parseTotals("the  Total:     1 of it\n"), undefined);
});

test("exit code 1 with every test passed is a failure", () => {
  const output = "  Total:     1\n  Passed:    1\n  Skipped:   0\n";
  assert.is(judge({ output, exitCode: 1, killedBy: null }).failed, 1);
  assert.is(judge({ output, exitCode: 0, killedBy: null }).failed, 0);
  assert.is(judge({ output, exitCode: null, killedBy: "SIGSEGV" }).failed, 1);
});

test("the limit is read from the first five lines only", () => {
  assert.is(declaredLimitMs("// a\n// time limit: 600 s\n"), 600_000);
  assert.is(declaredLimitMs("\n\n\n\n\n// time limit: 600 s\n"), undefined);
});

test("lab and e2e files come after the units and are marked as such", async () => {
  const root = await mkdtemp(join(tmpdir(), "flynn-runner-"));
  try {
    for (const path of [
      "test/lab/a.test.ts",
      "test/z/b.test.ts",
      "test/e2e/c.test.ts",
      "test/a/notes.ts",
      "test/.cache/x/d.test.ts",
    ]) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), "");
    }
    const found = await findTests(root);
    assert.equal(
      found.map((file) => [file.path, file.isLab]),
      [
        ["test/z/b.test.ts", false],
        ["test/e2e/c.test.ts", true],
        ["test/lab/a.test.ts", true],
      ],
    );
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test.run();
