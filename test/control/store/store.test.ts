import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Fault, isFault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import type { LogRecord } from "../../../control/store/log.ts";
import { openStore, type Store, type StoreOptions } from "../../../control/store/store.ts";
import { rejection } from "../../contract/log.ts";
import { inScratch } from "./scratch.ts";

const DAY_MS = 24 * 3_600_000;

function claim(
  title: string,
  body: (store: Store, open: (options?: Partial<StoreOptions>) => Promise<Store>) => Promise<void>,
): void {
  test(title, () =>
    inScratch(async (directory) => {
      const opened: Store[] = [];
      const open = async (options: Partial<StoreOptions> = {}) => {
        await opened.at(-1)?.close();
        const store = await openStore({ directory, log: silentLog(), ...options });
        opened.push(store);
        return store;
      };
      try {
        await body(await open(), open);
      } finally {
        await opened.at(-1)?.close();
      }
    }),
  );
}

const put = (store: Store, key: string, value: unknown) => store.commit({ actor: "test", mutations: [{ key, value }] });

async function take(store: Store, fromSeq: number, count: number): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for await (const record of store.watch(fromSeq, AbortSignal.timeout(5_000))) {
    records.push(record);
    if (records.length === count) break;
  }
  return records;
}

claim("a commit is seen by the next reader at once and is durable when it resolves", async (store) => {
  const committed = put(store, "apps/web", { name: "web" });
  assert.equal(store.get("apps/web"), { key: "apps/web", value: { name: "web" }, version: 1 });
  assert.is(store.seq, 1);
  assert.is(store.durableSeq, 0);
  assert.equal(await committed, { seq: 1, result: undefined, replayed: false });
  assert.is(store.durableSeq, 1);
});

claim("everything is there after a close and a new opening, with its versions", async (store, open) => {
  await put(store, "apps/a", 1);
  await put(store, "apps/b", [1, { deep: "x" }]);
  await put(store, "apps/a", null);
  const term = store.term;
  const again = await open();
  assert.equal(again.list(""), [{ key: "apps/b", value: [1, { deep: "x" }], version: 2 }]);
  assert.is(again.seq, 3);
  assert.ok(again.term > term);
});

claim(
  "of two commits that expect the same version one is refused as precondition and changes nothing",
  async (store) => {
    await put(store, "apps/a", { n: 0 });
    const change = (n: number) =>
      store.commit({
        actor: "t",
        mutations: [
          { key: "apps/a", value: { n } },
          { key: `apps/by-${n}`, value: 1 },
        ],
        expect: [{ key: "apps/a", version: 1 }],
      });
    const first = change(1);
    const error = (await rejection(change(2))) as Fault;
    await first;
    assert.ok(isFault(error, "precondition"));
    assert.equal(error.details, { key: "apps/a", expected: 1, found: 2 });
    assert.is(store.seq, 2);
    assert.is(store.get("apps/by-2"), undefined);
  },
);

claim(
  "expecting version 0 of a key that exists is a conflict; expecting a deleted key is a precondition",
  async (store) => {
    const create = () =>
      store.commit({ actor: "t", mutations: [{ key: "a/1", value: 1 }], expect: [{ key: "a/1", version: 0 }] });
    await create();
    assert.ok(isFault(await rejection(create()), "conflict"));
    await put(store, "a/1", null);
    const late = store.commit({ actor: "t", mutations: [], expect: [{ key: "a/1", version: 1 }] });
    assert.ok(isFault(await rejection(late), "precondition"));
    await create();
  },
);

claim("a value over 32 KiB is too large, counted in bytes; one of exactly 32 KiB fits", async (store) => {
  await put(store, "a/1", "x".repeat(32 * 1024 - 2));
  for (const value of ["x".repeat(32 * 1024 - 1), "ü".repeat(16 * 1024)])
    assert.ok(isFault(await rejection(put(store, "a/2", value)), "too-large"));
  assert.is(store.seq, 1);
});

claim("keys and values that are not what they should be are invalid", async (store) => {
  for (const key of ["", "a\u0000b", "a\nb", "\ud800", "x".repeat(513), "idempotency/x"]) {
    assert.ok(isFault(await rejection(put(store, key, 1)), "invalid"), JSON.stringify(key));
  }
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  for (const value of [undefined, () => 1, 10n, cycle])
    assert.ok(isFault(await rejection(put(store, "a/1", value)), "invalid"));
  assert.is(store.seq, 0);
});

claim("keys named like object prototypes are only keys", async (store, open) => {
  const value = JSON.parse('{"__proto__":{"polluted":true},"constructor":1}');
  for (const key of ["__proto__", "constructor", "apps/__proto__", "toString"]) await put(store, key, value);
  assert.is(({} as Record<string, unknown>)["polluted"], undefined);
  assert.is(store.get("hasOwnProperty"), undefined);
  const again = await open();
  assert.is(again.count(""), 4);
  assert.is(JSON.stringify(again.get("__proto__")!.value), JSON.stringify(value));
});

