// A full disk, on a small file system of its own: reads go on, changes are refused in words and leave no trace, and once there is room
// they are taken again, by themselves. While it runs, and when it starts.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Fault, isFault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import type { LogRecord } from "../../../control/store/log.ts";
import { openStore, type Store } from "../../../control/store/store.ts";
import { writeLatency } from "../../../control/store/write-latency.ts";
import { onSmallDisk as onDisk, type SmallDisk } from "../../lib/small-disk.ts";

interface Disk extends Omit<SmallDisk, "path"> {
  directory: string;
  start(): Promise<Store>;
}

const onSmallDisk = (body: (disk: Disk) => Promise<void>): Promise<void> =>
  onDisk(async ({ path, fill, free }) => {
    const directory = join(path, "state");
    const stores: Store[] = [];
    const start = async () => {
      const store = await openStore({ directory, log: silentLog(), retryMs: 50 });
      stores.push(store);
      return store;
    };
    try {
      await body({ directory, fill, free, start });
    } finally {
      for (const store of stores) await store.close().catch(() => undefined);
    }
  });

const put = (store: Store, key: string, value: unknown) => store.commit({ actor: "test", mutations: [{ key, value }] });
const outcome = (commit: Promise<unknown>): Promise<Fault | undefined> =>
  commit.then(
    () => undefined,
    (error) => error as Fault,
  );
const writes = (store: Store) =>
  until(() => store.paused === undefined, { what: "changes are taken", timeoutMs: 20_000, everyMs: 20 });
const contents = (store: Store) =>
  store.list("").map(({ key, value, version }) => [key, JSON.stringify(value).length, version]);

/** Changes of 8 KiB, several at a time, until one is refused. */
async function writeUntilFull(
  store: Store,
): Promise<{ kept: string[]; refused: string[]; inDoubt: string[]; fault: Fault }> {
  const kept: string[] = [];
  const refused: string[] = [];
  const inDoubt: string[] = [];
  let fault: Fault | undefined;
  for (let n = 0; fault === undefined && n < 10_000; n += 8) {
    const keys = Array.from({ length: 8 }, (_, i) => `big/${n + i}`);
    await Promise.all(
      keys.map(async (key) => {
        const error = await outcome(put(store, key, key.repeat(1000)));
        if (error === undefined) kept.push(key);
        else refused.push(key);
        if (error?.details?.["inDoubt"] === true) inDoubt.push(key);
        fault ??= error;
      }),
    );
  }
  return { kept, refused, inDoubt, fault: fault! };
}

test("a disk that fills while control runs: what was acknowledged is read, what was refused is not, and it goes on by itself", () =>
  onSmallDisk(async (disk) => {
    const store = await disk.start();
    const heard: LogRecord[] = [];
    store.onDurable((record) => heard.push(record));
    await put(store, "a", 1);
    const { term } = store;
    await disk.fill();
    const { kept, refused, inDoubt, fault } = await writeUntilFull(store);
    assert.ok(isFault(fault, "no-capacity"), String(fault));
    assert.match(fault.message, /disk is full.*[Ff]ree space/);
    assert.match(fault.message, /whether this change was made is not known/, "the first was being written");
    assert.ok(fault.message.includes(disk.directory), fault.message);
    assert.is(store.paused?.code, "no-capacity");
    assert.is(store.get("a")?.value, 1);
    for (const key of kept) assert.ok(store.get(key), `${key} was acknowledged`);
    for (const key of refused) assert.is(store.get(key), undefined, `${key} was refused`);
    assert.is(store.seq, store.durableSeq);
    assert.ok(isFault(await outcome(put(store, "b", 1)), "no-capacity"));
    assert.is(store.get("b"), undefined);

    await disk.free();
    await writes(store);
    for (const key of refused)
      assert.ok(store.get(key) === undefined || inDoubt.includes(key), `${key} was refused for good, and is there`);
    await put(store, "b", 2);
    assert.is(store.get("b")?.value, 2);
    assert.is(store.term, term, "nobody took over: orders stay valid");
    assert.equal(
      heard.map(({ seq }) => seq),
      heard.map((_, n) => n + 1),
      "followers see every number once, in order",
    );
    const versions = new Set(heard.flatMap(({ seq, mutations }) => mutations.map(() => seq)));
    assert.ok(store.get("b")!.version > Math.max(...versions, 0) - 1);
    const before = contents(store);
    await store.close();
    assert.equal(contents(await disk.start()), before, "disk and memory agree");
  }));

test("a full disk at the start: control reads, refuses changes, and takes them once there is room, without another start", () =>
  onSmallDisk(async (disk) => {
    const first = await disk.start();
    for (let n = 0; n < 50; n++) await put(first, `k/${n}`, { n });
    const expected = contents(first);
    await first.close();
    await disk.fill();
    const store = await disk.start();
    assert.equal(contents(store), expected);
    assert.ok(store.term > first.term);
    const fault = await outcome(put(store, "b", 1));
    assert.ok(isFault(fault, "no-capacity"), String(fault));
    await disk.free();
    await writes(store);
    await put(store, "b", 1);
    await store.close();
    const again = await disk.start();
    assert.is(again.get("b")?.value, 1);
    assert.ok(again.term > store.term);
  }));

test("a disk that fills again and again loses nothing that was acknowledged", () =>
  onSmallDisk(async (disk) => {
    const store = await disk.start();
    const acknowledged = new Map<string, number>();
    for (let round = 0; round < 4; round++) {
      await disk.fill();
      for (let n = 0; store.paused === undefined && n < 5_000; n++) {
        const key = `r/${n % 100}`;
        if ((await outcome(put(store, key, { round, n, pad: "x".repeat(4000) }))) === undefined)
          acknowledged.set(key, n);
      }
      assert.ok(store.paused, "the disk is full");
      await disk.free();
      await writes(store);
    }
    const before = contents(store);
    await store.close();
    const again = await disk.start();
    assert.equal(contents(again), before);
    for (const key of acknowledged.keys()) assert.ok(again.get(key));
  }));

test("a request with a key that was refused for a full disk is done once when it comes again", () =>
  onSmallDisk(async (disk) => {
    const store = await disk.start();
    const request = () =>
      store.commit({
        actor: "test",
        mutations: [{ key: "once", value: 1 }],
        idempotencyKey: "request-1",
        result: "made",
      });
    await disk.fill();
    await writeUntilFull(store);
    assert.ok(isFault(await outcome(request()), "no-capacity"));
    await disk.free();
    await writes(store);
    assert.is((await request()).replayed, false);
    assert.is((await request()).replayed, true);
  }));

test("the longest write of the last half minute is known, one under way included", () => {
  let nowMs = 0;
  const latency = writeLatency(() => nowMs);
  const slow = latency.begin();
  nowMs = 700;
  assert.is(latency.worstMs(), 700, "it is still under way");
  slow();
  nowMs = 40_000;
  assert.is(latency.worstMs(), 700);
  nowMs = 100_000;
  assert.is(latency.worstMs(), 0);
});

test.run();
