// Making releases, and finding them again.
import { randomBytes } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { App, Release } from "#api/apps.ts";
import { openRelease, sealRelease } from "../../../control/apps/env-at-rest.ts";
import { currentRelease, findApp, findRelease, formationOf, liveJobs, releasesOf } from "../../../control/apps/find.ts";
import {
  DEFAULT_PROCESSES,
  makeRelease,
  nextRelease,
  RESERVED_ENV,
  type ReleaseWish,
  releaseEvent,
  summary,
} from "../../../control/apps/release.ts";
import { keys } from "../../../control/keys.ts";
import type { ReleaseRecord } from "../../../control/records.ts";
import { secretsOf } from "../../../control/secrets.ts";
import { refusal, refusedField } from "../faults.ts";
import { kept } from "../kept.ts";

const AT = "2026-01-01T00:00:00.000Z";
const frame = { appId: "app-1", version: 2, by: "ann", at: AT };
const before: Release = {
  id: "r1",
  appId: "app-1",
  version: 1,
  artifactId: "a1",
  processes: { web: { port: 80, memoryBytes: 7 }, worker: { port: null } },
  env: { A: "1", B: "2" },
  description: "first",
  createdAt: AT,
  createdBy: "bob",
};
const made = (wish: ReleaseWish, from: Release | undefined = before) => makeRelease(from, wish, frame);

test("a release is whole by itself, with what it takes over from the one before", () => {
  const { id, ...next } = made({});
  assert.match(id, /^[a-z0-9-]+$/);
  assert.is.not(id, before.id);
  assert.equal(next, {
    appId: "app-1",
    version: 2,
    artifactId: "a1",
    processes: before.processes,
    env: before.env,
    description: "no change",
    createdAt: AT,
    createdBy: "ann",
  });
  const { id: _, ...first } = makeRelease(undefined, {}, frame);
  assert.equal(first, {
    appId: "app-1",
    version: 2,
    processes: { web: { port: 8080 } },
    env: {},
    description: "no change",
    createdAt: AT,
    createdBy: "ann",
  });
  assert.equal(DEFAULT_PROCESSES, { web: { port: 8080 } });
});

const CHANGES: [wish: ReleaseWish, changed: Partial<Release>][] = [
  [{ artifactId: "a2" }, { artifactId: "a2", description: "new image" }],
  [{ artifactId: "a1" }, { description: "no change" }],
  [{ env: { C: "3" } }, { env: { A: "1", B: "2", C: "3" }, description: "set C" }],
  [{ env: { A: null, B: "x" } }, { env: { B: "x" }, description: "set B; removed A" }],
  [{ env: { A: null, B: null } }, { env: {}, description: "removed A, B" }],
  [{ env: { A: "" } }, { env: { A: "", B: "2" }, description: "set A" }],
  [{ processes: { web: { port: 1 } } }, { processes: { web: { port: 1 } }, description: "processes changed" }],
  [
    { processChanges: { web: { memoryBytes: 9 } } },
    { processes: { ...before.processes, web: { port: 80, memoryBytes: 9 } }, description: "web: memoryBytes" },
  ],
  [
    { processChanges: { web: { memoryBytes: null, port: null } } },
    { processes: { ...before.processes, web: { port: null } }, description: "web: memoryBytes, port" },
  ],
  [
    { processes: { web: { port: 1 } }, processChanges: { web: { port: 2 } } },
    { processes: { web: { port: 2 } }, description: "processes changed; web: port" },
  ],
  [
    { artifactId: "a2", env: { C: "3" }, description: "by hand" },
    { artifactId: "a2", env: { A: "1", B: "2", C: "3" }, description: "by hand" },
  ],
  [
    { artifactId: "a2", env: { C: "3", A: null } },
    { artifactId: "a2", env: { B: "2", C: "3" }, description: "new image; set C; removed A" },
  ],
];
for (const [wish, changed] of CHANGES)
  test(`what is asked for changes, and is described: ${changed.description}`, () => {
    const { id: _, ...next } = made(wish);
    const { id: __, ...same } = made({});
    assert.equal(next, { ...same, ...changed });
  });

