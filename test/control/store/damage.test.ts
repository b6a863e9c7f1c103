// time limit: 180 s
// Damage to the files of a killed control plane, seeded: every opening has all acknowledged records or refuses aloud.
import { cp, open, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Fault, isFault } from "#api/fault.ts";
import { createLog, silentLog } from "#lib/log.ts";
import { lookAtJournal } from "../../../control/store/level-look.ts";
import { openLevelLog } from "../../../control/store/log-level.ts";
import { rejection } from "../../contract/log.ts";
import { viewOf } from "../../contract/replica.ts";
import { inScratch } from "./scratch.ts";
import { mutationsOf, workloadView, writeAndKill } from "./workload.ts";

const CASES = 72;

interface Image {
  directory: string;
  acknowledged: number;
}

/** A state directory as a kill leaves it: tables and manifest of earlier openings, a live log, snapshots, journal segments. */
async function crashImage(directory: string): Promise<Image> {
  for (let attempt = 1; ; attempt++) {
    await writeAndKill(directory, 700);
    await (await openLevelLog({ directory, logger: silentLog(), retainRecords: 1000 })).close();
    const acknowledged = await writeAndKill(directory, 400);
    const { found } = await lookAtJournal(directory);
    if (found.state === "clean") return { directory, acknowledged };
    // Rarely the kill comes in the middle of a frame. With one more damage that is two, and then refusing is right.
    assert.is(found.state, "torn");
    assert.ok(attempt < 5, "each kill tore the journal");
    await rm(directory, { recursive: true });
  }
}

