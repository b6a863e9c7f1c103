import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { keepCaches, leaves } from "../../../hostd/builds/cache-keeper.ts";
import { type Cache, cacheKeyOf, isCacheVolume, removableCaches } from "../../../hostd/builds/caches.ts";
import type { LabelledImage } from "../../../hostd/builds/engine.ts";

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

test("an image that a step labelled with another app's key counts as that of the app whose build made it", () => {
  const image = (id: string, parentId: string, key?: string, refs: string[] = []): LabelledImage => ({
    ...{ id, parentId, refs, labels: (key === undefined ? {} : { "flynn.cache": key }) as Record<string, string> },
    ...{ sizeBytes: 1, createdAtMs: 0 },
  });
  const images = [
    image("base", "", "victim-0", ["evil.example/base:1"]),
    image("ours", "base", "thief-0"),
    image("step", "ours", "victim-0"),
    image("leaf", "step", "victim-0"),
    image("from-scratch", "", "thief-0"),
    image("second", "from-scratch", "victim-0"),
  ];
  const byId = new Map(images.map((one) => [one.id, one]));
  for (const id of ["leaf", "step", "ours", "second"]) assert.is(cacheKeyOf(byId.get(id)!, byId), "thief-0", id);
});

test("a volume is a cache by its name as well as its label", () => {
  const labels = { "flynn.cache": "a-0" };
  assert.ok(isCacheVolume({ name: "flynn-cache-a-0", labels, path: "/" }));
  assert.not.ok(isCacheVolume({ name: "somebody", labels, path: "/" }));
});

test("base images that no build has used for long go, those in use and others' images stay, and one that cannot go keeps no other", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-bases-"));
  const base = (sign: string) => `base.invalid/${sign.repeat(40)}`;
  const present = new Map(
    ["a", "b", "c", "d"].map((sign) => [`${base(sign)}:latest`, { id: `sha256:${sign}`, sizeBytes: 10 }]),
  );
  present.set("base.invalid/of-somebody:latest", { id: "sha256:x", sizeBytes: 10 });
  present.set("127.0.0.1:5000/apps/a:1", { id: "sha256:y", sizeBytes: 10 });
  let nowMs = 0;
  const keeper = keepCaches({
    engine: {
      volumes: async () => [],
      removeVolume: async () => undefined,
      images: async () =>
        [...present].map(([ref, { id, sizeBytes }]) => ({
          ...{ id, sizeBytes, refs: [ref], parentId: "", labels: {}, createdAtMs: 0 },
        })),
      async removeImage(ref) {
        if (ref === `${base("a")}:latest`) throw new Error("conflict: in use");
        present.delete(ref);
      },
    },
    stateDir: directory,
    treeBytes: async () => 0,
    log: silentLog(),
    nowMs: () => nowMs,
    maxBytes: 25,
  });
  try {
    for (const sign of ["a", "b", "c"]) await keeper.useBase(base(sign));
    await keeper.prune(new Set());
    assert.is(
      present.size,
      6,
      "what was used today stays, whatever it takes; what was never seen before counts from now on",
    );
    nowMs = 13 * DAY;
    await keeper.useBase(base("c"));
    nowMs = 15 * DAY;
    await keeper.prune(new Set());
    assert.equal(
      [...present.keys()],
      [`${base("a")}:latest`, `${base("c")}:latest`, "base.invalid/of-somebody:latest", "127.0.0.1:5000/apps/a:1"],
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test.run();
