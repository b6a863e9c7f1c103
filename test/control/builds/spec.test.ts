// A build as its host is to run it: which images, which variables, and whether it still is to run.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Artifact } from "#api/artifacts.ts";
import type { BuildKind, BuildSettings, BuildSpec } from "#api/builds.ts";
import type { Deployment } from "#api/deployments.ts";
import type { Job } from "#api/jobs.ts";
import type { BuildPlan, BuildRecord } from "../../../control/builds/record.ts";
import { appEnv, buildSpec, stackOf } from "../../../control/builds/spec.ts";
import { keys } from "../../../control/keys.ts";
import { type Rig, withRig } from "../rig.ts";

const quiet = { loops: false };
const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const stack = {
  builder: { repository: "stack/builder", digest: digest("a") },
  runner: { repository: "stack/runner", digest: digest("b") },
} as BuildPlan["stack"];
const artifact = (id: string, appId: string, letter: string) =>
  ({ id, appId, repository: `apps/${appId}`, digest: digest(letter) }) as Artifact;
const job = { id: "job-1", appId: "app-1", app: "hello", desired: "run" } as Job;
const build = (over: Partial<BuildRecord>): BuildRecord => ({
  id: "b1",
  appId: "app-1",
  app: "hello",
  number: 1,
  kind: "buildpacks",
  state: "building",
  reason: "",
  source: { type: "archive", sha256: "0".repeat(64), sizeBytes: 1 },
  createdBy: "t",
  createdAt: "2026-01-01T00:00:00.000Z",
  attempt: 1,
  jobId: "job-1",
  ...over,
});
const put = (rig: Rig, records: Record<string, object>) =>
  rig.store.commit({ actor: "test", mutations: Object.entries(records).map(([key, value]) => ({ key, value })) });

interface Asked {
  over?: Partial<BuildRecord>;
  settings?: BuildSettings;
  withStack?: boolean;
  its?: Partial<Job>;
}
async function spec(rig: Rig, { over = {}, settings = {}, withStack = true, its = {} }: Asked) {
  const plan: BuildPlan = { settings, buildpacks: [], ...(withStack ? { stack } : {}) };
  await put(rig, { [keys.build("app-1", "b1")]: build(over), [keys.buildPlan("app-1", "b1")]: plan });
  return buildSpec({ ...job, ...its }, { ...rig.control.context, registry: "r.test:5000" });
}

const builder = `r.test:5000/stack/builder@${digest("a")}`;
const runner = `r.test:5000/stack/runner@${digest("b")}`;
const own = `r.test:5000/apps/app-1@${digest("c")}`;
const ownBase = `r.test:5000/apps/app-1@${digest("d")}`;
const IMAGES: [string, BuildKind, Omit<Asked, "over">, Pick<BuildSpec, "image" | "runImage">][] = [
  ["buildpacks: builder and runner of the stack", "buildpacks", {}, { image: builder, runImage: runner }],
  [
    "buildpacks, whatever builder is set",
    "buildpacks",
    { settings: { builder: "own" } },
    { image: builder, runImage: runner },
  ],
  ["buildpacks without a stack", "buildpacks", { withStack: false }, {}],
  ["a Dockerfile brings its own", "dockerfile", { settings: { builder: "own" } }, {}],
  [
    "CNB: the app's builder on the stack's runner",
    "cnb",
    { settings: { builder: "own" } },
    { image: own, runImage: runner },
  ],
  [
    "CNB: the app's builder and base",
    "cnb",
    { settings: { builder: "own", runImage: "base" } },
    { image: own, runImage: ownBase },
  ],
  ["CNB without a stack: the builder alone", "cnb", { settings: { builder: "own" }, withStack: false }, { image: own }],
  ["CNB: no builder of another app, and no base", "cnb", { settings: { builder: "theirs", runImage: "theirs" } }, {}],
  ["CNB: none that is gone", "cnb", { settings: { builder: "gone" } }, { runImage: runner }],
];

test("images: each kind of build is given its own, and never another app's", () =>
  withRig(async (rig) => {
    const uploads = [artifact("own", "app-1", "c"), artifact("base", "app-1", "d"), artifact("theirs", "app-2", "e")];
    await put(rig, Object.fromEntries(uploads.map((upload) => [keys.artifact(upload.id), upload])));
    for (const [claim, kind, asked, wanted] of IMAGES) {
      const { image, runImage } = (await spec(rig, { ...asked, over: { kind } }))!;
      assert.equal({ ...(image ? { image } : {}), ...(runImage ? { runImage } : {}) }, wanted, claim);
    }
  }, quiet));

