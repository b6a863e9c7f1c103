import { spawn } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ExecError, exec, stopChild } from "#lib/exec.ts";
import { until } from "#lib/time.ts";

const script = (source: string) => [process.execPath, "-e", source];

async function failure(work: Promise<unknown>): Promise<ExecError> {
  try {
    await work;
  } catch (error) {
    assert.instance(error, ExecError);
    return error as ExecError;
  }
  throw new Error("it did not fail");
}

test("arguments reach the program as they are: no shell reads them", async () => {
  const hostile = ["$(id)", "a; echo b", "`id`", "*", "'\"", ""];
  const { stdout } = await exec([
    ...script("process.stdout.write(JSON.stringify(process.argv.slice(1)))"),
    "--",
    ...hostile,
  ]);
  assert.equal(JSON.parse(stdout), hostile);
});

test("input is written and output of both streams is told apart", async () => {
  const seen: string[] = [];
  const result = await exec(script("process.stdin.pipe(process.stdout); console.error('side')"), {
    input: "abc",
    onOutput: (_chunk, stream) => seen.push(stream),
  });
  assert.equal(result, { stdout: "abc", stderr: "side\n" });
  assert.equal([...new Set(seen)].sort(), ["stderr", "stdout"]);
});

test("a failing program's error tells its code and its last lines", async () => {
  const error = await failure(exec(script("console.error('first\\nlast words'); process.exit(3)")));
  assert.is(error.exitCode, 3);
  assert.match(error.message, /exited 3: first \| last words/);
});

test("a program that does not exist is an ExecError with its cause", async () => {
  const error = await failure(exec(["/nonexistent/program"]));
  assert.match(error.message, "could not be started");
  assert.is((error.cause as NodeJS.ErrnoException).code, "ENOENT");
});

test("a program past its deadline is killed, one that ignores SIGTERM too", async () => {
  const error = await failure(
    exec(script("process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)"), { timeoutMs: 300 }),
  );
  assert.match(error.message, "took longer than 300 ms");
});

test("an aborted signal kills the program, or keeps it from starting", async () => {
  const controller = new AbortController();
  const running = exec(script("setInterval(() => {}, 1000); console.log('up')"), {
    signal: controller.signal,
    onOutput: () => controller.abort(),
  });
  assert.match((await failure(running)).message, "was cancelled");
  assert.match((await failure(exec(script(""), { signal: controller.signal }))).message, "not started");
});

test("of too much output the tail is kept", async () => {
  const source =
    "for (let i = 0; i < 200_000; i++) process.stdout.write('x'.repeat(9) + '\\n'); process.stdout.write('end')";
  const { stdout } = await exec(script(source), { maxOutputBytes: 100_000 });
  assert.ok(stdout.length <= 200_000, `${stdout.length}`);
  assert.match(stdout, /end$/);
});

test("a program that ends without reading its input does not fail the call", async () => {
  await exec(["/bin/true"], { input: Buffer.alloc(1 << 20) });
});

test("stopChild asks first and kills one that does not listen", async () => {
  const polite = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
  await stopChild(polite, 5_000);
  assert.is(polite.signalCode, "SIGTERM");
  const deaf = spawn(process.execPath, [
    "-e",
    "process.on('SIGTERM', () => {}); console.log('up'); setInterval(() => {}, 1000)",
  ]);
  const listening = new Promise((resolve) => deaf.stdout.once("data", resolve));
  await listening;
  await stopChild(deaf, 100);
  assert.is(deaf.signalCode, "SIGKILL");
  await until(() => !deaf.kill(0), { what: "its end", timeoutMs: 30_000 });
  await stopChild(deaf); // already gone: at once
});

test.run();
