// time limit: 180 s
// Damaged state under the real control: recovered and said aloud, or refused and said aloud; never an acknowledged write
// silently missing. The appliance alone, without hosts.
import { copyFile, readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { App } from "#api/apps.ts";
import { type Appliance, startAppliance } from "../appliance.ts";
import { openScope, type Scope } from "../scope.ts";
import { ask, controlBack, leavesNothing, statusPart, tailOf } from "./cluster.ts";

interface Context {
  scope: Scope;
  appliance: Appliance;
  made: number;
  /** Acknowledged. */
  written: string[];
}

const store = suite<Context>("survival: store");

store.before(async (context) => {
  context.scope = await openScope();
  context.appliance = await startAppliance(context.scope);
  context.made = 0;
  context.written = [];
});

store.after(({ scope }: Partial<Context>) => scope?.close());

const storeDir = ({ appliance }: Context) => join(appliance.stateDir, "control/store");

/** Acknowledged writes, so that the newest log has something to lose. */
async function write(context: Context, count: number): Promise<void> {
  for (let n = 0; n < count; n++) {
    const name = `app-${++context.made}`;
    await ask(context.appliance, "POST", "/v1/apps", { name });
    context.written.push(name);
  }
}

async function assertAllThere({ appliance, written }: Context): Promise<void> {
  const { items } = await ask<{ items: App[] }>(appliance, "GET", "/v1/apps?limit=200");
  const there = new Set(items.map(({ name }) => name));
  assert.equal(
    written.filter((name) => !there.has(name)),
    [],
    "acknowledged writes are missing",
  );
}

/** LevelDB's write-ahead log with the most in it, or the journal's newest segment. */
async function newest(context: Context, copy: "level" | "journal"): Promise<string> {
  const folder = join(storeDir(context), copy);
  const names = (await readdir(folder)).filter((name) => copy === "journal" || /^\d+\.log$/.test(name));
  const sized = await Promise.all(names.map(async (name) => ({ name, size: (await stat(join(folder, name))).size })));
  const [largest] = sized.sort((a, b) => b.size - a.size);
  if (largest === undefined || largest.size < 1_000) throw new Error(`nothing worth damaging in ${folder}`);
  return join(folder, largest.name);
}

async function flipBit(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  const offset = Math.floor(bytes.length * at);
  bytes[offset] = bytes[offset]! ^ 0x10;
  await writeFile(path, bytes);
}

const cutShort = async (path: string) => truncate(path, Math.floor((await stat(path)).size * 0.6));

const DAMAGES: { what: string; harm: (context: Context) => Promise<void> }[] = [
  { what: "LevelDB's log cut to 60 %", harm: async (c) => cutShort(await newest(c, "level")) },
  { what: "a bit flipped in the middle of LevelDB's log", harm: async (c) => flipBit(await newest(c, "level"), 0.5) },
  { what: "a bit flipped early in LevelDB's log", harm: async (c) => flipBit(await newest(c, "level"), 0.1) },
  { what: "a bit flipped in the journal", harm: async (c) => flipBit(await newest(c, "journal"), 0.5) },
  { what: "the journal cut to 60 %", harm: async (c) => cutShort(await newest(c, "journal")) },
];

for (const { what, harm } of DAMAGES) {
  store(`${what}: recovered in full, and said aloud`, async (context) => {
    const { appliance } = context;
    await write(context, 20);
    await appliance.killAll();
    const logged = (await tailOf(appliance, "control", 1 << 24)).length;
    await harm(context);
    await appliance.start();
    await controlBack(appliance);
    await assertAllThere(context);
    const part = await statusPart(appliance, "store");
    console.log(`${what}: ${part.state}: ${part.message}`);
    assert.is(part.state, "degraded");
    assert.match(part.message, /at open: /);
    assert.match((await tailOf(appliance, "control", 1 << 24)).slice(logged), /damaged and has been recovered/);
    await write(context, 3);
    await assertAllThere(context);
  });
}

store("both copies damaged: refused, said aloud with the reason, and nothing was made worse", async (context) => {
  const { appliance } = context;
  await write(context, 20);
  await appliance.killAll();
  const files = [await newest(context, "level"), await newest(context, "journal")];
  for (const [n, file] of files.entries()) await copyFile(file, join(context.scope.folder, `sound-${n}`));
  for (const file of files) await flipBit(file, 0.5);
  const startedMs = performance.now();
  const { code, stdout, stderr } = await appliance.tryFlynn([
    "up",
    "--state",
    appliance.stateDir,
    "--address",
    appliance.address,
    "--no-host",
  ]);
  console.log(`refused after ${Math.round(performance.now() - startedMs)} ms: ${stderr.trim().split("\n").at(-1)}`);
  assert.is.not(code, 0);
  assert.match(`${stdout}${stderr}`, /damaged and cannot be recovered without loss/);
  for (const [n, file] of files.entries()) await copyFile(join(context.scope.folder, `sound-${n}`), file);
  await appliance.start();
  await controlBack(appliance);
  await assertAllThere(context);
});

store(
  "asked to, it goes on with what verifies and says what it gave up; later starts refuse again",
  async (context) => {
    const { appliance } = context;
    await write(context, 20);
    await appliance.killAll();
    const logged = (await tailOf(appliance, "control", 1 << 24)).length;
    for (const copy of ["level", "journal"] as const) await flipBit(await newest(context, copy), 0.5);
    await appliance.start("--salvage");
    await controlBack(appliance);
    const part = await statusPart(appliance, "store");
    console.log(`salvaged: ${part.state}: ${part.message}`);
    assert.is(part.state, "degraded");
    assert.match(part.message, /can be read from neither copy.*went on with what is left, as asked/);
    assert.match((await tailOf(appliance, "control", 1 << 24)).slice(logged), /went on with what is left, as asked/);
    assert.match(await readFile(join(appliance.stateDir, "run/control.json"), "utf8"), /"salvage": true/);
    context.written = (await ask<{ items: App[] }>(appliance, "GET", "/v1/apps?limit=200")).items.map(
      ({ name }) => name,
    );
    await controlBack(appliance, await appliance.kill9("control"));
    assert.match(await readFile(join(appliance.stateDir, "run/control.json"), "utf8"), /"salvage": false/);
    assert.is((await statusPart(appliance, "store")).state, "ok");
    await assertAllThere(context);
  },
);

store("nothing is left on the machine", ({ scope }) => leavesNothing(scope));

store.run();