test("hosts are told of the cluster's stack by the images that they pull, and of none while there is none", () =>
  withRig(async (rig) => {
    const told = () => stackOf({ store: rig.store, registry: "r.test:5000" });
    assert.is(told(), undefined);
    await put(rig, { [keys.stack]: { name: "flynn-24", ...stack } });
    assert.equal(told(), { name: "flynn-24", builder, runner });
  }, quiet));

test("it is to run while it and its job are wanted, and to stop otherwise", () =>
  withRig(async (rig) => {
    const desired = async (asked: Asked) => (await spec(rig, asked))?.desired;
    assert.is(await desired({}), "run");
    assert.is(await desired({ its: { desired: "stop" } }), "stop");
    assert.is(await desired({ over: { state: "failed" } }), "stop");
    assert.is(await desired({ over: { ending: { state: "cancelled", reason: "" } } }), "stop");
    assert.is(await desired({ its: { id: "job-2" } }), undefined, "another job's is none");
    assert.is(await desired({ over: { kind: undefined } }), undefined, "nor one whose kind is not known yet");
  }, quiet));

test("limits, the Dockerfile's path, target and arguments, and the commit are the settings' and the source's", () =>
  withRig(async (rig) => {
    const plain = (await spec(rig, { over: { kind: "dockerfile" } }))!;
    assert.equal(plain.dockerfile, { path: "Dockerfile", args: {} });
    assert.is(plain.source.sha256, "0".repeat(64));
    assert.not.ok("commit" in plain);
    assert.is(plain.cacheKey, "app-1-0");
    const source = { type: "git", sha256: "1".repeat(64), sizeBytes: 2, commit: "f".repeat(40) } as const;
    await put(rig, { [keys.buildCache("app-1")]: 4 as never });
    const full = (await spec(rig, {
      over: { kind: "dockerfile", source },
      settings: { dockerfile: "docker/web", target: "prod", args: { A: "1" }, limits: { timeoutMs: 60_000 } },
    }))!;
    assert.equal(full.dockerfile, { path: "docker/web", target: "prod", args: { A: "1" } });
    assert.equal([full.commit, full.cacheKey], [source.commit, "app-1-4"]);
    assert.equal(full.limits, { ...plain.limits, timeoutMs: 60_000 });
  }, quiet));

test("its variables are those the app is headed for: of a deployment under way, not of one that ended or was cancelled", () =>
  withRig(async (rig) => {
    const release = (id: string) => ({ [keys.release("app-1", id)]: { id, env: { FROM: id } } });
    const deployment = (id: string, toReleaseId: string, more: Partial<Deployment> & { cancel?: string }) => ({
      [keys.deployment("app-1", id)]: { id, appId: "app-1", toReleaseId, createdAt: id, ...more },
    });
    const env = () => appEnv(rig.store, rig.control.context.secrets, "app-1");
    assert.equal(env(), {}, "an app without a release has none");
    await put(rig, { ...release("r1"), ...release("r2"), [keys.app("app-1")]: { id: "app-1", releaseId: "r1" } });
    assert.equal(env(), { FROM: "r1" });
    for (const state of ["complete", "failed", "cancelled"] as const) {
      await put(rig, deployment("d1", "r2", { state }));
      assert.equal(env(), { FROM: "r1" }, state);
    }
    await put(rig, deployment("d1", "r2", { state: "running", cancel: "ann" }));
    assert.equal(env(), { FROM: "r1" }, "one that is being cancelled");
    await put(rig, deployment("d1", "r2", { state: "running" }));
    assert.equal(env(), { FROM: "r2" });
    assert.equal((await spec(rig, {}))!.env, { FROM: "r2" });
    assert.equal((await spec(rig, { over: { kind: "dockerfile" } }))!.env, {}, "an image's history would show them");
  }, quiet));

test("a build is given the cluster's certificate authority and proxy when there are some, and nothing of them otherwise", () =>
  withRig(async (rig) => {
    await put(rig, {
      [keys.build("app-1", "b1")]: build({}),
      [keys.buildPlan("app-1", "b1")]: { settings: {}, buildpacks: [], stack },
    });
    const context = { ...rig.control.context, registry: "r.test:5000", installers: undefined };
    assert.not("installers" in buildSpec(job, context)!);
    const installers = { ca: "pem", env: { HTTPS_PROXY: "http://proxy" } };
    assert.equal(buildSpec(job, { ...context, installers })?.installers, installers);
  }, quiet));

test.run();
