// The Log contract on LevelDB, and what only this adapter promises: one owner, a full disk, snapshots.
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Fault, isFault } from "#api/fault.ts";
import { exec } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import type { Log } from "../../../control/store/log.ts";
import { openLevelLog } from "../../../control/store/log-level.ts";
import { logContract, recordAt, rejection, viewOf } from "../../contract/log.ts";
import { inScratch } from "./scratch.ts";

const logger = silentLog();

logContract("level", test, async () => {
  const directory = await mkdtemp(join(tmpdir(), "store-test-"));
  let opened: Log | undefined;
  return {
    open: async (options) => (opened = await openLevelLog({ directory, logger, ...options })),
    destroy: async () => {
      await opened?.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
});

test("a second opening is refused and names the process that has the directory", () =>
  inScratch(async (directory) => {
    const log = await openLevelLog({ directory, logger });
    try {
      const error = (await rejection(openLevelLog({ directory, logger }))) as Fault;
      assert.ok(isFault(error, "conflict"));
      assert.match(error.message, `process ${process.pid} `);
      await log.append([recordAt(log, 1)]);
    } finally {
      await log.close();
    }
  }));

test("an owner file left behind by a process that is gone does not matter", () =>
  inScratch(async (directory) => {
    await writeFile(
      join(directory, "owner.json"),
      JSON.stringify({ pid: process.pid, startTicks: "1", program: "x", since: "y" }),
    );
    const log = await openLevelLog({ directory, logger });
    await log.close();
    assert.not.ok((await readdir(directory)).includes("owner.json"));
  }));

test("a close leaves a snapshot, two are kept, and the journal before them goes", () =>
  inScratch(async (directory) => {
    for (const seq of [1, 2, 3, 4]) {
      const log = await openLevelLog({ directory, logger });
      await log.append([recordAt(log, seq)]);
      await log.close();
    }
    const files = await readdir(directory, { recursive: true });
    const named = (pattern: RegExp) => files.filter((file) => pattern.test(file)).sort();
    assert.equal(named(/snapshot/), ["snapshot-0000000000000003.ndjson", "snapshot-0000000000000004.ndjson"]);
    assert.equal(named(/journal-/), ["journal/journal-0000000000000004.log", "journal/journal-0000000000000005.log"]);
  }));

test("snapshots taken while records are written are each whole, and LevelDB can be rebuilt from them", () =>
  inScratch(async (directory) => {
    const log = await openLevelLog({ directory, logger, snapshotJournalBytes: 20_000 });
    for (let seq = 1; seq <= 3000; seq++) {
      const appended = log.append([
        recordAt(log, seq, [{ key: `a/${seq % 300}`, value: { seq, pad: "x".repeat(50) } }]),
      ]);
      if (seq % 100 === 0) await appended;
    }
    const view = await viewOf(log);
    await log.close();
    await rm(join(directory, "level"), { recursive: true });
    const again = await openLevelLog({ directory, logger });
    try {
      assert.is(again.report.outcome, "recovered");
      assert.is(again.headSeq, 3000);
      assert.equal(await viewOf(again), view);
    } finally {
      await again.close();
    }
  }));

test("a full disk is fatal once: later appends are refused, and after space is freed every acknowledged record is there", async () => {
  const mount = await mkdtemp(join(tmpdir(), "store-full-"));
  let mounted = false;
  let log: Log | undefined;
  try {
    await exec(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", mount]); // needs root, as all of the lab does
    mounted = true;
    const directory = join(mount, "state");
    await mkdir(directory);
    const filler = join(mount, "filler");
    await writeFile(filler, Buffer.alloc(12 << 20));
    const told: Error[] = [];
    log = await openLevelLog({ directory, logger, onFatal: (error) => told.push(error) });
    let acknowledged = 0;
    let refused: unknown;
    for (let seq = 1; refused === undefined && seq < 10_000; seq++) {
      const value = { seq, pad: String(seq).repeat(2000).slice(0, 8000) };
      await log.append([recordAt(log, seq, [{ key: `a/${seq}`, value }])]).then(
        () => {
          acknowledged = seq;
        },
        (error) => {
          refused = error;
        },
      );
    }
    assert.ok(isFault(refused, "unavailable"), String(refused));
    assert.ok(acknowledged > 0);
    await rm(filler); // space again, but after a failed write nobody knows what the disk holds
    assert.ok(isFault(await rejection(log.append([recordAt(log, acknowledged + 2)])), "unavailable"));
    assert.is(told.length, 1);
    await log.close();
    log = await openLevelLog({ directory, logger });
    const { headSeq } = log;
    assert.ok(headSeq >= acknowledged, `${headSeq} of ${acknowledged}`);
    assert.is((await viewOf(log)).size, headSeq);
    await log.append([recordAt(log, headSeq + 1)]);
  } finally {
    await log?.close();
    if (mounted) await until(() => exec(["umount", mount]).then(() => true), { what: "unmounting", timeoutMs: 5_000 });
    await rm(mount, { recursive: true, force: true });
  }
});

test.run();
