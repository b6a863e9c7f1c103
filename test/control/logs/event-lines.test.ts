import { test } from "uvu";
import * as assert from "uvu/assert";
import { eventLines, lostLines } from "../../../control/logs/event-lines.ts";

const record = (type: string, message: string, subject: Record<string, unknown> = {}, fields = {}) => ({
  at: "2026-01-02T03:04:05.678Z",
  mutations: [
    { key: "things/x", value: { id: "x", ...subject } as never },
    {
      key: "events/1",
      value: { seq: 1, at: "", type, subject: "x", app: "hello", message, actor: "admin", ...fields },
    },
  ],
});
const lineOf = (...about: Parameters<typeof record>) => eventLines(record(...about), () => "app-1")[0];

for (const [claim, about, source, line] of [
  [
    "a release says who made it and the names of what it changed",
    ["release.created", "", { version: 4, createdBy: "admin", description: "set TOKEN" }],
    "deploy",
    "Release v4 created by admin: set TOKEN",
  ],
  [
    "a deployment begins",
    ["deployment.created", "", { toVersion: 4, createdBy: "ann" }],
    "deploy",
    "Deployment of v4 started by ann",
  ],
  [
    "a domain stays as it was given",
    ["route.created", "foo.com leads to hello web", {}],
    "deploy",
    "foo.com leads to hello web by admin",
  ],
  [
    "a path of a domain too",
    ["route.created", "foo.com/api leads to hello web", {}],
    "deploy",
    "foo.com/api leads to hello web by admin",
  ],
  [
    "a deployment is done",
    ["deployment.complete", "", { toVersion: 4, createdBy: "ann" }],
    "deploy",
    "Deployed v4 by ann",
  ],
  [
    "a deployment fails",
    ["deployment.failed", "", { toVersion: 4, reason: "crashed" }],
    "deploy",
    "Deployment of v4 failed: crashed",
  ],
  ["scaling", ["app.scaled", "scaled hello: web 1 to 2"], "deploy", "Scaled hello: web 1 to 2 by admin"],
  ["a build", ["build.started", "build 3 started"], "build", "Build 3 started by admin"],
  ["a kill", ["job.killed", "job x was told to stop", { process: "web" }], "system", "Job x was told to stop by admin"],
] as const)
  test(claim, () => {
    const made = lineOf(...(about as unknown as Parameters<typeof record>))!;
    assert.equal([made.source, made.line, made.app, made.at], [source, line, "hello", "2026-01-02T03:04:05.678000Z"]);
  });

test("a line about a job carries the job; the end of an app and what is of no app make no line", () => {
  assert.is(lineOf("job.killed", "", { process: "web" })!.jobId, "x");
  assert.is(lineOf("app.deleted", "gone"), undefined);
  assert.is(lineOf("host.lost", "gone", {}, { app: undefined }), undefined);
});

test("a job lost with its host is told once, and once more when it is lost again", () => {
  const lost = new Set<string>();
  const told = (state: string) => {
    const value = { id: "j", app: "hello", appId: "app-1", process: "web", state, reason: "h2 is silent" };
    return lostLines({ at: "", mutations: [{ key: "jobs/a/j", value }] }, lost).map(({ line }) => line);
  };
  assert.equal(told("up"), []);
  assert.equal(told("lost"), ["Lost with its host: h2 is silent"]);
  assert.equal(told("lost"), []);
  assert.equal(told("up"), []);
  assert.is(told("lost").length, 1);
});

test("each sentence is said of what it is about, and everything else is the event's own words", () => {
  for (const [type, message, subject, fields, line] of [
    ["release.created", "release v4", { version: 4 }, {}, "Release v4 created by admin"],
    ["release.created", "release is there", {}, {}, "Release is there by admin"],
    ["app.renamed", "renamed", { version: 4 }, {}, "Renamed by admin"],
    ["deployment.cancelled", "", { toVersion: 4 }, {}, "Deployment of v4 cancelled"],
    ["deployment.created", "deployment begins", {}, {}, "Deployment begins by admin"],
    ["job.created", "job runs", { toVersion: 4 }, {}, "Job runs by admin"],
    ["app.scaled", "admin scaled it", {}, {}, "Admin scaled it"],
    ["app.scaled", "scaled it", {}, { actor: "deployer" }, "Scaled it"],
  ] as const)
    assert.is(lineOf(type, message, subject, fields)?.line, line);
});

test("what an alert sums up is in the log already, and no other record's change is a line", () => {
  assert.is(lineOf("alert.raised", "too much"), undefined);
  assert.equal(
    eventLines({ at: "", mutations: [{ key: "events/1", value: null }] }, () => "app-1"),
    [],
  );
  assert.equal(
    eventLines(
      { at: "", mutations: [{ key: "apps/a", value: { app: "hello", type: "app.scaled" } as never }] },
      () => "app-1",
    ),
    [],
  );
});

test("whose a line is, its record says before anybody is asked; an event of an app that nobody knows is no line", () => {
  const made = eventLines(record("job.killed", "", { process: "web", appId: "app-old" }), () => "app-new");
  assert.equal(
    made.map(({ appId }) => appId),
    ["app-old"],
  );
  assert.equal(
    eventLines(record("job.killed", ""), () => undefined),
    [],
  );
});

test("only a line about a job has a job, and a process only when the job is in the same record", () => {
  const plain = lineOf("job.killed", "")!;
  assert.equal(["process" in plain, "jobId" in plain], [false, false]);
  assert.not.ok("jobId" in lineOf("app.scaled", "", { process: "web" })!);
  assert.equal([lineOf("job.killed", "", { process: "web" })!.process], ["web"]);
});

test("a loss is said with its reason, if it has one, and a job that is gone may be lost anew", () => {
  const lost = new Set<string>();
  const lines = (key: string, value: object | null) =>
    lostLines({ at: "", mutations: [{ key, value: value as never }] }, lost);
  const job = { id: "j", app: "hello", appId: "app-1", process: "web", state: "lost" };
  const line = {
    app: "hello",
    appId: "app-1",
    source: "system",
    process: "web",
    jobId: "j",
    line: "Lost with its host",
  } as const;
  assert.equal(lines("jobs/a/j", job), [line]);
  assert.equal(lines("jobs/a/j", null), []);
  assert.equal(lines("jobs/a/j", { ...job, reason: "silent" }), [{ ...line, line: "Lost with its host: silent" }]);
  assert.equal(
    [lines("jobs/a/j", job), lines("events/1", job), lines("jobs/a/k", { ...job, state: "up" })],
    [[], [], []],
  );
  assert.equal([...lost], ["jobs/a/j"]);
});

test.run();
