// What members are sent is on disk: a crash takes back nothing of it. The disk here is a gate that the test opens, record by record.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import type { Log } from "../../../control/store/log.ts";
import { type LevelLog, type LevelLogOptions, openLevelLog } from "../../../control/store/log-level.ts";
import { openStore } from "../../../control/store/store.ts";
import { routerTargetOf } from "../../../control/targets/router.ts";
import { inScratch } from "../store/scratch.ts";

/** A log whose records wait until they are let through. */
function gatedLog() {
  const waiting: (() => void)[] = [];
  let isOpen = true;
  return {
    shut: () => {
      isOpen = false;
    },
    next: () => waiting.shift()?.(),
    async open(options: LevelLogOptions): Promise<LevelLog> {
      const log = await openLevelLog(options);
      let last = Promise.resolve();
      const append: Log["append"] = (records) => {
        const { promise, resolve } = Promise.withResolvers<void>();
        if (isOpen) resolve();
        else waiting.push(resolve);
        last = Promise.all([last, promise]).then(() => log.append(records));
        return last;
      };
      return Object.create(log, { append: { value: append } }) as LevelLog;
    },
  };
}

const shown = (list: { key: string; value: unknown }[]) => list.map(({ key, value }) => [key, value]);

test("read as of the disk, a change is not there before it is durable, and the newest state is there at once", () =>
  inScratch(async (directory) => {
    const gate = gatedLog();
    const store = await openStore({ directory, log: silentLog(), openLog: gate.open });
    const put = (key: string, value: unknown) => store.commit({ actor: "test", mutations: [{ key, value }] });
    await put("a", 1);
    await put("c", 1);
    gate.shut();
    const [changed, made, gone, again] = [put("a", 2), put("b", 1), put("c", null), put("a", 3)];
    assert.equal(shown(store.list("")), [
      ["a", 3],
      ["b", 1],
    ]);
    const before = [
      ["a", 1],
      ["c", 1],
    ];
    assert.equal(shown(store.durable.list("")), before);
    assert.is(store.durable.count(""), 2);
    assert.is(store.durable.get("b"), undefined);
    assert.is(store.durable.durableSeq, store.durableSeq);
    gate.next();
    await changed;
    assert.is(store.durable.get("a")?.value, 2);
    assert.is(store.durable.get("b"), undefined);
    gate.next();
    gate.next();
    await Promise.all([made, gone]);
    assert.equal(shown(store.durable.list("")), [
      ["a", 2],
      ["b", 1],
    ]);
    gate.next();
    await again;
    assert.equal(shown(store.durable.list("")), shown(store.list("")));
    await store.close();
  }));

test("at any moment of a random run, what a crash leaves is exactly what members could have been sent", () =>
  inScratch(async (directory) => {
    const gate = gatedLog();
    const store = await openStore({ directory, log: silentLog(), openLog: gate.open });
    gate.shut();
    const onDisk = new Map<string, unknown>();
    const commits: Promise<unknown>[] = [];
    let under = 0;
    store.onDurable(({ mutations }) => {
      under--;
      for (const { key, value } of mutations) {
        if (value === null) onDisk.delete(key);
        else onDisk.set(key, value);
      }
      assert.equal(new Map(shown(store.durable.list("")) as [string, unknown][]), onDisk);
    });
    let state = 7;
    const random = (below: number) => {
      state = (state * 1103515245 + 12345) % 2147483648;
      return state % below;
    };
    for (let n = 0; n < 300; n++) {
      const mutations = Array.from({ length: 1 + random(3) }, () => ({
        key: `k/${random(12)}`,
        value: random(4) === 0 ? null : n,
      }));
      commits.push(store.commit({ actor: "test", mutations }));
      under++;
      while (random(2) === 0 && under > 0) gate.next();
      if (random(5) === 0) await new Promise((resolve) => setImmediate(resolve));
      assert.equal(new Map(shown(store.durable.list("")) as [string, unknown][]), onDisk);
    }
    for (let n = 0; n < 300; n++) gate.next();
    await Promise.all(commits);
    assert.equal(shown(store.durable.list("")), shown(store.list("")));
    await store.close();
  }));

test("a router's target does not name a route that is not on disk yet", () =>
  inScratch(async (directory) => {
    const gate = gatedLog();
    const store = await openStore({ directory, log: silentLog(), openLog: gate.open });
    await store.commit({
      actor: "test",
      mutations: [{ key: "cluster/settings", value: { clusterRange: "100.64.0.0/16" } }],
    });
    gate.shut();
    const route = { id: "r1", type: "http", domain: "a.example", path: "/", app: "a", appId: "a1", process: "web" };
    const made = store.commit({ actor: "test", mutations: [{ key: "routes/r1", value: route }] });
    assert.equal(routerTargetOf(store, 1).routes, []);
    gate.next();
    await made;
    assert.equal(
      routerTargetOf(store, 2).routes.map(({ domain }) => domain),
      ["a.example"],
    );
    await store.close();
  }));

test.run();
