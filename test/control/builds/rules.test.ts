// The rules of builds, as tables: how a source is built, whose turn it is, what a build does next, what its release runs.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Artifact } from "#api/artifacts.ts";
import type { BuildSettings } from "#api/builds.ts";
import { DEFAULT_HEALTH, type Job } from "#api/jobs.ts";
import { type BuilderRequest, chooseBuilder, sameImage } from "../../../control/builds/builder.ts";
import type { SourceFacts } from "../../../control/builds/facts.ts";
import { chooseKind, chosenBuildpacks } from "../../../control/builds/kind.ts";
import { type Next, nextOf } from "../../../control/builds/next.ts";
import { commandEntrypoint, processesOf } from "../../../control/builds/processes.ts";
import { waitsFor } from "../../../control/builds/queue.ts";
import type { BuildRecord } from "../../../control/builds/record.ts";

const facts = (over: Partial<SourceFacts> = {}): SourceFacts => ({
  texts: {},
  dockerfile: false,
  entries: 1,
  notes: [],
  ...over,
});
const toml = { "project.toml": "" };

const KINDS: [string, BuildSettings, Partial<SourceFacts>, string][] = [
  ["nothing said", {}, {}, "Building with buildpacks (no Dockerfile, no project.toml)"],
  ["a Dockerfile", {}, { dockerfile: true }, "Building with Docker (Dockerfile found)"],
  [
    "a Dockerfile wins over project.toml",
    {},
    { dockerfile: true, texts: toml },
    "Building with Docker (Dockerfile found)",
  ],
  ["project.toml", { builder: "b" }, { texts: toml }, "Building with Cloud Native Buildpacks (project.toml found)"],
  ["a builder", { builder: "b" }, {}, "Building with Cloud Native Buildpacks (the app's settings name a builder)"],
  [
    "a Dockerfile wins over a builder",
    { builder: "b" },
    { dockerfile: true },
    "Building with Docker (Dockerfile found)",
  ],
  [
    "the settings win",
    { kind: "buildpacks" },
    { dockerfile: true, texts: toml },
    "Building with buildpacks (by the app's settings)",
  ],
];
for (const [what, settings, found, words] of KINDS)
  test(`how it is built: ${what}`, () => assert.is(chooseKind(settings, facts(found)).words, words));

test("what cannot be is refused in words", () => {
  assert.throws(() => chooseKind({ kind: "dockerfile" }, facts()), /there is no Dockerfile in the source/);
});

const upload = (id: string, source: string, createdAt: string): Artifact => ({
  id,
  appId: "a",
  repository: "apps/a",
  digest: `sha256:${"0".repeat(64)}`,
  source,
  sizeBytes: 1,
  architecture: "amd64",
  createdAt,
});
const uploaded = [
  upload("h1", "heroku/builder:24", "1"),
  upload("h2", "heroku/builder:24", "2"),
  upload("p", "p/b", "3"),
];
const BUILDERS: [string, Omit<BuilderRequest, "uploaded">, string, string, string[]?][] = [
  ["the settings' one", { settings: { builder: "p" } }, "p", "Builder p/b (by the app's settings)"],
  [
    "project.toml's, the newest upload of that name",
    { settings: { builder: "p" }, named: "docker.io/heroku/builder:24" },
    "h2",
    "Builder heroku/builder:24 (by project.toml)",
  ],
  [
    "both say the same",
    { settings: { builder: "h1" }, named: "heroku/builder:24" },
    "h1",
    "Builder heroku/builder:24 (by the app's settings)",
  ],
  ["project.toml's alone", { settings: {}, named: "p/b:latest" }, "p", "Builder p/b (by project.toml)"],
  [
    "the settings say the kind and so the builder",
    { settings: { kind: "cnb", builder: "p" }, named: "heroku/builder:24" },
    "p",
    "Builder p/b (by the app's settings)",
    ["project.toml names the builder heroku/builder:24; the app's settings go before it"],
  ],
];
for (const [what, wish, builder, words, warnings = []] of BUILDERS)
  test(`the builder: ${what}`, () => assert.equal(chooseBuilder({ ...wish, uploaded }), { builder, words, warnings }));

test("a builder that the cluster has not is refused, with how to give it one", () => {
  const refused = (wish: Omit<BuilderRequest, "uploaded">, why: RegExp) =>
    assert.throws(() => chooseBuilder({ ...wish, uploaded }), why);
  refused({ settings: {} }, /need a builder image: upload one \(flynn build builder upload\)/);
  refused({ settings: { builder: "other" } }, /builder=other is no artifact of this app/);
  refused(
    { settings: {}, named: "heroku/builder:22" },
    /heroku\/builder:22, which is not .*: flynn build builder upload heroku\/builder:22$/,
  );
  refused({ settings: { builder: "p" }, named: "x/y" }, /or build with p\/b all the same: flynn build set kind=cnb$/);
});

