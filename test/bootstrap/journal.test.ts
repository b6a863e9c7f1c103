import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import {
  appendFile,
  mkdtemp,
  open as openForAppending,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { type JournalFile, openJournal } from "../../bootstrap/journal.ts";

async function inFolder(work: (path: string) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "flynn-journal-"));
  try {
    await work(join(root, "test.journal"));
  } finally {
    await rm(root, { recursive: true });
  }
}

/** A map kept in a journal: the smallest user of one. */
async function open(path: string, compactAfter?: number, openFile?: (path: string) => Promise<JournalFile>) {
  const map = new Map<string, number>();
  const journal = await openJournal<[string, number]>({
    path,
    log: silentLog(),
    compactAfter,
    ...(openFile ? { openFile } : {}),
    replay: ([name, value]) => map.set(name, value),
    live: () => map,
  });
  const set = (name: string, value: number) => {
    map.set(name, value);
    return journal.append([name, value]);
  };
  return { map, journal, set };
}

test("a rewriting that could not open its new file loses nothing of what is said to be kept after it", () =>
  inFolder(async (path) => {
    let opened = 0;
    const openFile = async (file: string): Promise<JournalFile> => {
      opened++;
      if (opened === 2) throw new Error("too many open files");
      return openForAppending(file, "a", 0o600);
    };
    const first = await open(path, 4, openFile);
    for (let n = 0; n < 4; n++) await first.set("a", n);
    await until(() => opened === 2, { what: "a rewriting", timeoutMs: 5_000, everyMs: 5 });
    await first.set("b", 7);
    // As a power cut would find it now.
    assert.match(readFileSync(path, "utf8"), /\["b",7\]/);
    await first.journal.close();
    const second = await open(path);
    assert.equal(Object.fromEntries(second.map), { a: 3, b: 7 });
    await second.journal.close();
  }));

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

/** Real files whose syncs wait for `pass`, with the order of what was done to them. */
function slowDisk() {
  const steps: string[] = [];
  const waiting: (() => void)[] = [];
  let isSlow = true;
  const openFile = async (path: string): Promise<JournalFile> => {
    const file = await openForAppending(path, "a", 0o600);
    return {
      async appendFile(text) {
        await file.appendFile(text);
        steps.push("written");
      },
      async datasync() {
        steps.push("sync asked");
        if (isSlow) await new Promise<void>((resolve) => waiting.push(resolve));
        await file.datasync();
        steps.push("synced");
      },
      close: () => file.close(),
    };
  };
  return {
    steps,
    openFile,
    waiting: () => waiting.length,
    pass: () => waiting.shift()!(),
    mend() {
      isSlow = false;
      for (const go of waiting.splice(0)) go();
    },
  };
}

test("a record is answered for when the disk has it: written, synced, then answered", () =>
  inFolder(async (path) => {
    const disk = slowDisk();
    const { set, journal } = await open(path, undefined, disk.openFile);
    const first = set("a", 1).then(() => disk.steps.push("a answered"));
    await until(() => disk.steps.length >= 2, { what: "the first sync", timeoutMs: 20_000, everyMs: 1 });
    // Came while that sync was under way: not part of it, so it waits for the next.
    const second = set("b", 2).then(() => disk.steps.push("b answered"));
    assert.equal(disk.steps, ["written", "sync asked"]);
    disk.pass();
    await first;
    await until(() => disk.waiting() === 1, { what: "the second sync", timeoutMs: 20_000, everyMs: 1 });
    assert.equal(disk.steps, ["written", "sync asked", "synced", "a answered", "written", "sync asked"]);
    disk.pass();
    await second;
    assert.equal(disk.steps.slice(6), ["synced", "b answered"]);
    disk.mend();
    await journal.close();
  }));

test("records that come together share one sync; after a rewrite the new file is synced just so", () =>
  inFolder(async (path) => {
    const disk = slowDisk();
    const { set, journal } = await open(path, 10, disk.openFile);
    const all = Promise.all(Array.from({ length: 40 }, (_, n) => set("a", n)));
    await until(() => disk.waiting() === 1, { what: "the sync", timeoutMs: 20_000, everyMs: 1 });
    disk.pass();
    await all;
    assert.equal(disk.steps, ["written", "sync asked", "synced"]);
    const next = set("a", 40).then(() => disk.steps.push("answered"));
    await until(() => disk.waiting() === 1, { what: "the sync", timeoutMs: 20_000, everyMs: 1 });
    assert.is((await readFile(path, "utf8")).trim().split("\n").length, 2, "it was rewritten");
    disk.pass();
    await next;
    assert.equal(disk.steps.slice(3), ["written", "sync asked", "synced", "answered"]);
    await journal.close();
  }));

test("a record that the disk did not take is refused, and the next one is tried anew", () =>
  inFolder(async (path) => {
    let isBroken = true;
    const { set, journal } = await open(path, undefined, async (file) => {
      const handle = await openForAppending(file, "a", 0o600);
      return {
        appendFile: (text) => handle.appendFile(text),
        datasync: () => (isBroken ? Promise.reject(new Error("EIO")) : handle.datasync()),
        close: () => handle.close(),
      };
    });
    const refused = await set("a", 1).then(
      () => "answered",
      (error: Error) => error.message,
    );
    assert.match(refused, /^append to /);
    isBroken = false;
    await set("b", 2);
    await journal.close();
    const again = await open(path);
    assert.is(again.map.get("b"), 2);
    await again.journal.close();
  }));

test("what it said is kept is kept, though the disk was full for a moment before it", () =>
  inFolder(async (path) => {
    let isFull = false;
    const { set, journal } = await open(path, undefined, async (file) => {
      const handle = await openForAppending(file, "a", 0o600);
      return {
        // As write(2) does it: what there is room for, then no more.
        async appendFile(text) {
          if (!isFull) return handle.appendFile(text);
          const whole = String(text);
          await handle.appendFile(whole.slice(0, whole.length >> 1));
          throw new Error("ENOSPC: no space left on device, write");
        },
        datasync: () => handle.datasync(),
        close: () => handle.close(),
      };
    });
    await set("before", 1);
    isFull = true;
    for (const name of ["refused", "refused again"])
      assert.match(await set(name, 1).then(String, (error: Error) => error.message), /^append to /);
    isFull = false;
    await set("kept", 1);
    await set("later", 1);
    await journal.close();
    const again = await open(path);
    assert.equal([...again.map.keys()], ["before", "kept", "later"]);
    await again.journal.close();
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
import { until } from "#lib/time.ts";
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