/** mulberry32: the same cases every time. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const KINDS = ["truncate", "flip", "zero page"] as const;

async function damage(path: string, kind: (typeof KINDS)[number], random: () => number): Promise<string> {
  const { size } = await stat(path);
  const at = Math.floor(random() * size);
  if (kind === "truncate") await truncate(path, at);
  else {
    const page = kind === "flip" ? at : at - (at % 4096);
    const length = kind === "flip" ? 1 : Math.min(4096, size - page);
    const file = await open(path, "r+");
    try {
      const bytes = Buffer.alloc(length);
      await file.read(bytes, 0, length, page);
      await file.write(
        kind === "flip" ? Buffer.from([bytes[0]! ^ (1 << Math.floor(random() * 8))]) : bytes.fill(0),
        0,
        length,
        page,
      );
    } finally {
      await file.close();
    }
  }
  return `${kind} at ${at} of ${size}`;
}

async function assertComplete(directory: string, acknowledged: number, what: string): Promise<string> {
  const log = await openLevelLog({ directory, logger: silentLog(), retainRecords: 1000 });
  try {
    assert.ok(
      log.headSeq >= acknowledged,
      `${what}: opened with ${log.headSeq} of ${acknowledged} records, ${log.report.outcome}`,
    );
    for (const record of await log.read(log.oldestSeq, 10_000))
      assert.equal(record.mutations, mutationsOf(record.seq), what);
    assert.equal(await viewOf(log), workloadView(log.headSeq), what);
    assert.is(
      log.report.findings.length > 0,
      log.report.outcome === "recovered" || log.report.outcome === "rolled-forward",
      what,
    );
    return log.report.outcome;
  } finally {
    await log.close();
  }
}

test(`${CASES} seeded damages to any one file: all acknowledged records are there, or the opening says what is wrong`, () =>
  inScratch(async (scratch) => {
    const image = await crashImage(join(scratch, "image"));
    const files = (await readdir(image.directory, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(image.directory.length + 1))
      .sort();
    for (const needed of [/\.ldb$/, /level\/\d+\.log$/, /MANIFEST/, /journal-/, /snapshot-/]) {
      assert.ok(
        files.some((file) => needed.test(file)),
        `no ${needed} in ${files.join(" ")}`,
      );
    }
    const random = seeded(20261122);
    const counts: Record<string, number> = {};
    for (let n = 0; n < CASES; n++) {
      const file = files[n % files.length]!;
      const kind = KINDS[Math.floor(n / files.length) % KINDS.length]!;
      const copy = join(scratch, "copy");
      await cp(image.directory, copy, { recursive: true });
      const what = `${file}: ${await damage(join(copy, file), kind, random)}`;
      const outcome = await assertComplete(copy, image.acknowledged, what).catch((error) => {
        if (!isFault(error, "unavailable")) throw error;
        assert.match(error.message, "flynn up --salvage", what);
        assert.ok((error.details!["findings"] as string[]).length > 0, what);
        assert.is(error.retry, false);
        return "refused";
      });
      counts[outcome] = (counts[outcome] ?? 0) + 1;
      await rm(copy, { recursive: true, force: true });
    }
    console.log(
      `${CASES} damages: ${Object.entries(counts)
        .map(([outcome, count]) => `${count} ${outcome}`)
        .join(", ")}`,
    );
    assert.ok(counts["recovered"]! >= 10, "damage was found and healed");
    assert.is(counts["refused"] ?? 0, 0, "damage to one file always heals from the others");
  }));

async function levelLog(directory: string): Promise<string> {
  const names = (await readdir(join(directory, "level"))).filter((name) => name.endsWith(".log")).sort();
  return join(directory, "level", names.at(-1)!);
}

async function journalHead(directory: string): Promise<string> {
  const names = (await readdir(join(directory, "journal"))).filter((name) => name.startsWith("journal-")).sort();
  return join(directory, "journal", names.at(-1)!);
}

test("LevelDB's log cut in half opens in LevelDB without an error; here the records come from the journal, and it is said", () =>
  inScratch(async (directory) => {
    const { acknowledged } = await crashImage(directory);
    const path = await levelLog(directory);
    await truncate(path, Math.floor((await stat(path)).size / 2));
    assert.is(await assertComplete(directory, acknowledged, "half a log"), "recovered");
    assert.is(await assertComplete(directory, acknowledged, "the opening after"), "clean");
  }));

test("LevelDB emptied is rebuilt from snapshot and journal", () =>
  inScratch(async (directory) => {
    const { acknowledged } = await crashImage(directory);
    for (const name of await readdir(join(directory, "level"))) await rm(join(directory, "level", name));
    assert.is(await assertComplete(directory, acknowledged, "no files"), "recovered");
  }));

test("a damaged snapshot is noticed while nothing needs it, said, and replaced", () =>
  inScratch(async (directory) => {
    const { acknowledged } = await crashImage(directory);
    const name = (await readdir(directory))
      .filter((file) => file.startsWith("snapshot-"))
      .sort()
      .at(-1)!;
    await damage(join(directory, name), "flip", seeded(1));
    const lines: string[] = [];
    const logger = createLog("test", { destination: { write: (line: string) => void lines.push(line) } });
    await (await openLevelLog({ directory, logger })).close();
    assert.ok(
      lines.some((line) => line.includes("snapshot is damaged") && line.includes(name)),
      lines.join(""),
    );
    await rm(join(directory, "level"), { recursive: true });
    assert.is(await assertComplete(directory, acknowledged, "rebuilt"), "recovered");
  }));

test("both copies cut short is refused, says what is missing, and salvage opens with what verifies", () =>
  inScratch(async (directory) => {
    await crashImage(directory);
    for (const path of [await levelLog(directory), await journalHead(directory)]) {
      const bytes = await readFile(path);
      bytes.fill(0, bytes.length >> 1, (bytes.length >> 1) + 4096);
      await writeFile(path, bytes);
    }
    const error = (await rejection(openLevelLog({ directory, logger: silentLog() }))) as Fault;
    assert.ok(isFault(error, "unavailable"), String(error));
    assert.match(error.message, /can be read from neither copy/);
    const log = await openLevelLog({ directory, logger: silentLog(), salvage: true });
    try {
      assert.is(log.report.outcome, "recovered");
      const { lost } = log.report.restored!;
      assert.ok(lost!.fromSeq > 1);
      assert.is(log.headSeq, lost!.toSeq, "the numbers of lost records are not used again");
      assert.equal(await viewOf(log), workloadView(lost!.fromSeq - 1));
    } finally {
      await log.close();
    }
  }));

test("a journal of another log is refused", () =>
  inScratch(async (scratch) => {
    const one = join(scratch, "one");
    const other = join(scratch, "other");
    await writeAndKill(one, 50);
    await writeAndKill(other, 50);
    await rm(join(one, "journal"), { recursive: true });
    await cp(join(other, "journal"), join(one, "journal"), { recursive: true });
    const error = await rejection(openLevelLog({ directory: one, logger: silentLog() }));
    assert.match((error as Error).message, "another log");
  }));

test.run();