test("an image of a registry is known by each of its spellings", () => {
  for (const other of ["node", "docker.io/library/node:latest", "index.docker.io/library/node", "docker://node"])
    assert.ok(sameImage("library/node:latest", other), other);
  for (const other of ["node:20", "e.test/node", `node@sha256:${"0".repeat(64)}`])
    assert.not.ok(sameImage("node", other), other);
  assert.ok(sameImage("e.test:5000/b", "e.test:5000/b:latest"));
});

test("buildpacks: BUILDPACK_URL, then the settings, then .buildpacks (read by the builder), then app.json", () => {
  const texts = { ".buildpacks": "x" };
  const appJson = ["json"];
  assert.equal(chosenBuildpacks({ buildpacks: ["set"] }, { env: { BUILDPACK_URL: "url" }, appJson, texts }), ["url"]);
  assert.equal(chosenBuildpacks({ buildpacks: ["set"] }, { env: {}, appJson, texts }), ["set"]);
  assert.equal(chosenBuildpacks({}, { env: {}, appJson, texts }), []);
  assert.equal(chosenBuildpacks({}, { env: {}, appJson, texts: {} }), ["json"]);
});

const build = (over: Partial<BuildRecord> = {}): BuildRecord => ({
  id: "b1",
  appId: "a",
  app: "a",
  number: 1,
  state: "building",
  reason: "",
  source: { type: "archive", sha256: "0".repeat(64), sizeBytes: 1 },
  createdBy: "t",
  createdAt: "2026-01-01T00:00:00.000Z",
  attempt: 1,
  jobId: "j",
  hostId: "h",
  ...over,
});
const job = (over: Partial<Job> = {}): Job => ({
  id: "j",
  appId: "a",
  app: "a",
  releaseId: "build",
  version: 0,
  process: "build",
  desired: "run",
  state: "up",
  reason: "",
  hostId: "h",
  need: { cpuMillis: 1, memoryBytes: 1, diskBytes: 1 },
  tags: {},
  restarts: 0,
  createdAt: "2026-01-01T00:00:00.000Z",
  placedAt: "2026-01-01T00:00:00.000Z",
  ...over,
});
const at = (minutes: number) => Date.parse("2026-01-01T00:00:00Z") + minutes * 60_000;
const slug = { type: "slug", digest: "", diffId: "", sizeBytes: 1 } as const;

const MINUTE_MS = 60_000;
const NEXTS: [
  string,
  Partial<BuildRecord>,
  Job | undefined,
  Partial<{ standsForMs: number; endedForMs: number }>,
  Next,
][] = [
  [
    "waits for a host",
    { state: "queued", hostId: undefined },
    job({ hostId: undefined, state: "pending", reason: "no room" }),
    {},
    { type: "wait", reason: "waits for a host: no room" },
  ],
  [
    "no host within an hour",
    { state: "queued", hostId: undefined },
    job({ hostId: undefined, state: "pending", reason: "no room" }),
    { standsForMs: 61 * MINUTE_MS },
    { type: "fail", reason: "no host had room for it within 60m: no room" },
  ],
  [
    "is placed",
    { state: "queued", hostId: undefined },
    job({ state: "starting" }),
    {},
    { type: "building", hostId: "h" },
  ],
  ["runs", {}, job(), { standsForMs: 15 * MINUTE_MS }, { type: "wait", reason: "" }],
  [
    "runs beyond its limit and a minute",
    {},
    job(),
    { standsForMs: 16.1 * MINUTE_MS },
    { type: "fail", reason: "it took longer than 15m, the limit (flynn build set timeout=...)" },
  ],
  ["has its result and its slug", { result: { exitCode: 0, reason: "" }, product: slug }, job(), {}, { type: "store" }],
  [
    "has a result, its job is down",
    { result: { exitCode: 0, reason: "" }, product: slug },
    job({ state: "down" }),
    {},
    { type: "store" },
  ],
  [
    "has its result, its host was lost after that",
    { result: { exitCode: 0, reason: "" }, product: slug },
    job({ state: "lost" }),
    {},
    { type: "store" },
  ],
  [
    "has a result without a slug",
    { result: { exitCode: 0, reason: "" } },
    job(),
    {},
    { type: "fail", reason: "the build made no image" },
  ],
  ["failed", { result: { exitCode: 1, reason: "no" } }, job(), {}, { type: "fail", reason: "no" }],
  [
    "failed without a word",
    { result: { exitCode: 7, reason: "" } },
    job(),
    {},
    { type: "fail", reason: "the build ended with code 7" },
  ],
  [
    "its job is down, its last words may come yet",
    {},
    job({ state: "down" }),
    { endedForMs: 1_000 },
    { type: "wait", reason: "its job has ended" },
  ],
  [
    "its job is down and nothing came",
    {},
    job({ state: "down", exitCode: 137, reason: "out of memory" }),
    { endedForMs: 16_000 },
    { type: "fail", reason: "its job ended with code 137 without a result: out of memory" },
  ],
  ["its host is lost", {}, job({ state: "lost" }), {}, { type: "again", why: "host h1 was lost" }],
  ["its job is gone", {}, undefined, {}, { type: "again", why: "host h1 was lost" }],
  [
    "its second host is lost",
    { attempt: 2 },
    job({ state: "lost" }),
    {},
    { type: "fail", reason: "host h1 was lost, the second one" },
  ],
];
for (const [what, over, its, seen, wanted] of NEXTS)
  test(`a build that ${what}`, () =>
    assert.equal(
      nextOf({
        build: build(over),
        job: its,
        hostName: "h1",
        timeoutMs: 900_000,
        standsForMs: MINUTE_MS,
        endedForMs: 0,
        ...seen,
      }),
      wanted,
    ));

