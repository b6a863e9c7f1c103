// Jobs by id, host and app, as records come.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { jobIndex } from "../../control/job-index.ts";
import { keys } from "../../control/keys.ts";
import type { LogRecord } from "../../control/store/log.ts";
import type { Store } from "../../control/store/store.ts";

const job = (id: string, appId: string, hostId?: string): Job =>
  ({ id, appId, ...(hostId === undefined ? {} : { hostId }) }) as Job;
const ids = (jobs: Job[]) => jobs.map(({ id }) => id).sort();
const indexOf = (...jobs: Job[]) => {
  const entries = jobs.map((value) => ({ key: keys.job(value.appId, value.id), value, version: 1 }));
  const index = jobIndex({ list: () => entries } as unknown as Store);
  const apply = (mutations: { key: string; value: unknown }[]) => index.apply({ mutations } as unknown as LogRecord);
  return {
    index,
    put: (value: Job) => apply([{ key: keys.job(value.appId, value.id), value }]),
    remove: (appId: string, id: string) => apply([{ key: keys.job(appId, id), value: null }]),
    apply,
  };
};

test("what was there at the start is known by id, host and app", () => {
  const { index } = indexOf(job("a", "app-1", "h1"), job("b", "app-1"), job("c", "app-2", "h1"));
  assert.is(index.get("b")?.appId, "app-1");
  assert.is(index.get("z"), undefined);
  assert.equal(ids(index.onHost("h1")), ["a", "c"]);
  assert.equal(ids(index.ofApp("app-1")), ["a", "b"]);
  assert.equal(index.onHost("h2"), []);
});

test("a job that moves is on its new host only; one that is removed is nowhere", () => {
  const { index, put, remove } = indexOf(job("a", "app-1", "h1"), job("b", "app-1", "h1"));
  put(job("a", "app-1", "h2"));
  assert.equal([ids(index.onHost("h1")), ids(index.onHost("h2"))], [["b"], ["a"]]);
  assert.equal(ids(index.ofApp("app-1")), ["a", "b"]);
  put(job("a", "app-1"));
  assert.equal(ids(index.onHost("h2")), [], "it waits for a host again");
  remove("app-1", "b");
  remove("app-1", "never there");
  assert.equal([index.get("b"), ids(index.onHost("h1")), ids(index.ofApp("app-1"))], [undefined, [], ["a"]]);
});

test("records of other nouns change nothing", () => {
  const { index, apply } = indexOf(job("a", "app-1", "h1"));
  apply([
    { key: keys.host("h1"), value: null },
    { key: keys.release("app-1", "a"), value: { id: "a" } },
  ]);
  assert.equal(ids(index.onHost("h1")), ["a"]);
  assert.is(index.get("a")?.hostId, "h1");
});

test.run();
