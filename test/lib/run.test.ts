import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { causeChain } from "#lib/run.ts";

const RUN = JSON.stringify(fileURLToPath(import.meta.resolve("#lib/run.ts")));

/** Starts a program whose main is `body`; `signals` are sent one by one, each when the program has printed another line. */
function program(
  body: string,
  signals: NodeJS.Signals[] = [],
  options = "{}",
): Promise<{ code: number | null; output: string }> {
  const source = `import { run } from ${RUN}; run(async (signal) => { ${body} }, ${options});`;
  const child: ChildProcess = spawn(process.execPath, ["--input-type=module-typescript", "-e", source], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  return new Promise((resolve) => {
    let output = "";
    child.stdout!.on("data", (chunk: Buffer) => {
      output += chunk;
      for (const _line of chunk.toString().matchAll(/\n/g)) {
        const name = signals.shift();
        if (name !== undefined) child.kill(name);
      }
    });
    child.stderr!.on("data", (chunk: Buffer) => {
      output += chunk;
    });
    child.once("close", (code) => resolve({ code, output }));
  });
}

const FOREVER = `console.log("up"); const alive = setInterval(() => {}, 1000);`;
const UNTIL_ABORT = `${FOREVER} await new Promise((resolve) => signal.addEventListener("abort", resolve)); console.log("ended");`;

test("the exit code is what main returns, and 0 for nothing", async () => {
  assert.is((await program("return 3")).code, 3);
  assert.is((await program("")).code, 0);
});

test("an error is printed with its causes and the code is 1", async () => {
  const { code, output } = await program(`throw new Error("open state", { cause: new Error("disk full") })`);
  assert.is(code, 1);
  assert.is(output, "error: open state: disk full\n");
});

test("SIGTERM aborts main, which ends in its own time with code 0", async () => {
  const { code, output } = await program(UNTIL_ABORT, ["SIGTERM"]);
  assert.is(code, 0);
  assert.match(output, "ended");
});

test("SIGINT ends with code 130", async () => {
  assert.is((await program(UNTIL_ABORT, ["SIGINT"])).code, 130);
});

test("a second signal ends a program that takes its time", async () => {
  const body = `${FOREVER} signal.addEventListener("abort", () => console.log("still here")); await new Promise(() => {});`;
  assert.is((await program(body, ["SIGINT", "SIGINT"])).code, 130);
  assert.is((await program(body, ["SIGTERM", "SIGTERM"])).code, 143);
});

test("a main that does not end in its grace is ended", async () => {
  assert.is((await program(`${FOREVER} await new Promise(() => {});`, ["SIGTERM"], "{ graceMs: 100 }")).code, 1);
});

test("a chain of causes that loops is cut", () => {
  const error = new Error("a");
  error.cause = error;
  assert.is(causeChain(error).length, 8);
  assert.equal(causeChain("text"), ["text"]);
});

test.run();
