import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { openJournal } from "../../bootstrap/journal.ts";

async function inFolder(work: (path: string) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "flynn-journal-"));
  try {
    await work(join(root, "test.journal"));
  } finally {
    await rm(root, { recursive: true });
  }
}

/** A map kept in a journal: the smallest user of one. */
async function open(path: string, compactAfter?: number) {
  const map = new Map<string, number>();
  const journal = await openJournal<[string, number]>({
    path,
    log: silentLog(),
    compactAfter,
    replay: ([name, value]) => map.set(name, value),
    live: () => map,
  });
  const set = (name: string, value: number) => {
    map.set(name, value);
    return journal.append([name, value]);
  };
  return { map, journal, set };
}

test("what was appended is there after a restart, the last value winning", () =>
  inFolder(async (path) => {
    const first = await open(path);
    await Promise.all([first.set("a", 1), first.set("b", 2), first.set("a", 3)]);
    await first.journal.close();
    const second = await open(path);
    assert.equal(
      [...second.map],
      [
        ["a", 3],
        ["b", 2],
      ],
    );
    await second.journal.close();
  }));

test("a torn last line is left out, and what is appended after it is whole", () =>
  inFolder(async (path) => {
    const first = await open(path);
    await first.set("a", 1);
    await first.set("b", 2);
    await first.journal.close();
    await truncate(path, (await stat(path)).size - 3);
    const second = await open(path);
    assert.equal([...second.map], [["a", 1]]);
    await second.set("c", 3);
    await second.journal.close();
    const third = await open(path);
    assert.equal(
      [...third.map],
      [
        ["a", 1],
        ["c", 3],
      ],
    );
    await third.journal.close();
  }));

test("a flipped bit costs its own line and no other; garbage is not a record", () =>
  inFolder(async (path) => {
    const first = await open(path);
    for (const name of ["a", "b", "c"]) await first.set(name, 1);
    await first.journal.close();
    const bytes = await readFile(path);
    bytes[bytes.indexOf('"b"') + 1]! ^= 1;
    await writeFile(path, bytes);
    await appendFile(path, "00000000 {not json\n\n\0\0\0\0");
    const second = await open(path);
    assert.equal([...second.map.keys()], ["a", "c"]);
    await second.journal.close();
  }));

test("the file is rewritten when it is mostly history", () =>
  inFolder(async (path) => {
    const { set, journal } = await open(path, 100);
    for (let n = 0; n < 1_000; n++) await set("a", n);
    await journal.close();
    const lines = (await readFile(path, "utf8")).split("\n").length;
    assert.ok(lines < 120, `${lines} lines`);
    const again = await open(path);
    assert.is(again.map.get("a"), 999);
    await again.journal.close();
  }));

test("kill -9 between append and answer loses nothing that was answered", () =>
  inFolder(async (path) => {
    const journalModule = fileURLToPath(new URL("../../bootstrap/journal.ts", import.meta.url));
    const source = `
      import { openJournal } from ${JSON.stringify(journalModule)};
      import { silentLog } from "#lib/log.ts";
      const journal = await openJournal({ path: ${JSON.stringify(path)}, log: silentLog(), replay() {}, live: () => [] });
      for (let n = 0; ; n++) { await journal.append(["a", n]); process.stdout.write(n + "\\n"); }`;
    const cwd = fileURLToPath(new URL("../..", import.meta.url));
    const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
      cwd,
      stdio: ["ignore", "pipe", "inherit"],
    });
    let answered = "";
    for await (const chunk of child.stdout) {
      answered += chunk;
      if (answered.split("\n").length > 50) break;
    }
    child.kill("SIGKILL");
    await once(child, "exit");
    const last = Number(answered.trim().split("\n").at(-1));
    const { map, journal } = await open(path);
    await journal.close();
    assert.ok(map.get("a")! >= last, `${map.get("a")} of ${last}`);
  }));

test.run();
