// What members are sent: the entries as the disk has them, whatever memory is ahead by.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { durableView } from "../../../control/store/durable-view.ts";
import type { Entry, Reader } from "../../../control/store/entry.ts";
import { sortedEntries } from "../../../control/store/sorted-entries.ts";

const KEYS = ["a/1", "a/2", "a/3", "b/1", "b/2"];

test("property: while records are applied, made durable and refused, it is what the durable ones alone would give", () => {
  const step = fc.record({
    does: fc.constantFrom("write", "write", "write", "delete", "settle", "settle", "refuse"),
    key: fc.constantFrom(...KEYS),
  });
  void fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const entries = sortedEntries<Entry>();
      const view = durableView(entries as unknown as Reader);
      const durable = new Map<string, Entry>();
      const pending: { key: string; before: Entry | undefined; after: Entry | undefined }[] = [];
      const put = (
        to: { set(key: string, entry: Entry): unknown; delete(key: string): unknown },
        key: string,
        entry?: Entry,
      ) => void (entry === undefined ? to.delete(key) : to.set(key, entry));
      let version = 0;
      for (const { does, key } of steps) {
        if (does === "write" || does === "delete") {
          const before = entries.get(key);
          const after = does === "delete" ? undefined : { key, value: ++version, version };
          view.ahead(key, before);
          put(entries, key, after);
          pending.push({ key, before, after });
        } else if (does === "settle") {
          const oldest = pending.shift();
          if (oldest === undefined) continue;
          put(durable, oldest.key, oldest.after);
          view.settle(oldest.key, oldest.after);
        } else {
          const newest = pending.pop();
          if (newest === undefined) continue;
          put(entries, newest.key, newest.before);
          view.takeBack(newest.key);
        }
        for (const each of KEYS) assert.equal(view.get(each), durable.get(each), each);
        for (const prefix of ["", "a/", "b/", "b/2", "c/"]) {
          const wanted = [...durable.values()]
            .filter((entry) => entry.key.startsWith(prefix))
            .sort((x, y) => (x.key < y.key ? -1 : 1));
          assert.equal(view.list(prefix), wanted, prefix);
          assert.is(view.count(prefix), wanted.length, prefix);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test.run();
