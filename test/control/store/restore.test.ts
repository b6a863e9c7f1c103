// Restoring offline: what is proven comes back, what is lost is named, and the directory as it was stays beside it.
import { createHash } from "node:crypto";
import { cp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Fault, isFault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import type { LevelLog } from "../../../control/store/log-level.ts";
import { openLevelLog } from "../../../control/store/log-level.ts";
import { backupState, replacedBy, restoreState } from "../../../control/store/restore.ts";
import { rejection } from "../../contract/log.ts";
import { viewOf } from "../../contract/replica.ts";
import { inScratch } from "./scratch.ts";
import { workloadRecord, workloadView } from "./workload.ts";

const logger = silentLog();
const now = new Date("2026-11-22T10:00:00.000Z");

async function withLog<T>(directory: string, body: (log: LevelLog) => Promise<T>): Promise<T> {
  const log = await openLevelLog({ directory, logger });
  try {
    return await body(log);
  } finally {
    await log.close();
  }
}

async function write(log: LevelLog, records: number): Promise<void> {
  for (let n = 0; n < records; n++) await log.append([workloadRecord(log.headSeq + 1, log.term)]);
}

/** A directory as a kill leaves it: a snapshot at record 100, a live log and journal to record 300. */
async function crashed(scratch: string): Promise<string> {
  const live = join(scratch, "live");
  const directory = join(scratch, "store");
  await withLog(live, (log) => write(log, 100));
  await withLog(live, async (log) => {
    await write(log, 200);
    await cp(live, directory, { recursive: true });
  });
  await rm(live, { recursive: true });
  await rm(join(directory, "owner.json"));
  return directory;
}

async function newest(folder: string, name: RegExp): Promise<string> {
  const found = (await readdir(folder)).filter((file) => name.test(file)).sort();
  return join(folder, found.at(-1)!);
}

async function zero(path: string, from: number, to = from + 0.01): Promise<void> {
  const bytes = await readFile(path);
  await writeFile(path, bytes.fill(0, Math.floor(bytes.length * from), Math.ceil(bytes.length * to)));
}

async function contents(directory: string): Promise<Map<string, string>> {
  const files = (await readdir(directory, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const paths = files.map((file) => join(file.parentPath, file.name)).sort();
  return new Map(
    await Promise.all(paths.map(async (path) => [path.slice(directory.length), await readFile(path, "hex")] as const)),
  );
}

async function brokenTwice(scratch: string): Promise<string> {
  const directory = await crashed(scratch);
  await zero(await newest(join(directory, "level"), /^\d+\.log$/), 0.4, 0.8);
  await zero(await newest(join(directory, "journal"), /^journal-/), 0.5, 0.7);
  assert.ok(isFault(await rejection(openLevelLog({ directory, logger })), "unavailable"));
  return directory;
}

test("both copies damaged: the longest proven part comes back, the lost range is named, the old directory is kept to the byte", () =>
  inScratch(async (scratch) => {
    const directory = await brokenTwice(scratch);
    const before = await contents(directory);
    const restored = (await restoreState({ directory, now }))!;
    assert.ok(restored.seq > 100 && restored.seq < 300, `${restored.seq}`);
    assert.is(restored.lost!.fromSeq, restored.seq + 1);
    assert.is(restored.lost!.toSeq, 300);
    assert.is(restored.lost!.after, "2026-11-22T00:00:00.000Z");
    assert.ok(Math.abs(Date.parse(restored.lost!.until!) - Date.now()) < 60_000, restored.lost!.until);
    assert.is(restored.asideDir, `${directory}.damaged-2026-11-22T10-00-00-000Z`);
    assert.equal(await contents(restored.asideDir!), before);
    await withLog(directory, async (log) => {
      assert.is(log.report.outcome, "clean");
      assert.is(log.headSeq, 300, "the numbers of lost records are not used again");
      assert.is(log.oldestSeq, 301);
      assert.ok(log.term > 1000, "orders of the lost part are older");
      assert.equal(await viewOf(log), workloadView(restored.seq));
      await log.append([workloadRecord(301, log.term)]);
      assert.is((await log.read(301, 10)).length, 1);
    });
    assert.equal((await readdir(scratch)).sort(), ["store", "store.damaged-2026-11-22T10-00-00-000Z"]);
    await withLog(directory, async (log) => assert.is(log.report.outcome, "clean"));
  }));

test("without LevelDB and without a journal the newest snapshot that verifies is what comes back", () =>
  inScratch(async (scratch) => {
    const directory = await crashed(scratch);
    await rm(join(directory, "journal"), { recursive: true });
    await rm(join(directory, "level", "CURRENT"));
    assert.ok(isFault(await rejection(openLevelLog({ directory, logger })), "unavailable"));
    const restored = (await restoreState({ directory, now }))!;
    assert.is(restored.seq, 100);
    assert.ok(Math.abs(Date.parse(restored.at!) - Date.now()) < 60_000, `it is of ${restored.at}`);
    await withLog(directory, async (log) => assert.equal(await viewOf(log), workloadView(100)));
  }));

test("when a state was the newest is known of every backup: of a control that runs, of one that has ended, of a restored one", () =>
  inScratch(async (scratch) => {
    const directory = join(scratch, "store");
    const backup = (name: string) => backupState(directory, join(scratch, name));
    await withLog(directory, async (log) => {
      await write(log, 50);
      await backup("running");
    });
    await backup("ended");
    const atOf = async (from: string) => {
      const to = join(scratch, `of-${from}`);
      const { at } = (await restoreState({ directory: to, from: join(scratch, from), now }))!;
      await backupState(to, join(scratch, `again-${from}`));
      return at;
    };
    const made = workloadRecord(50, 0).at;
    assert.is(await atOf("running"), made);
    assert.is(await atOf("again-running"), made);
    for (const from of ["ended", "store", "again-ended"]) {
      const at = await atOf(from);
      assert.ok(Math.abs(Date.parse(at!) - Date.now()) < 60_000, `${from} is of ${at}`);
    }
    // A file of before the time was kept in it.
    const [header, ...rows] = (await readFile(join(scratch, "ended"), "utf8")).trimEnd().split("\n").slice(0, -1);
    const { at: _, ...former } = JSON.parse(header!);
    const text = [JSON.stringify(former), ...rows, ""].join("\n");
    await writeFile(join(scratch, "former"), `${text}${createHash("sha256").update(text).digest("hex")}\n`);
    assert.is(await atOf("former"), (await stat(join(scratch, "former"))).mtime.toISOString());
  }));

test("a directory that opens without loss is left as it is", () =>
  inScratch(async (scratch) => {
    const directory = await crashed(scratch);
    await zero(await newest(join(directory, "level"), /^\d+\.log$/), 0.4); // one copy: healed at the next start
    const before = await contents(directory);
    assert.is(await restoreState({ directory, now }), undefined);
    assert.equal(await contents(directory), before);
    assert.equal(await readdir(scratch), ["store"]);
  }));

test("a directory in use is refused, naming the process, and changes nothing", () =>
  inScratch(async (scratch) => {
    const directory = join(scratch, "store");
    await withLog(directory, async (log) => {
      await write(log, 10);
      const error = (await rejection(restoreState({ directory, now }))) as Fault;
      assert.ok(isFault(error, "conflict"), String(error));
      assert.match(error.message, `process ${process.pid} `);
      await write(log, 10);
    });
    await withLog(directory, async (log) => assert.equal(await viewOf(log), workloadView(20)));
    assert.equal(await readdir(scratch), ["store"]);
  }));

test("a directory that proves nothing is refused and kept", () =>
  inScratch(async (scratch) => {
    const directory = join(scratch, "store");
    await withLog(directory, (log) => write(log, 10));
    for (const [path] of await contents(directory)) await writeFile(join(directory, path), "");
    const before = await contents(directory);
    const error = await rejection(restoreState({ directory, now }));
    assert.ok(isFault(error, "unavailable"), String(error));
    assert.match((error as Error).message, "--from");
    assert.equal(await contents(directory), before);
  }));

test("a backup of a control that runs has every record that was acknowledged, and restores on an empty machine", () =>
  inScratch(async (scratch) => {
    const out = join(scratch, "backup.ndjson");
    const seq = await withLog(join(scratch, "live"), async (log) => {
      await write(log, 150);
      const { seq, sizeBytes } = await backupState(join(scratch, "live"), out);
      assert.is(sizeBytes + 65, (await stat(out)).size);
      assert.is((await stat(out)).mode & 0o777, 0o600);
      return seq;
    });
    assert.is(seq, 150);
    const directory = join(scratch, "elsewhere", "store");
    const restored = (await restoreState({ directory, from: out, now }))!;
    assert.is(restored.asideDir, undefined);
    assert.is(restored.lost, undefined);
    await withLog(directory, async (log) => {
      assert.is(log.report.outcome, "clean");
      assert.equal(await viewOf(log), workloadView(150));
    });
  }));

test("a backup taken while records are written is whole: the view as of one record", () =>
  inScratch(async (scratch) => {
    const live = join(scratch, "live");
    await withLog(live, async (log) => {
      let done = false;
      const writing = write(log, 400).finally(() => {
        done = true;
      });
      const seqs: number[] = [];
      for (let n = 0; !done; n++) {
        const acknowledged = log.headSeq;
        const out = join(scratch, `backup-${n}`);
        const { seq } = await backupState(live, out);
        assert.ok(seq >= acknowledged, `${seq} of ${acknowledged}`);
        const directory = join(scratch, `store-${n}`);
        if (n % 4 === 0) {
          await restoreState({ directory, from: out, now });
          await withLog(directory, async (copy) => assert.equal(await viewOf(copy), workloadView(seq)));
        }
        seqs.push(seq);
      }
      await writing;
      assert.ok(seqs.length > 1, "there was more than one");
    });
  }));

test("an older backup over newer state says which records are undone, and goes on after their numbers and terms", () =>
  inScratch(async (scratch) => {
    const directory = join(scratch, "store");
    const out = join(scratch, "backup");
    await withLog(directory, async (log) => {
      await write(log, 50);
      await backupState(directory, out);
      await write(log, 30);
    });
    const term = await withLog(directory, async (log) => log.term);
    const restored = (await restoreState({ directory, from: out, replace: true, now }))!;
    assert.equal([restored.seq, restored.lost!.fromSeq, restored.lost!.toSeq], [50, 51, 80]);
    await withLog(directory, async (log) => {
      assert.is(log.headSeq, 80);
      assert.ok(log.term > term);
      assert.equal(await viewOf(log), workloadView(50));
    });
  }));

test("healthy state is not given up to a backup unasked: what would be undone is named, and it can be taken back whole", () =>
  inScratch(async (scratch) => {
    const directory = join(scratch, "store");
    const out = join(scratch, "backup");
    await withLog(directory, async (log) => {
      await write(log, 50);
      await backupState(directory, out);
      await write(log, 30);
    });
    const { sound, from, to } = (await replacedBy({ directory, from: out }))!;
    assert.equal([sound, from.seq, to.seq], [true, 80, 50]);
    assert.ok(from.at, "when it was last changed");
    const refused = await rejection(restoreState({ directory, from: out, now }));
    assert.ok(isFault(refused, "conflict"), String(refused));
    await withLog(directory, async (log) => assert.equal(await viewOf(log), workloadView(80)));
    assert.equal((await readdir(scratch)).sort(), ["backup", "store"]);
    const { asideDir } = (await restoreState({ directory, from: out, replace: true, now }))!;
    assert.is(asideDir, `${directory}.before-2026-11-22T10-00-00-000Z`);
    const term = await withLog(directory, async (log) => log.term);
    const before = await contents(asideDir!);
    const back = (await restoreState({ directory, from: asideDir, replace: true, now }))!;
    assert.equal([back.seq, back.lost], [80, undefined]);
    assert.equal(await contents(asideDir!), before);
    await withLog(directory, async (log) => {
      assert.equal(await viewOf(log), workloadView(80));
      assert.ok(log.term > term, "orders of the time between are older");
    });
  }));

test("damaged state is given up unasked to a backup that reaches as far, and not to one that undoes what verifies", () =>
  inScratch(async (scratch) => {
    const directory = await brokenTwice(scratch);
    const [older, newer] = [join(scratch, "older"), join(scratch, "newer")];
    await withLog(join(scratch, "other"), async (log) => {
      await write(log, 20);
      await backupState(join(scratch, "other"), older);
      await write(log, 280);
      await backupState(join(scratch, "other"), newer);
    });
    assert.is((await replacedBy({ directory, from: older }))!.sound, false);
    assert.ok(isFault(await rejection(restoreState({ directory, from: older, now })), "conflict"));
    assert.is(await replacedBy({ directory, from: newer }), undefined);
    const restored = (await restoreState({ directory, from: newer, now }))!;
    assert.equal([restored.seq, restored.asideDir], [300, `${directory}.damaged-2026-11-22T10-00-00-000Z`]);
  }));

test("a file that is not there, a directory that is no state, and a directory to write into that is not there are named so", () =>
  inScratch(async (scratch) => {
    const directory = join(scratch, "store");
    const missing = await rejection(restoreState({ directory, from: join(scratch, "none"), now }));
    assert.ok(isFault(missing, "not-found"), String(missing));
    assert.match((missing as Error).message, /there is no file .*none$/);
    const other = await rejection(restoreState({ directory, from: scratch, now }));
    assert.ok(isFault(other, "invalid"), String(other));
    assert.equal(await readdir(scratch), []);
    await withLog(directory, (log) => write(log, 5));
    const nowhere = await rejection(backupState(directory, join(scratch, "nodir", "b")));
    assert.ok(isFault(nowhere, "not-found"), String(nowhere));
    assert.match((nowhere as Error).message, /there is no directory .*nodir/);
    assert.equal(await readdir(scratch), ["store"]);
  }));

test("a backup that is cut short or changed is refused and the state stays", () =>
  inScratch(async (scratch) => {
    const directory = join(scratch, "store");
    const out = join(scratch, "backup");
    await withLog(directory, (log) => write(log, 50));
    await backupState(directory, out);
    const whole = await readFile(out);
    const flipped = Buffer.from(whole);
    flipped[whole.length >> 1]! ^= 1;
    for (const bytes of [whole.subarray(0, whole.length >> 1), flipped, Buffer.alloc(0)]) {
      await writeFile(out, bytes);
      assert.ok(isFault(await rejection(restoreState({ directory, from: out, now })), "invalid"));
    }
    await withLog(directory, async (log) => assert.equal(await viewOf(log), workloadView(50)));
  }));

test("a backup of a damaged journal is refused, and never replaces a file", () =>
  inScratch(async (scratch) => {
    const directory = await crashed(scratch);
    const out = join(scratch, "backup");
    await writeFile(out, "mine");
    assert.ok(isFault(await rejection(backupState(directory, out)), "conflict"));
    assert.is(await readFile(out, "utf8"), "mine");
    await zero(await newest(join(directory, "journal"), /^journal-/), 0.6);
    const error = await rejection(backupState(directory, join(scratch, "other")));
    assert.ok(isFault(error, "unavailable"), String(error));
    assert.equal((await readdir(scratch)).sort(), ["backup", "store"]);
  }));

test.run();
