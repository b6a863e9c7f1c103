// A disk that takes no writes just when old records are to go: what waits behind that write is refused with it, and nothing is answered as done
// that nobody can read.
import { Level } from "level";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { openStore } from "../../../control/store/store.ts";
import { inScratch } from "./scratch.ts";

interface Batch {
  readonly length: number;
  write(options: object): Promise<void>;
}

/** Batches as `change` makes them, while `body` runs. */
async function withBatches(change: (batch: Batch) => void, body: () => Promise<void>): Promise<void> {
  const prototype = Level.prototype as unknown as { batch: () => Batch };
  const { batch } = prototype;
  prototype.batch = function (this: unknown) {
    const made = batch.call(this);
    change(made);
    return made;
  };
  try {
    await body();
  } finally {
    prototype.batch = batch;
  }
}

test("when the write that lets old records go fails, what waits behind it is refused, and control goes on by itself", () =>
  inScratch(async (directory) => {
    const done: string[] = [];
    let fail: (() => Promise<void>) | undefined;
    const failing = (batch: Batch) => {
      const write = batch.write.bind(batch);
      batch.write = (options) => {
        const now = batch.length === 1 ? fail : undefined; // the head alone
        if (now === undefined) return write(options);
        fail = undefined;
        return now();
      };
    };
    await withBatches(failing, async () => {
      const store = await openStore({ directory, log: silentLog(), retainRecords: 100, retryMs: 20 });
      const put = (key: string) =>
        store.commit({ actor: "test", mutations: [{ key, value: 1 }] }).then(
          () => void done.push(key),
          () => undefined,
        );
      let behind: Promise<void>[] | undefined;
      fail = async () => {
        behind = Array.from({ length: 5 }, (_, n) => put(`behind/${n}`));
        throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
      };
      for (let n = 0; behind === undefined && n < 1_000; n++) await put(`k/${n}`);
      await Promise.all(behind!);
      await until(() => store.paused === undefined, { what: "changes are taken", timeoutMs: 20_000, everyMs: 10 });
      await put("after");
      assert.ok(done.includes("after"), "it goes on");
      assert.equal(
        done.filter((key) => store.get(key) === undefined),
        [],
        "what was acknowledged is there",
      );
      const before = store.list("").map(({ key, version }) => [key, version]);
      await store.close();
      const again = await openStore({ directory, log: silentLog() });
      assert.equal(
        again.list("").map(({ key, version }) => [key, version]),
        before,
        "disk and memory agree",
      );
      await again.close();
    });
  }));

test.run();
