// Apps and releases by what people call them; what is not there is said as such, and what was collected as that.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { App } from "#api/apps.ts";
import { isFault } from "#api/fault.ts";
import type { Job } from "#api/jobs.ts";
import { currentRelease, findApp, findRelease, formationOf, liveJobs, releasesOf } from "../../../control/apps/find.ts";
import { keys } from "../../../control/keys.ts";
import { kept } from "../kept.ts";

const app = (id: string, over: Partial<App> = {}) => ({ id, name: `name-${id}`, ...over }) as App;
const release = (id: string, version: number) => ({ id, appId: "a", version });
const store = kept({
  [keys.app("a")]: app("a", { releaseId: "r5" }),
  [keys.appName("hello")]: "a",
  [keys.app("b")]: app("b", { deleting: true }),
  [keys.appName("gone")]: "b",
  [keys.appName("lost")]: "c",
  ...Object.fromEntries(
    [release("r9", 9), release("r5", 5), release("r7", 7)].map((one) => [keys.release("a", one.id), one]),
  ),
  [keys.release("x", "r1")]: release("r1", 1),
  [keys.formation("a", "r5")]: { appId: "a", releaseId: "r5", processes: {} },
});
const refusal = (find: () => unknown): string => {
  try {
    find();
  } catch (error) {
    if (isFault(error)) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "found";
};

test("an app is found by its name or its id, until it is being deleted", () => {
  assert.equal([findApp(store, "hello").value.id, findApp(store, "a").value.id], ["a", "a"]);
  for (const text of ["gone", "b", "lost", "nobody", ""])
    assert.is(
      refusal(() => findApp(store, text)),
      `not-found: no app ${text}`,
    );
});

test("a release is found by its id or its version, written with v or without", () => {
  const found = (text: string) => findRelease(store, "a", text).version;
  assert.equal([found("r7"), found("v7"), found("7"), found("v5")], [7, 7, 7, 5]);
  for (const text of ["v10", "10", "7.0", "vv7", "v", "", "r1", "v1234567890"])
    assert.is(
      refusal(() => findRelease(store, "a", text)),
      `not-found: no release ${text}`,
    );
  assert.is(
    refusal(() => findRelease(store, "none", "v1")),
    "not-found: no release v1",
  );
});

test("one of a version that was there once is gone, and it is said which are there", () => {
  const kept10 = "the last 10 releases are kept, and those in use; there are v5, v7, v9";
  assert.is(
    refusal(() => findRelease(store, "a", "v1")),
    `gone: v1 was collected: ${kept10}`,
  );
  assert.is(
    refusal(() => findRelease(store, "a", "8")),
    `gone: v8 was collected: ${kept10}`,
  );
  const many = kept(
    Object.fromEntries(Array.from({ length: 90 }, (_, n) => [keys.release("a", `r${n}`), release(`r${n}`, 100 + n)])),
  );
  const words = refusal(() => findRelease(many, "a", "v99"));
  assert.is(words.slice(words.indexOf("v100")).length, 200);
});

test("releases are listed oldest first, the current one is the app's, and a formation is that of a release", () => {
  assert.equal(
    releasesOf(store, "a").map(({ version }) => version),
    [5, 7, 9],
  );
  assert.is(currentRelease(store, app("a", { releaseId: "r5" }))?.version, 5);
  assert.equal(
    [currentRelease(store, app("a")), currentRelease(store, app("a", { releaseId: "none" }))],
    [undefined, undefined],
  );
  assert.equal([formationOf(store, "a", "r5")?.value.releaseId, formationOf(store, "a", "r7")], ["r5", undefined]);
});

test("jobs are live until they are down or lost", () => {
  const states = ["pending", "starting", "up", "unhealthy", "crashed", "stopping", "down", "lost"] as const;
  const jobs = states.map((state) => ({ id: state, appId: "a", state }) as Job);
  const of = kept(Object.fromEntries(jobs.map((job) => [keys.job("a", job.id), job])));
  assert.equal(
    liveJobs(of, "a")
      .map(({ id }) => id)
      .sort(),
    ["crashed", "pending", "starting", "stopping", "unhealthy", "up"],
  );
  assert.equal(liveJobs(of, "b"), []);
});

test.run();
