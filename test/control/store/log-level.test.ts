// The Log contract on LevelDB, and what only this adapter promises: one owner, a full disk, snapshots.
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Fault, isFault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { IDEMPOTENCY_PREFIX, type Log } from "../../../control/store/log.ts";
import { openLevelLog } from "../../../control/store/log-level.ts";
import { logContract, recordAt, rejection } from "../../contract/log.ts";
import { replicaContract, viewOf } from "../../contract/replica.ts";
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

replicaContract(
  "level",
  test,
  async () => {
    const directory = await mkdtemp(join(tmpdir(), "store-test-"));
    let log = await openLevelLog({ directory, logger });
    const row = async (key: string) => (await viewOf(log)).get(key);
    return {
      take: async (records) => log.append(records.map((record) => ({ ...record, term: log.term }))),
      async restart() {
        await log.close();
        log = await openLevelLog({ directory, logger });
      },
      seq: () => log.view.seq,
      get: row,
      entries: async () =>
        new Map(
          [...(await viewOf(log))]
            .filter(([key]) => !key.startsWith(IDEMPOTENCY_PREFIX))
            .map(([key, { value, version }]) => [key, { value, version }]),
        ),
      async outcome(key) {
        const found = (await row(IDEMPOTENCY_PREFIX + key))?.value as { seq: number; hash: string; result: unknown };
        return found && { seq: found.seq, hash: found.hash, result: found.result };
      },
      async destroy() {
        await log.close();
        await rm(directory, { recursive: true, force: true });
      },
    };
  },
  { runs: 8 },
);

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

test("why no snapshot can be taken is known until one can be again", () =>
  inScratch(async (directory) => {
    const log = await openLevelLog({ directory, logger, snapshotEveryMs: 20 });
    try {
      const inTheWay = ["1", "2"].map((seq) => join(directory, `snapshot-${seq.padStart(16, "0")}.ndjson`));
      for (const path of inTheWay) await mkdir(join(path, "full"), { recursive: true });
      await log.append([recordAt(log, 1)]);
      await until(() => log.snapshotProblem, { what: "the failure", timeoutMs: 5_000, everyMs: 10 });
      for (const path of inTheWay) await rm(path, { recursive: true });
      await log.append([recordAt(log, 2)]);
      await until(() => log.snapshotProblem === undefined, { what: "a snapshot", timeoutMs: 5_000, everyMs: 10 });
    } finally {
      await log.close();
    }
  }));

test("a journal segment that cannot be made is no failed write: the one before it goes on until one can be made", () =>
  inScratch(async (directory) => {
    const log = await openLevelLog({ directory, logger, snapshotEveryMs: 10 });
    try {
      const inTheWay = ["2", "3", "4"].map((seq) => join(directory, "journal", `journal-${seq.padStart(16, "0")}.log`));
      for (const path of inTheWay) await mkdir(join(path, "full"), { recursive: true });
      for (const seq of [1, 2, 3]) {
        await log.append([recordAt(log, seq)]);
        await until(() => log.snapshotProblem, { what: "the failure", timeoutMs: 5_000, everyMs: 5 });
      }
      assert.is(log.paused, undefined);
      for (const path of inTheWay) await rm(path, { recursive: true });
      await log.append([recordAt(log, 4)]);
      await until(() => log.snapshotProblem === undefined, { what: "a snapshot", timeoutMs: 5_000, everyMs: 5 });
    } finally {
      await log.close();
    }
    const again = await openLevelLog({ directory, logger });
    assert.is((await viewOf(again)).size, 4);
    await again.close();
  }));

test.run();