test("whose turn it is: an app's earlier builds first, then as many as are set, by age; a deploying one holds no place", () => {
  const one = (appId: string, number: number, state: BuildRecord["state"], minute: number): BuildRecord =>
    build({
      id: `${appId}${number}`,
      appId,
      app: appId,
      number,
      state,
      jobId: state === "queued" ? undefined : "j",
      createdAt: new Date(at(minute)).toISOString(),
    });
  const [running, second, waiting, last] = [
    one("a", 1, "building", 0),
    one("a", 2, "queued", 1),
    one("b", 1, "queued", 3),
    one("c", 1, "queued", 2),
  ];
  const all = [running, second, waiting, last];
  assert.is(waitsFor(second, all, 9), "waits for build 1 of a to end");
  assert.is(waitsFor(last, all, 2), undefined);
  assert.is(
    waitsFor(waiting, all, 2),
    "waits for its turn: 1 of at most 2 builds run in the cluster, and 1 waits before it",
  );
  assert.is(waitsFor(waiting, all, 3), undefined);
  assert.is(waitsFor(last, all, 1), "waits for its turn: 1 of at most 1 build runs in the cluster");
  const deploying = { ...running, state: "deploying" as const };
  assert.is(waitsFor(last, [deploying, second, waiting, last], 1), undefined);
  assert.is(waitsFor(second, [deploying, second], 1), "waits for build 1 of a to end");
});

const wish = { kind: "buildpacks", procfile: undefined, found: {}, health: {}, before: {} } as const;
test("processes: the Procfile's over those found; settings of before stay, commands do not", () => {
  const before = { web: { port: 3000, pids: 9, command: ["old"], entrypoint: ["x"] }, gone: { port: null } };
  const health = { web: { ...DEFAULT_HEALTH, type: "http" as const, path: "/up" } };
  assert.equal(
    processesOf({
      ...wish,
      procfile: { web: "new", release: "r" },
      found: { web: "found", console: "c" },
      release: "json",
      health,
      before,
    }),
    {
      console: { port: null, command: ["c"] },
      release: { port: null, command: ["r"] },
      web: { port: 3000, pids: 9, health: health.web, command: ["new"] },
    },
  );
});

test("processes: fifty types are taken, one more is refused", () => {
  const of = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, n) => [`p${n}`, "x"]));
  assert.is(Object.keys(processesOf({ ...wish, found: of(50) })).length, 50);
  assert.throws(() => processesOf({ ...wish, found: of(51) }), /^there are more than 50 process types$/);
});

test("processes: a line is a command to the runner, to a shell in a Docker image, to the launcher in a CNB image", () => {
  const found = { web: "npm start" };
  assert.equal(processesOf({ ...wish, found }), { web: { port: 8080, command: ["npm start"] } });
  assert.equal(processesOf({ ...wish, kind: "dockerfile" }), { web: { port: 8080 } });
  assert.equal(processesOf({ ...wish, kind: "dockerfile", procfile: { web: "x" } }), {
    web: { port: 8080, entrypoint: ["/bin/sh", "-c"], command: ["x"] },
  });
  assert.equal(processesOf({ ...wish, kind: "cnb", found, procfile: { job: "x" } }), {
    job: { port: null, entrypoint: ["/cnb/lifecycle/launcher"], command: ["x"] },
    web: { port: 8080, entrypoint: ["/cnb/process/web"] },
  });
  assert.throws(() => processesOf(wish), /no process type was found: add a Procfile/);
  assert.throws(() => processesOf({ ...wish, procfile: { release: "x" } }), /no process type was found/);
});

test("a command of its own goes through the launcher in a CNB image, as a line or as words, and to the entrypoint in any other", () => {
  const web = { port: 8080, entrypoint: ["/cnb/process/web"] };
  assert.equal(commandEntrypoint({ web }, ["rake db:migrate"]), ["/cnb/lifecycle/launcher"]);
  assert.equal(commandEntrypoint({ web }, ["echo;env"]), ["/cnb/lifecycle/launcher"]);
  assert.equal(commandEntrypoint({ web }, ["env"]), ["/cnb/lifecycle/launcher", "--"]);
  assert.equal(commandEntrypoint({ web }, ["bash", "-c", "x $Y"]), ["/cnb/lifecycle/launcher", "--"]);
  assert.is(commandEntrypoint({ web: { entrypoint: ["/bin/sh", "-c"] } }, ["x"]), undefined);
  assert.is(commandEntrypoint({ web: {} }, ["x"]), undefined);
});

test.run();