claim("a value is the store's own frozen copy", async (store) => {
  const mine = { list: [{ n: 1 }], absent: undefined };
  await put(store, "a/1", mine);
  mine.list[0]!.n = 2;
  const { value } = store.get<typeof mine>("a/1")!;
  assert.is(value.list[0]!.n, 1);
  assert.not.ok("absent" in value, "it is what a later start reads back");
  assert.throws(() => {
    value.list[0]!.n = 3;
  }, /read only/);
});

claim("list gives a prefix in key order and count its size", async (store) => {
  for (const key of ["jobs/2", "hosts/1", "jobs/10", "jobs/1", "jobz", "job"]) await put(store, key, key);
  assert.equal(
    store.list("jobs/").map((entry) => entry.key),
    ["jobs/1", "jobs/10", "jobs/2"],
  );
  assert.is(store.count("jobs/"), 3);
  assert.is(store.count("job"), 5);
  assert.is(store.count("x"), 0);
});

const create = (store: Store, id: string, idempotencyKey: string, idempotencyHash = "h") =>
  store.commit({
    actor: "t",
    mutations: [{ key: `apps/${id}`, value: 1 }],
    idempotencyKey,
    idempotencyHash,
    result: { id },
  });

claim(
  "a repeated request gets the first result and writes nothing, also while the first is in flight",
  async (store, open) => {
    const [first, second] = await Promise.all([create(store, "a", "req"), create(store, "b", "req")]);
    assert.equal(first, { seq: 1, result: { id: "a" }, replayed: false });
    assert.equal(second, { seq: 1, result: { id: "a" }, replayed: true });
    assert.is(store.seq, 1);
    const again = await open();
    assert.equal(await create(again, "c", "req"), { seq: 1, result: { id: "a" }, replayed: true });
    assert.is(again.count(""), 1, "kept outcomes are not in the view");
  },
);

claim("an outcome can be asked for without a commit, by the request's digest, for a day", async (store, open) => {
  assert.is(await store.outcome("req", "h"), undefined);
  await create(store, "a", "req");
  const known = { seq: 1, result: { id: "a" }, replayed: true };
  assert.equal(await store.outcome("req", "h"), known);
  const error = await rejection(store.outcome("req", "other"));
  assert.ok(isFault(error, "conflict"), String(error));
  const again = await open({ now: () => Date.now() + DAY_MS / 2 });
  assert.equal(await again.outcome("req", "h"), known);
  const later = await open({ now: () => Date.now() + DAY_MS + 60_000 });
  assert.is(await later.outcome("req", "h"), undefined);
  assert.is(later.seq, 1);
});

claim("a repeated request succeeds though its preconditions no longer hold", async (store) => {
  const request = () =>
    store.commit({
      actor: "t",
      mutations: [{ key: "apps/a", value: 1 }],
      expect: [{ key: "apps/a", version: 0 }],
      idempotencyKey: "k",
      result: 1,
    });
  await request();
  assert.ok((await request()).replayed);
});

claim("an idempotency key used for another request is a conflict", async (store) => {
  await create(store, "a", "req");
  assert.ok(isFault(await rejection(create(store, "b", "req", "other")), "conflict"));
  assert.is(store.seq, 1);
});

claim("an idempotency key is forgotten after a day, also on disk", async (_, open) => {
  let nowMs = Date.parse("2026-11-22T00:00:00Z");
  const store = await open({ now: () => nowMs, expireEveryMs: 5 });
  await create(store, "a", "old");
  nowMs += DAY_MS / 2;
  await create(store, "b", "young");
  nowMs += DAY_MS / 2 + 1;
  await until(() => store.durableSeq === 3, { what: "the expiry", timeoutMs: 30_000, everyMs: 5 });
  const [expiry] = await take(store, 3, 1);
  assert.equal(expiry!.mutations, [{ key: "idempotency/old", value: null }]);
  const again = await open({ now: () => nowMs });
  assert.not.ok((await create(again, "c", "old")).replayed);
  assert.ok((await create(again, "d", "young")).replayed);
});

claim(
  "a watch gives each durable record once and in order, from its seq on, and goes on with new ones",
  async (store) => {
    for (let n = 1; n <= 5; n++) await put(store, "a/1", n);
    const watching = take(store, 3, 5);
    for (let n = 6; n <= 8; n++) void put(store, "a/1", n);
    assert.equal(
      (await watching).map((record) => [record.seq, record.mutations[0]!.value]),
      [
        [3, 3],
        [4, 4],
        [5, 5],
        [6, 6],
        [7, 7],
      ],
    );
  },
);

claim("a watch resumes over a restart, reading from disk", async (store, open) => {
  for (let n = 1; n <= 700; n++) void put(store, `a/${n}`, n);
  const again = await open();
  await put(again, "a/701", 701);
  assert.equal(
    (await take(again, 2, 700)).map((record) => record.seq),
    Array.from({ length: 700 }, (_, i) => i + 2),
  );
});

