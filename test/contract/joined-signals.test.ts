// Signals are joined by lib/time.ts, which lets go of them. `AbortSignal.any` never does: one that lives as long as its program keeps all
// that was ever joined with it. Where it stands all the same it is called once in a program's life.
import { readdir, readFile } from "node:fs/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";

const ONCE = ["control/main.ts", "control/wire.ts", "hostd/program.ts", "router/main.ts"];

test("no program joins signals in a way that keeps them, but once at its start", async () => {
  const found: string[] = [];
  for (const folder of ["api", "bootstrap", "control", "hostd", "images", "lib", "router"])
    for (const name of await readdir(folder, { recursive: true })) {
      if (!name.endsWith(".ts")) continue;
      const text = await readFile(`${folder}/${name}`, "utf8");
      const calls = text.match(/AbortSignal\.any\(/g)?.length ?? 0;
      found.push(...Array<string>(calls).fill(`${folder}/${name}`));
    }
  assert.equal(found.sort(), ONCE);
});

test.run();
