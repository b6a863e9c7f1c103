import { test } from "uvu";
import * as assert from "uvu/assert";
import { leaves } from "../../../hostd/builds/cache-keeper.ts";
import { type Cache, removableCaches } from "../../../hostd/builds/caches.ts";

const DAY = 86_400_000;
const cache = (key: string, appId: string, usedAtMs = 0, sizeBytes = 10): Cache => ({
  key,
  appId,
  usedAtMs,
  sizeBytes,
});
const policy = {
  inUse: new Set<string>(),
  currentKeys: new Map<string, string>(),
  nowMs: DAY,
  maxBytes: 100,
  unusedForMs: 2 * DAY,
};
const keys = (found: ReturnType<typeof removableCaches>) => found.map(({ cache: { key }, why }) => `${key}: ${why}`);

test("a cleared cache goes, the app's new one stays", () => {
  const caches = [cache("a-0", "a"), cache("a-1", "a"), cache("b-0", "b")];
  assert.equal(keys(removableCaches(caches, { ...policy, currentKeys: new Map([["a", "a-1"]]) })), ["a-0: cleared"]);
});

test("one long unused goes: its app may be gone", () => {
  assert.equal(
    keys(removableCaches([cache("a-0", "a", 0), cache("b-0", "b", 3 * DAY)], { ...policy, nowMs: 4 * DAY })),
    ["a-0: unused"],
  );
});

test("beyond the cap the one that was used longest ago goes first", () => {
  const caches = [cache("a", "a", 3, 60), cache("b", "b", 1, 30), cache("c", "c", 2, 30)];
  assert.equal(keys(removableCaches(caches, policy)), ["b: beyond the cap"]);
});

test("one in use is never taken away", () => {
  const caches = [cache("a-0", "a", 0, 500)];
  const inUse = new Set(["a-0"]);
  assert.equal(removableCaches(caches, { ...policy, inUse, nowMs: 9 * DAY, currentKeys: new Map([["a", "a-1"]]) }), []);
});

test("leaves are the images that no other was made from", () => {
  const image = (id: string, parentId: string) => ({
    id,
    parentId,
    refs: [],
    labels: {},
    sizeBytes: 1,
    createdAtMs: 0,
  });
  assert.equal(
    leaves([image("a", ""), image("b", "a"), image("c", "a"), image("d", "c")]).map(({ id }) => id),
    ["b", "d"],
  );
});

test.run();
