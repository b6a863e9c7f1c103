// What every adapter of the Log port must do. A suite file calls `logContract` once per back end and then `test.run()`.
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import type { Log, LogRecord } from "../../control/store/log.ts";

/** One log's storage: opened any number of times in turn, then destroyed. */
export interface LogHome {
  open(options?: { retainRecords?: number }): Promise<Log>;
  destroy(): Promise<void>;
}

type Test = (title: string, body: () => Promise<void>) => void;

export function recordAt(
  log: { term: number },
  seq: number,
  mutations: LogRecord["mutations"] = [{ key: `jobs/${seq}`, value: { seq } }],
): LogRecord {
  return { seq, term: log.term, at: "2026-11-22T00:00:00.000Z", actor: "contract", mutations };
}

export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => assert.unreachable("it was accepted"),
    (error) => error,
  );
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

export function logContract(name: string, test: Test, makeHome: () => Promise<LogHome>): void {
  const claim = (title: string, body: (home: LogHome) => Promise<void>) =>
    test(`${name}: ${title}`, async () => {
      const home = await makeHome();
      try {
        await body(home);
      } finally {
        await home.destroy();
      }
    });

  claim("a new log is empty and starts at seq 1", async (home) => {
    const log = await home.open();
    assert.is(log.headSeq, 0);
    assert.is(log.oldestSeq, 1);
    assert.equal(await log.read(1, 10), []);
    await log.append([recordAt(log, 1)]);
    assert.is(log.headSeq, 1);
    await log.close();
  });

  claim("records come back as they were written, after a new opening too", async (home) => {
    const first = await home.open();
    const hostile = [
      {
        key: "jobs/__proto__",
        value: { constructor: 1, list: [null, true, 1.5, '\u2028 \ud83d\ude00 \\ " \n #1 2 3'] },
      },
      { key: "jobs/ünï", value: "x" },
    ];
    const records = [
      recordAt(first, 1, hostile),
      { ...recordAt(first, 2), idempotency: { key: "k", hash: "h", result: { id: 7 } } },
    ];
    await first.append(records);
    assert.equal(await first.read(1, 10), records);
    await first.close();
    const second = await home.open();
    assert.equal(await second.read(1, 10), records);
    assert.is(second.headSeq, 2);
    await second.close();
  });

  claim("overlapping appends keep their order and all become durable", async (home) => {
    const log = await home.open();
    const finished: number[] = [];
    await Promise.all(range(1, 500).map((seq) => log.append([recordAt(log, seq)]).then(() => finished.push(seq))));
    assert.equal(finished, range(1, 500));
    assert.equal(
      (await log.read(1, 1000)).map((record) => record.seq),
      range(1, 500),
    );
    await log.close();
  });

  claim("a seq that does not follow is refused and changes nothing", async (home) => {
    const log = await home.open();
    await log.append([recordAt(log, 1)]);
    for (const seq of [1, 3]) await rejection((async () => log.append([recordAt(log, seq)]))());
    assert.is(log.headSeq, 1);
    await log.append([recordAt(log, 2)]);
    await log.close();
  });

  claim("read gives at most the limit and ends at the head", async (home) => {
    const log = await home.open();
    await log.append(range(1, 30).map((seq) => recordAt(log, seq)));
    assert.equal(
      (await log.read(5, 3)).map((record) => record.seq),
      [5, 6, 7],
    );
    assert.equal(
      (await log.read(29, 100)).map((record) => record.seq),
      [29, 30],
    );
    assert.equal(await log.read(31, 100), []);
    await log.close();
  });

  claim("trimmed records are gone, and the newest record stays", async (home) => {
    const log = await home.open();
    await log.append(range(1, 30).map((seq) => recordAt(log, seq)));
    await log.trim(21);
    assert.is(log.oldestSeq, 21);
    assert.ok(isFault(await rejection(log.read(20, 1)), "gone"));
    assert.equal(
      (await log.read(21, 100)).map((record) => record.seq),
      range(21, 30),
    );
    await log.trim(1000);
    assert.is(log.oldestSeq, 30);
    await log.close();
    const again = await home.open();
    assert.is(again.oldestSeq, 30);
    await again.append([recordAt(again, 31)]);
    await again.close();
  });

  claim("the log keeps about as many records as asked, by itself", async (home) => {
    const log = await home.open({ retainRecords: 100 });
    for (const seq of range(1, 2000)) {
      const appended = log.append([recordAt(log, seq, [{ key: "a/1", value: seq }])]);
      if (seq % 50 === 0) await appended;
    }
    const kept = log.headSeq - log.oldestSeq + 1;
    assert.ok(kept >= 100 && kept <= 400, `${kept} kept`);
    await log.close();
  });

  claim("each opening has a greater term than every record before it", async (home) => {
    let last = 0;
    for (const seq of [1, 2, 3]) {
      const log = await home.open();
      assert.ok(log.term > last);
      last = log.term;
      await log.append([recordAt(log, seq)]);
      await log.close();
    }
  });

  claim("after close appends are refused as unavailable, and what was queued is there", async (home) => {
    const log = await home.open();
    const queued = range(1, 200).map((seq) => log.append([recordAt(log, seq)]));
    const closed = log.close();
    assert.ok(isFault(await rejection(log.append([recordAt(log, 201)])), "unavailable"));
    await Promise.all([...queued, closed]);
    const again = await home.open();
    assert.is(again.headSeq, 200);
    await again.close();
  });
}
