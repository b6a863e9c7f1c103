// What every view of the log must do, in memory or on disk: it is what the records make, and nothing else. A suite file calls
// `replicaContract` once per kind and then `test.run()`.
import fc from "fast-check";
import * as assert from "uvu/assert";
import { IDEMPOTENCY_PREFIX, type LogRecord, type Mutation, type ViewEntry } from "../../control/store/log.ts";
import type { StoredView } from "../../control/store/replica.ts";

export interface ReplicaHome {
  /** The next records, in order, all of them durable. */
  take(records: readonly LogRecord[]): Promise<void>;
  /** Ends, and begins again with what a restart finds. */
  restart(): Promise<void>;
  /** Seq of the newest record that is in it. */
  seq(): number;
  get(key: string): Promise<Pick<ViewEntry, "value" | "version"> | undefined>;
  /** Every key but those of outcomes, with value and version. */
  entries(): Promise<Map<string, Pick<ViewEntry, "value" | "version">>>;
  outcome(key: string): Promise<{ seq: number; hash: string; result: unknown } | undefined>;
  destroy(): Promise<void>;
}

type Test = (title: string, body: () => Promise<void>) => void;

const AT = "2026-11-22T00:00:00.000Z";
const recordOf = (seq: number, mutations: readonly Mutation[]): LogRecord => ({
  ...{ seq, term: 1, at: AT, actor: "contract", mutations },
});

export async function viewOf({ view }: { view: StoredView }): Promise<Map<string, ViewEntry>> {
  const found = new Map<string, ViewEntry>();
  for await (const entry of view.entries()) found.set(entry.key, entry);
  return found;
}

/** What a plain map makes of the records. */
export function modelOf(records: readonly LogRecord[]): Map<string, { value: unknown; version: number }> {
  const model = new Map<string, { value: unknown; version: number }>();
  for (const { seq, mutations } of records)
    for (const { key, value } of mutations) {
      if (key.startsWith(IDEMPOTENCY_PREFIX)) continue;
      if (value === null) model.delete(key);
      else model.set(key, { value, version: seq });
    }
  return model;
}

const key = fc.tuple(fc.constantFrom("a", "b", "__proto__", "ünï"), fc.nat(4)).map(([noun, n]) => `${noun}/${n}`);
const value = fc.oneof(
  fc.constant(null),
  fc.jsonValue({ maxDepth: 2 }).map((json) => JSON.parse(JSON.stringify(json))),
);
/** Any few records from seq 1 on. */
export const someRecords = fc
  .array(fc.array(fc.record({ key, value }), { maxLength: 4 }), { minLength: 1, maxLength: 12 })
  .map((lists) => lists.map((mutations, index) => recordOf(index + 1, mutations)));

export function replicaContract(
  name: string,
  test: Test,
  makeHome: () => Promise<ReplicaHome>,
  { runs = 20 }: { runs?: number } = {},
): void {
  const claim = (title: string, body: (home: ReplicaHome) => Promise<void>) =>
    test(`${name}: ${title}`, async () => {
      const home = await makeHome();
      try {
        await body(home);
      } finally {
        await home.destroy();
      }
    });

  claim("a new one is empty, before the first record", async (home) => {
    assert.equal(await home.entries(), new Map());
    assert.is(home.seq(), 0);
    await home.restart();
    assert.is(home.seq(), 0);
  });

  claim("it has the newest value of each key and the seq that wrote it, after a restart too", async (home) => {
    await home.take([
      recordOf(1, [
        { key: "a/1", value: 1 },
        { key: "a/2", value: 1 },
      ]),
      recordOf(2, [{ key: "a/1", value: { two: 2 } }]),
    ]);
    await home.take([
      recordOf(3, [
        { key: "a/2", value: null },
        { key: "a/3", value: false },
      ]),
    ]);
    const expected = new Map<string, Pick<ViewEntry, "value" | "version">>([
      ["a/1", { value: { two: 2 }, version: 2 }],
      ["a/3", { value: false, version: 3 }],
    ]);
    for (const _ of ["before", "after"]) {
      assert.equal(await home.entries(), expected);
      assert.equal(await home.entries(), expected, "a second reading is the same");
      assert.is(home.seq(), 3);
      assert.is(await home.get("a/2"), undefined);
      await home.restart();
    }
  });

  claim("of two changes of a key in one record the later holds", async (home) => {
    await home.take([
      recordOf(1, [
        { key: "a/1", value: 1 },
        { key: "a/1", value: 2 },
        { key: "a/2", value: 1 },
        { key: "a/2", value: null },
      ]),
    ]);
    assert.equal(await home.entries(), new Map([["a/1", { value: 2, version: 1 }]]));
  });

  claim("an outcome is kept with the record it came with, and goes by a record", async (home) => {
    await home.take([{ ...recordOf(1, []), idempotency: { key: "req", hash: "h", result: { id: 7 } } }]);
    for (const _ of ["before", "after"]) {
      assert.equal(await home.outcome("req"), { seq: 1, hash: "h", result: { id: 7 } });
      assert.equal(await home.entries(), new Map(), "and is no entry");
      await home.restart();
    }
    await home.take([recordOf(2, [{ key: `${IDEMPOTENCY_PREFIX}req`, value: null }])]);
    assert.is(await home.outcome("req"), undefined);
    await home.restart();
    assert.is(await home.outcome("req"), undefined);
  });

  test(`${name}: it is what a plain map makes of the records, wherever a restart comes between`, () =>
    fc.assert(
      fc.asyncProperty(someRecords, fc.nat(12), async (records, cut) => {
        const home = await makeHome();
        try {
          await home.take(records.slice(0, cut));
          await home.restart();
          await home.take(records.slice(cut));
          assert.equal(await home.entries(), modelOf(records));
          assert.is(home.seq(), records.length);
        } finally {
          await home.destroy();
        }
      }),
      { numRuns: runs },
    ));
}
