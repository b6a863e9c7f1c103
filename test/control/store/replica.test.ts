// The replica contract in memory, and what its writer needs beside: to be ahead of the disk, and to take back what was refused.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type LogRecord, type ViewEntry, viewChanges } from "../../../control/store/log.ts";
import { createReplica, type Replica } from "../../../control/store/replica.ts";
import { modelOf, replicaContract, someRecords } from "../../contract/replica.ts";

const written = Promise.resolve();
const shown = (reader: Pick<Replica, "list">) =>
  new Map(reader.list("").map(({ key, value, version }) => [key, { value, version }]));

replicaContract("memory", test, async () => {
  let replica = createReplica();
  const rows = new Map<string, ViewEntry>();
  let stored = 0;
  return {
    async take(records) {
      for (const record of records) {
        replica.apply(record);
        stored = record.seq;
        for (const { key, value } of viewChanges(record)) {
          if (value === null) rows.delete(key);
          else rows.set(key, { key, value, version: record.seq });
        }
      }
    },
    async restart() {
      replica = createReplica();
      await replica.begin({
        seq: stored,
        async *entries() {
          yield* [...rows.values()].reverse();
        },
      });
    },
    seq: () => replica.seq,
    get: async (key) => replica.get(key),
    entries: async () => shown(replica),
    async outcome(key) {
      const found = replica.outcomes.find(key, "h", Date.parse("2026-11-22T01:00:00.000Z"));
      return found && { seq: found.seq, hash: found.hash, result: found.result };
    },
    destroy: async () => undefined,
  };
});

test("whatever is applied ahead, made durable or taken back: the newest and the durable state are what their records make", () => {
  const acts = fc.array(fc.constantFrom("ahead", "ahead", "durable", "take back"), { maxLength: 40 });
  fc.assert(
    fc.property(someRecords, acts, (given, list) => {
      const replica = createReplica();
      const applied: LogRecord[] = [];
      let durable = 0;
      for (const act of list) {
        if (act === "ahead") {
          const seq = replica.seq + 1;
          const record = { ...given[seq % given.length]!, seq };
          replica.applyAhead(record, written);
          applied.push(record);
        } else if (act === "durable" && durable < applied.length) replica.settle(applied[durable++]!);
        else if (act === "take back") {
          replica.takeBack(durable);
          applied.length = durable;
        }
        assert.is(replica.seq, applied.length);
        assert.equal(shown(replica), modelOf(applied));
        assert.equal(shown(replica.durable), modelOf(applied.slice(0, durable)));
      }
    }),
  );
});

test("an outcome that was refused is forgotten with its record", () => {
  const replica = createReplica();
  const idempotency = { key: "req", hash: "h", result: 1 };
  const at = "2026-11-22T00:00:00.000Z";
  replica.applyAhead({ seq: 1, term: 1, at, actor: "x", mutations: [], idempotency }, written);
  assert.is(replica.outcomes.find("req", "h", Date.parse(at))?.durable, written);
  replica.takeBack(0);
  assert.is(replica.outcomes.find("req", "h", Date.parse(at)), undefined);
});

test("a record that does not follow is a defect, and changes nothing", () => {
  const replica = createReplica();
  const record = { term: 1, at: "2026-11-22T00:00:00.000Z", actor: "x", mutations: [{ key: "a/1", value: 1 }] };
  for (const seq of [0, 2]) {
    assert.throws(() => replica.apply({ ...record, seq }), /does not follow/);
    assert.throws(() => replica.applyAhead({ ...record, seq }, written), /does not follow/);
  }
  assert.equal(shown(replica), new Map());
});

test.run();
