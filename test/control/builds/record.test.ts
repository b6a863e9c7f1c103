// Builds of an app as they are read, and whose turn it is, in words.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { hasEnded } from "#api/builds.ts";
import { isFault } from "#api/fault.ts";
import { isActive, waitsFor } from "../../../control/builds/queue.ts";
import { type BuildRecord, buildsOf, findBuild, unendedBuilds } from "../../../control/builds/record.ts";
import { keys } from "../../../control/keys.ts";
import { kept } from "../kept.ts";

const build = (id: string, number: number, over: Partial<BuildRecord> = {}): BuildRecord =>
  ({
    id,
    appId: "a",
    app: "hello",
    number,
    state: "queued",
    createdAt: "2026-01-01T00:00:00Z",
    ...over,
  }) as BuildRecord;
const stored = (...all: BuildRecord[]) =>
  kept(Object.fromEntries(all.map((each) => [keys.build(each.appId, each.id), each])));

test("a build is over when it succeeded, failed or was cancelled", () => {
  const states = ["queued", "building", "storing", "deploying", "succeeded", "failed", "cancelled"] as const;
  assert.equal(
    states.filter((state) => hasEnded({ state } as BuildRecord)),
    ["succeeded", "failed", "cancelled"],
  );
  const store = stored(...states.map((state, n) => build(state, n, { state: state as never })));
  assert.equal(
    unendedBuilds(store)
      .map(({ id }) => id)
      .sort(),
    ["building", "deploying", "queued", "storing"],
  );
});

test("builds are in the order of their numbers, and found by number or id", () => {
  const store = stored(build("x", 10), build("y", 2), build("77", 3), build("z", 1, { appId: "b" }));
  assert.equal(
    buildsOf(store, "a").map(({ number }) => number),
    [2, 3, 10],
  );
  assert.equal([findBuild(store, "a", "10").value.id, findBuild(store, "a", "y").value.number], ["x", 2]);
  for (const text of ["77", "1", "z", "1x", ""]) {
    const error = (() => {
      try {
        return findBuild(store, "a", text);
      } catch (caught) {
        return caught;
      }
    })();
    assert.ok(isFault(error, "not-found") && error.message === `no build ${text}`, text);
  }
});

test("a build holds a place from its job's making until its image is stored", () => {
  const of = (state: string, jobId?: string) => isActive({ state, ...(jobId ? { jobId } : {}) } as BuildRecord);
  assert.equal(
    [of("queued"), of("queued", "j"), of("building"), of("storing"), of("deploying", "j")],
    [false, true, true, true, false],
  );
});

test("what a build waits for is said: an earlier one of its app, or its turn among all", () => {
  const one = build("a1", 1);
  const waits = (which: BuildRecord, others: BuildRecord[], atOnce: number) =>
    waitsFor(which, [which, ...others], atOnce);
  assert.is(waits(one, [], 1), undefined);
  assert.is(waits(build("a3", 3), [build("a2", 2), one], 9), "waits for build 1 of hello to end");
  const other = (id: string, over: Partial<BuildRecord> = {}) =>
    build(id, 1, { appId: id, createdAt: "2025-01-01T00:00:00Z", ...over });
  const busy = other("b", { state: "building" });
  assert.is(waits(one, [busy], 1), "waits for its turn: 1 of at most 1 build runs in the cluster");
  assert.is(waits(one, [busy], 2), undefined);
  assert.is(
    waits(one, [busy, other("c")], 2),
    "waits for its turn: 1 of at most 2 builds run in the cluster, and 1 waits before it",
  );
  assert.is(
    waits(one, [other("c"), other("d"), busy], 3),
    "waits for its turn: 1 of at most 3 builds run in the cluster, and 2 wait before it",
  );
  assert.is(waits(one, [other("c"), other("d")], 3), undefined);
  assert.is(waits(one, [other("c", { createdAt: "2026-01-02T00:00:00Z" })], 1), undefined, "the younger waits");
  assert.is(
    waits(one, [other("A", { createdAt: one.createdAt })], 1),
    "waits for its turn: 0 of at most 1 build runs in the cluster, and 1 waits before it",
  );
  assert.is(waits(one, [other("b", { createdAt: one.createdAt })], 1), undefined, "made together, the first by id");
  const own = build("a2", 2);
  assert.is(
    waits(other("c", { createdAt: "2027-01-01T00:00:00Z" }), [own, one], 2),
    undefined,
    "an app waits once, by its earliest",
  );
});

test.run();
