// The log of a program whose stderr takes nothing for a while: the program goes on.

import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "uvu";
import * as assert from "uvu/assert";

const LOG = new URL("../../lib/log.ts", import.meta.url).href;
/** Some 20 MB of lines, then what it holds of them. */
const MANY = `
const { createLog } = await import(${JSON.stringify(LOG)});
const log = createLog("many");
const before = process.memoryUsage().rss;
for (let n = 0; n < 20_000; n++) log.info({ n, text: "x".repeat(1_000) }, "line");
console.log(JSON.stringify({ moreMib: (process.memoryUsage().rss - before) / 2 ** 20 }));
`;

/** Standard output of a program with this file as its stderr. */
async function outputWith(program: string, stderr: string): Promise<{ code: number | null; text: string }> {
  const directory = await mkdtemp(join(tmpdir(), "log-test-"));
  try {
    const main = join(directory, "main.mjs");
    await writeFile(main, program);
    const fd = openSync(stderr, "a");
    const child = spawn(process.execPath, [main], { stdio: ["ignore", "pipe", fd] });
    closeSync(fd);
    let text = "";
    child.stdout!.on("data", (chunk: Buffer) => {
      text += chunk;
    });
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    return { code, text };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

test("a full disk under its log ends no program, and lines that wait are bounded", async () => {
  const { code, text } = await outputWith(MANY, "/dev/full");
  assert.is(code, 0);
  const { moreMib } = JSON.parse(text) as { moreMib: number };
  assert.ok(moreMib < 100, `${moreMib} MiB more`);
});

test("where there is room every line is written at once, in order", async () => {
  const directory = await mkdtemp(join(tmpdir(), "log-test-"));
  try {
    const file = join(directory, "stderr");
    const { code } = await outputWith(
      MANY.replace("20_000", "100").replace("console.log", "process.exit(3); void "),
      file,
    );
    assert.is(code, 3);
    const lines = (await readFile(file, "utf8")).trim().split("\n");
    assert.equal(
      lines.map((line) => (JSON.parse(line) as { n: number }).n),
      Array.from({ length: 100 }, (_, n) => n),
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test.run();
