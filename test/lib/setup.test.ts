import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { until } from "#lib/time.ts";

const SETUP = fileURLToPath(import.meta.resolve("#lib/setup.mjs"));
const setup = suite<{ folder: string }>("setup");

setup.before(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "flynn-setup-"));
});

setup.after(async ({ folder }) => {
  await rm(folder, { recursive: true, force: true });
});

async function start(folder: string, source: string, args: string[] = []) {
  const script = join(folder, `${Math.random().toString(36).slice(2)}.ts`);
  await writeFile(script, source);
  const child = spawn(process.execPath, [SETUP, "--", script, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const state = { output: "" };
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      state.output += chunk;
    });
  }
  const exited = new Promise<number | null>((resolve) => child.once("close", resolve));
  return { child, exited, output: () => state.output };
}

setup("the script runs with the pinned Node, gets its arguments and gives its exit code", async ({ folder }) => {
  const { exited, output } = await start(
    folder,
    `console.log(process.version, JSON.stringify(process.argv.slice(2))); process.exit(9);`,
    ["a b", "--c"],
  );
  assert.is(await exited, 9);
  assert.match(output(), /^v24\.\S+ \["a b","--c"\]\n$/);
});

const COUNTING = `
  process.on("SIGINT", () => console.log("interrupted"));
  process.on("SIGTERM", () => { console.log("terminated"); process.exit(7); });
  console.log("up"); setInterval(() => {}, 1000);`;

setup("a Ctrl-C that arrives twice, from the terminal and from npm, reaches the script once", async ({ folder }) => {
  const { child, exited, output } = await start(folder, COUNTING);
  await until(() => output().includes("up"), { what: "its start", timeoutMs: 10_000 });
  child.kill("SIGINT");
  child.kill("SIGINT");
  const sentMs = performance.now();
  await until(() => performance.now() - sentMs > 700, { what: "time for a later signal", timeoutMs: 30_000 });
  child.kill("SIGTERM");
  assert.is(await exited, 7);
  assert.is(output(), "up\ninterrupted\nterminated\n");
});

setup("the script is told to end when setup is killed outright", async ({ folder }) => {
  const { child, output } = await start(folder, COUNTING);
  await until(() => output().includes("up"), { what: "its start", timeoutMs: 10_000 });
  child.kill("SIGKILL");
  await until(() => output().includes("terminated"), { what: "the script's end", timeoutMs: 30_000 });
});

setup("a script that dies of a signal gives 128 and its number", async ({ folder }) => {
  assert.is(
    await (await start(folder, `process.kill(process.pid, "SIGKILL"); setInterval(() => {}, 1000);`)).exited,
    137,
  );
});

setup("an unknown set of packages and missing arguments are refused before anything is done", async () => {
  for (const args of [
    ["--apt", "nope", "--", "a.ts"],
    ["--apt", "constructor", "--", "a.ts"],
    ["--apt", "", "--", "a.ts"],
    ["a.ts"],
    [],
  ]) {
    const child = spawn(process.execPath, [SETUP, ...args], { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (chunk) => {
      said += chunk;
    });
    assert.is(await new Promise((resolve) => child.once("close", resolve)), 2, args.join(" "));
    assert.match(said, /^error: (usage|no set of packages)/);
  }
});

setup.run();
