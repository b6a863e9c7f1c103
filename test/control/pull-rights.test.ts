// Which images a host may pull.

import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { repositoryOf } from "../../control/builds/record.ts";
import { jobIndex } from "../../control/job-index.ts";
import { keys } from "../../control/keys.ts";
import { mayPull, pullOf } from "../../control/pull-rights.ts";
import { kept } from "./kept.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;

test("only reading what is named by its digest is a pull, and the question whether this is a registry", () => {
  const pull = (path: string, method = "GET") => {
    const of = pullOf(method, path);
    return typeof of === "object" ? of.repository : of;
  };
  assert.equal([pull("/v2/"), pull("/v2", "HEAD")], ["version", "version"]);
  for (const kind of ["manifests", "blobs"])
    for (const name of ["a", "apps/a-b_c.d", "a/b/c", "a".repeat(400)])
      assert.is(pull(`/v2/${name}/${kind}/${DIGEST}`), name);
  assert.is(pull(`/v2/${"a".repeat(430)}/blobs/${DIGEST}`)?.length, 430, "a path of 512 characters");
  for (const method of ["PUT", "POST", "DELETE", "PATCH", "OPTIONS", "get", ""])
    assert.is(pull(`/v2/a/blobs/${DIGEST}`, method), undefined, method);
  assert.is(pullOf(undefined, "/v2/"), undefined);
  for (const path of [
    "/v2/a/manifests/latest",
    "/v2/_catalog",
    "/v2/a/tags/list",
    `/v2/a/blobs/${DIGEST}x`,
    `/v2/a/blobs/sha256:${"AB".repeat(32)}`,
    `/v2/../a/blobs/${DIGEST}`,
    `/v2/A/blobs/${DIGEST}`,
    `/v2//blobs/${DIGEST}`,
    `/v2/a/uploads/${DIGEST}`,
    `x/v2/a/blobs/${DIGEST}`,
    `/v2/${"a".repeat(431)}/blobs/${DIGEST}`,
    "/",
  ])
    assert.is(pull(path), undefined, path);
});

const job = (id: string, over: Partial<Job> = {}): Job =>
  ({ id, appId: "a", releaseId: "r1", hostId: "h1", state: "up", ...over }) as Job;
function may(repository: string, jobs: Job[], hostId = "h1"): boolean {
  const store = kept({
    [keys.release("a", "r1")]: { artifactId: "art" },
    [keys.release("a", "r2")]: {},
    [keys.release("a", "r3")]: { artifactId: "gone" },
    [keys.artifact("art")]: { repository: "apps/a" },
    ...Object.fromEntries(jobs.map((each) => [keys.job(each.appId, each.id), each])),
  });
  return mayPull(hostId, repository, { store, jobs: jobIndex(store) });
}

test("a host pulls the image of a job that is on it and not over, and the stack; nothing else", () => {
  assert.ok(may("apps/a", [job("j")]));
  for (const repository of ["apps/b", "apps/a/b", "apps", ""]) assert.not(may(repository, [job("j")]), repository);
  assert.not(may("apps/a", [job("j")], "h2"));
  assert.not(may("apps/a", []));
  for (const state of ["starting", "crashed", "stopping", "unhealthy"] as const)
    assert.ok(may("apps/a", [job("j", { state })]), state);
  for (const state of ["down", "lost"] as const) assert.not(may("apps/a", [job("j", { state })]), state);
  for (const releaseId of ["r2", "r3", "r4"]) assert.not(may("apps/a", [job("j", { releaseId })]), releaseId);
  assert.ok(may("apps/a", [job("i", { state: "down" }), job("j")]));
  for (const repository of ["stack/builder", "stack/runner"]) assert.ok(may(repository, []), repository);
  for (const repository of ["stack/other", "xstack/builder", "stack/builder/x", "stack"])
    assert.not(may(repository, []), repository);
});

test("a build pulls from its app's own repository, and no other app's", () => {
  const build = job("j", { task: { kind: "build" } as never, releaseId: "" });
  assert.ok(may(repositoryOf("a"), [build]));
  assert.not(may(repositoryOf("b"), [build]));
  assert.not(may(repositoryOf("a"), [{ ...build, state: "down" }]));
});

test.run();