test("a description that is made is at most 200 characters", () => {
  const env = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`NAME_${n}`, ""]));
  assert.is(made({ env }).description.length, 200);
});

test("a process that is not there is not changed, and the answer says which are", () => {
  const ask = () => made({ processChanges: { db: { port: 1 } } });
  assert.is(refusal(ask), "invalid no process db; the app has web, worker");
  assert.is(refusedField(ask), "db");
  assert.match(
    refusal(() => made({ processChanges: { toString: { port: 1 } } })),
    /^invalid no process toString/,
  );
});

test("names that the platform sets are refused, to set and to remove", () => {
  assert.equal([...RESERVED_ENV].sort(), [
    "FLYNN_APP",
    "FLYNN_JOB",
    "FLYNN_PROCESS",
    "FLYNN_RELEASE",
    "HOST_ID",
    "PORT",
  ]);
  for (const name of RESERVED_ENV)
    for (const value of ["x", null]) {
      const ask = () => made({ env: { C: "3", [name]: value } });
      assert.is(refusal(ask), `invalid ${name} is set by the platform for every job and cannot be changed`);
      assert.is(refusedField(ask), name);
    }
});

test("an environment of 12 KiB is taken, counted in bytes with names and signs; one byte more is not", () => {
  const room = 12 * 1024 - JSON.stringify({ A: "" }).length;
  const of = (A: string) => refusal(() => makeRelease(undefined, { env: { A } }, frame));
  assert.is(of("x".repeat(room)), "fine");
  assert.is(of("x".repeat(room + 1)), "too-large the environment of a release is at most 12 KiB");
  assert.is(of("é".repeat(room / 2 + 1)), "too-large the environment of a release is at most 12 KiB");
});

const secrets = secretsOf([randomBytes(32)]);
const sealed = (id: string, version: number, env: Record<string, string> = {}): ReleaseRecord =>
  sealRelease(secrets, { ...before, id, version, env });
const app = { id: "app-1", name: "hello", releaseId: "r2" } as App;
const world = (more: Record<string, unknown> = {}) =>
  kept({
    [keys.app("app-1")]: app,
    [keys.appName("hello")]: "app-1",
    [keys.release("app-1", "r1")]: sealed("r1", 2, { A: "r1" }),
    [keys.release("app-1", "r2")]: sealed("r2", 10, { A: "r2" }),
    [keys.release("app-1", "r3")]: sealed("r3", 9, { A: "r3" }),
    [keys.release("app-2", "x")]: sealed("x", 99),
    ...more,
  });

test("the next release has the next number, is made from the one named or the newest, and its values are sealed", () => {
  const of = (from?: ReleaseRecord) =>
    nextRelease({ store: world(), secrets }, app, from, { env: { C: "3" } }, { by: "ann", at: new Date(AT) });
  const record = of();
  assert.equal([record.version, record.appId, record.createdBy, record.createdAt], [11, "app-1", "ann", AT]);
  assert.not.ok("env" in record);
  assert.equal(record.envNames, ["A", "C"]);
  assert.equal(openRelease(secrets, record).env, { A: "r2", C: "3" });
  const back = of(sealed("r1", 2, { A: "r1" }));
  assert.equal([back.version, openRelease(secrets, back).env], [11, { A: "r1", C: "3" }]);
  const first = nextRelease({ store: kept(), secrets }, app, undefined, {}, { by: "ann", at: new Date(AT) });
  assert.is(first.version, 1);
});