claim("a watcher that stops reading for 10,000 records still gets every one", async (store) => {
  const seen: number[] = [];
  await put(store, "a/1", 1);
  for await (const { seq } of store.watch(1, AbortSignal.timeout(20_000))) {
    seen.push(seq);
    if (seq === 10_000) break;
    if (seq === 1) await Promise.all(Array.from({ length: 9_999 }, (_, n) => put(store, `a/${n % 100}`, n)));
  }
  assert.equal(
    seen,
    Array.from({ length: 10_000 }, (_, i) => i + 1),
  );
});

claim("a watch from a record no longer kept, or beyond the end, is gone", async (_, open) => {
  const store = await open({ retainRecords: 50 });
  for (let n = 1; n <= 400; n++) await put(store, "a/1", n);
  await until(() => store.oldestSeq > 1, { what: "trimming", timeoutMs: 30_000, everyMs: 5 });
  await store.close();
  const again = await open({ retainRecords: 50 });
  assert.ok(isFault(await rejection(take(again, again.oldestSeq - 1, 1)), "gone"));
  assert.ok(isFault(await rejection(take(again, again.seq + 2, 1)), "gone"));
  assert.is((await take(again, again.oldestSeq, 1))[0]!.seq, again.oldestSeq);
});

claim("a watch ends with its signal and with the store", async (store) => {
  const stop = new AbortController();
  const aborted = (async () => {
    for await (const _ of store.watch(1, stop.signal)) assert.unreachable();
  })();
  const closed = (async () => {
    for await (const _ of store.watch(1, new AbortController().signal)) assert.unreachable();
  })();
  stop.abort();
  await aborted;
  await store.close();
  await closed;
});

claim("listeners hear of records once durable, in order, until they stop", async (store) => {
  const heard: number[] = [];
  const stop = store.onDurable(({ seq }) => {
    assert.is(store.durableSeq, seq);
    heard.push(seq);
  });
  const all = [1, 2, 3].map((n) => put(store, "a/1", n));
  assert.equal(heard, []);
  await Promise.all(all);
  stop();
  await put(store, "a/1", 4);
  assert.equal(heard, [1, 2, 3]);
});

claim("a closed store refuses commits as unavailable", async (store) => {
  const last = put(store, "a/1", 1);
  await store.close();
  await last;
  assert.ok(isFault(await rejection(put(store, "a/1", 2)), "unavailable"));
});

test("when the log fails, what was in flight is refused, onFatal is told once, and later commits change nothing", () =>
  inScratch(async (directory) => {
    const told: Error[] = [];
    const store = await openStore({
      directory,
      log: silentLog(),
      onFatal: (error) => told.push(error),
      openLog: async ({ onFatal }) => ({
        term: 1,
        headSeq: 0,
        oldestSeq: 1,
        report: { outcome: "created", findings: [], headSeq: 0, oldestSeq: 1, entries: 0, tookMs: 0 },
        async append() {
          await Promise.resolve();
          const error = new Error("disk on fire");
          if (told.length === 0) onFatal!(error);
          throw error;
        },
        read: async () => [],
        view: { seq: 0, async *entries() {} },
        trim: async () => undefined,
        close: async () => undefined,
      }),
    });
    assert.is(store.ended, false);
    const both = [put(store, "a/1", 1), put(store, "a/2", 2)];
    const seen = both.map((one) => one.then(undefined, () => store.ended));
    for (const one of both) assert.match(String(await rejection(one)), "on fire");
    assert.equal(await Promise.all(seen), [true, true], "whoever is refused for that can see that it is over");
    assert.is(told.length, 1);
    assert.ok(isFault(await rejection(put(store, "a/3", 3)), "unavailable"));
    assert.is(store.get("a/3"), undefined);
    await store.close();
  }));

claim(
  "a listener that throws is no fault of the committer, deafens nobody, and is given the record again in order",
  async (store) => {
    const [deaf, heard, again]: [number[], number[], number[]] = [[], [], []];
    store.onDurable(({ seq }) => {
      deaf.push(seq);
      throw new Error("always");
    });
    let fails = 1;
    store.onDurable(({ seq }) => {
      if (seq === 2 && fails-- > 0) throw new Error("once");
      again.push(seq);
    });
    store.onDurable(({ seq }) => void heard.push(seq));
    for (let n = 1; n <= 3; n++) assert.is((await put(store, "apps/a", n)).seq, n);
    assert.equal(heard, [1, 2, 3]);
    assert.equal(again, [1]);
    await until(() => again.length === 3, { what: "the record again", timeoutMs: 20_000, everyMs: 10 });
    assert.equal(again, [1, 2, 3]);
    await until(() => deaf.includes(2), {
      what: "a record that is always too much to be passed over",
      timeoutMs: 20_000,
    });
    assert.equal(deaf.slice(0, 3), [1, 1, 1]);
  },
);

test.run();
