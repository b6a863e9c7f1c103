// Where members keep what Node made of our TypeScript.
import { mkdir, mkdtemp, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { compiledIn } from "../../../cli/up/compiled.ts";

async function withState(work: (stateDir: string) => Promise<void>): Promise<void> {
  const stateDir = await mkdtemp(join(tmpdir(), "flynn-compiled-"));
  try {
    await work(stateDir);
  } finally {
    await rm(stateDir, { recursive: true });
  }
}

test("a program started with it keeps there what was made of its source, for nobody else's eyes", () =>
  withState(async (stateDir) => {
    const env = await compiledIn(stateDir);
    assert.is((await stat(env.NODE_COMPILE_CACHE)).mode & 0o777, 0o700);
    const source = fileURLToPath(new URL("../../../lib/units.ts", import.meta.url));
    await exec([process.execPath, "--input-type=module", "-e", `await import(${JSON.stringify(source)})`], {
      env: { ...process.env, ...env },
      timeoutMs: 60_000,
    });
    assert.ok((await readdir(env.NODE_COMPILE_CACHE, { recursive: true })).length > 0);
  }));

test("what older versions left is thrown away when it has become much, and kept until then", () =>
  withState(async (stateDir) => {
    const folder = join(stateDir, "compiled", "v1");
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "old"), "");
    await truncate(join(folder, "old"), 60 << 20);
    await compiledIn(stateDir);
    assert.equal(await readdir(folder), ["old"]);
    await truncate(join(folder, "old"), 65 << 20);
    await compiledIn(stateDir);
    assert.equal(await readdir(join(stateDir, "compiled")).catch(() => []), []);
  }));

test("where it cannot be kept, members start without it", () =>
  withState(async (stateDir) => {
    await writeFile(join(stateDir, "compiled"), "in its place");
    assert.equal(await compiledIn(stateDir), { NODE_COMPILE_CACHE: join(stateDir, "compiled") });
  }));

test.run();