test("a release is told of and shown without its values", () => {
  const record = { ...sealed("r2", 10, { B: "secret", A: "1" }), description: "set B" };
  assert.equal(releaseEvent(app, record), {
    type: "release.created",
    subject: "r2",
    app: "hello",
    actor: "bob",
    message: "release v10 of hello: set B",
  });
  const { sealed: _, ...shown } = record;
  assert.equal(summary(record, "r2"), { ...shown, envNames: ["A", "B"], current: true } as never);
  assert.is(summary(record, "r1").current, false);
  assert.is(summary(record, undefined).current, false);
  const { envNames: __, sealed: ___, ...older } = record;
  const clear = summary({ ...older, env: { Z: "secret", Y: "" } }, "r1");
  assert.equal(clear.envNames, ["Y", "Z"]);
  assert.not.ok("env" in clear);
  assert.equal(summary(older, "r1").envNames, []);
});

test("an app is found by name or id until it is being deleted", () => {
  for (const text of ["hello", "app-1"]) assert.equal(findApp(world(), text).value, app);
  assert.is(
    refusal(() => findApp(world(), "nobody")),
    "not-found no app nobody",
  );
  const going = world({ [keys.app("app-1")]: { ...app, deleting: true } });
  for (const text of ["hello", "app-1"])
    assert.is(
      refusal(() => findApp(going, text)),
      `not-found no app ${text}`,
    );
});

test("a release is found by id, by v10 and by 10; one that was collected is gone, one that never was is not found", () => {
  const find = (text: string) => () => findRelease(world(), "app-1", text).id;
  for (const text of ["r2", "v10", "10"]) assert.is(find(text)(), "r2");
  assert.is(find("v9")(), "r3");
  for (const text of ["v11", "x", "v", "10x", "vv10", "v99", "r9"])
    assert.is(refusal(find(text)), `not-found no release ${text}`);
  for (const text of ["v3", "1"])
    assert.is(
      refusal(find(text)),
      `gone v${text.replace("v", "")} was collected: the last 10 releases are kept, and those in use; there are v2, v9, v10`,
    );
  assert.is(
    refusal(() => findRelease(kept(), "app-1", "v1")),
    "not-found no release v1",
  );
  assert.is(refusal(find("0000000010")), "not-found no release 0000000010");
});

test("of very many releases that are there the answer names some", () => {
  const many = Object.fromEntries(
    Array.from({ length: 100 }, (_, n) => [keys.release("app-1", `s${n}`), sealed(`s${n}`, 1_000 + n)]),
  );
  const answer = refusal(() => findRelease(kept(many), "app-1", "v999"));
  assert.is(
    answer.length,
    "gone v999 was collected: the last 10 releases are kept, and those in use; there are ".length + 200,
  );
});

test("releases come oldest first, the current one is the app's, a formation is the release's", () => {
  assert.equal(
    releasesOf(world(), "app-1").map(({ version }) => version),
    [2, 9, 10],
  );
  assert.is(currentRelease(world(), app)?.id, "r2");
  assert.is(currentRelease(world(), { ...app, releaseId: "gone" }), undefined);
  const { releaseId: _, ...fresh } = app;
  assert.is(currentRelease(world(), fresh as App), undefined);
  const formation = world({ [keys.formation("app-1", "r2")]: { releaseId: "r2" } });
  assert.equal(formationOf(formation, "app-1", "r2")?.value, { releaseId: "r2" } as never);
  assert.is(formationOf(formation, "app-1", "r1"), undefined);
});

test("jobs that are not over are live, whatever else they are", () => {
  const states = ["pending", "starting", "up", "crashed", "stopping", "down", "lost"];
  const jobs = states.map((state) => [keys.job("app-1", state), { id: state, state }]);
  const store = world({ ...Object.fromEntries(jobs), [keys.job("app-2", "x")]: { id: "x", state: "up" } });
  assert.equal(
    liveJobs(store, "app-1")
      .map(({ id }) => id)
      .sort(),
    ["crashed", "pending", "starting", "stopping", "up"],
  );
});

test.run();
