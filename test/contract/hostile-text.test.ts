// time limit: 300 s
// No text that a tenant writes may stop a program: whatever the parsers read takes time in proportion to its length. A parser that looks
// at parts of a line again and again takes minutes for one of these, one that does not takes milliseconds: the bound lies far from both.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "#lib/time.ts";

const PROGRAM = fileURLToPath(new URL("hostile-text-parsers.ts", import.meta.url));
const EACH_MS = 60_000;

test("every parser of a tenant's text is through with the worst of it soon", async () => {
  const child = spawn(process.execPath, [PROGRAM], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const ended = new Promise((resolve) => child.once("close", resolve));
  try {
    for (let seen = 0; !/^all$/m.test(output); ) {
      await until(() => output.length > seen || child.exitCode !== null, {
        what: `the end of the parser of ${output.trim().split("\n").at(-1)}`,
        timeoutMs: EACH_MS,
      });
      assert.ok(output.length > seen, `the program ended behind ${output}`);
      seen = output.length;
    }
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
});

test.run();
