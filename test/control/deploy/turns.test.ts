// What each turn of a deployment writes, in one commit: the record, the formations, the app and what people hear.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { App, Formation } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import { beginning, completing, releasing, scaling } from "../../../control/deploy/changes.ts";
import { comingId, countsOf, formationsBeside, lowered } from "../../../control/deploy/formations.ts";
import { ending, hasNoWayBack, returned, stranded, turningBack } from "../../../control/deploy/going-back.ts";
import type { DeploymentRecord } from "../../../control/deploy/record.ts";
import { keys } from "../../../control/keys.ts";
import type { Change } from "../../../control/store/store.ts";
import { kept } from "../kept.ts";

const AT = new Date("2026-01-01T00:00:00.000Z");
const NOW = AT.toISOString();
const app = { id: "a", name: "hello", releaseId: "r1" } as App;
const entry = { key: keys.app("a"), value: app, version: 7 };
const formation = (releaseId: string, counts: Record<string, number>): Formation => ({
  appId: "a",
  releaseId,
  processes: Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, { count, tags: { zone: name } }])),
});
const keyOf = (releaseId: string) => keys.formation("a", releaseId);
const job = (process: string, over: Partial<Job> = {}): Job =>
  ({ process, releaseId: "r1", version: 1, state: "up", desired: "run", ...over }) as Job;
const deployment = (over: Partial<DeploymentRecord> = {}): DeploymentRecord =>
  ({
    id: "d1",
    appId: "a",
    toReleaseId: "r2",
    toVersion: 2,
    fromReleaseId: "r1",
    state: "running",
    reason: "",
    processes: {},
    before: formation("r1", { web: 3 }).processes,
    ...over,
  }) as DeploymentRecord;
const PROCESSES = { web: { port: 80 }, worker: { port: null }, release: { port: null } };
const world = (formations: Formation[], over: Record<string, unknown> = {}) =>
  kept({
    [keys.release("a", "r1")]: { id: "r1", version: 1, processes: PROCESSES },
    [keys.release("a", "r2")]: { id: "r2", version: 2, processes: PROCESSES },
    ...Object.fromEntries(formations.map((each) => [keyOf(each.releaseId), each])),
    ...over,
  });
const said = (changes: readonly Change[]) =>
  changes.flatMap(({ value }) => {
    const { type, message, actor, subject } = (value ?? {}) as Record<string, string>;
    return message === undefined ? [] : [`${type} ${subject} ${actor}: ${message}`];
  });
const written = (changes: readonly Change[]) => changes.filter(({ key }) => !key.startsWith("events/"));

test("a deployment begins with a formation of zeros beside the old one, and knows what it is to reach", () => {
  const jobs = [job("web"), job("web"), job("web", { state: "crashed" }), job("worker", { desired: "stop" })];
  const turn = beginning(world([formation("r1", { web: 3 })]), deployment({ state: "pending" }), {
    app: entry,
    jobs,
    at: AT,
  });
  assert.equal(turn.changed, {
    state: "running",
    step: "starting",
    startedAt: NOW,
    releasing: false,
    before: formation("r1", { web: 3 }).processes,
    hadHealthy: { web: 2 },
    fromReleaseId: "r1",
    processes: { web: { wanted: 3, healthy: 0, oldLeft: 3 }, worker: { wanted: 0, healthy: 0, oldLeft: 0 } },
  });
  assert.equal(turn.more, [
    {
      key: keyOf("r2"),
      value: {
        appId: "a",
        releaseId: "r2",
        processes: { web: { count: 0, tags: { zone: "web" } }, worker: { count: 0, tags: {} } },
      },
    },
  ]);
  assert.equal(turn.expect, [{ key: entry.key, version: 7 }]);
});

test("an app's first deployment has one web job and nothing else, unless it is told how many", () => {
  const { releaseId: _, ...fresh } = app;
  const first = (over: Partial<DeploymentRecord> = {}) =>
    beginning(world([]), deployment(over), { app: { ...entry, value: fresh as App }, jobs: [], at: AT }).changed;
  const { before, processes, fromReleaseId } = first();
  assert.equal([before, fromReleaseId], [{}, undefined]);
  assert.equal(processes, {
    web: { wanted: 1, healthy: 0, oldLeft: 0 },
    worker: { wanted: 0, healthy: 0, oldLeft: 0 },
  });
  const asked = first({ processes: { web: { wanted: 4 } } as never, startedAt: "earlier" });
  assert.equal([asked.processes!["web"]!.wanted, asked.startedAt], [4, "earlier"]);
});

test("what serves of the release already is where it begins, and no more than is wanted of it", () => {
  const of = (there: number) => {
    const store = world([formation("r1", { web: 3 }), formation("r2", { web: there })]);
    const [change] = beginning(store, deployment(), { app: entry, jobs: [], at: AT }).more;
    return (change!.value as unknown as Formation).processes["web"]!.count;
  };
  assert.equal([of(0), of(2), of(9)], [0, 2, 3]);
});

test("the same release again keeps its formation as it is wanted, and has none to go back to", () => {
  const to = { ...entry, value: { ...app, releaseId: "r2" } };
  const turn = beginning(world([formation("r2", { web: 3 })]), deployment(), { app: to, jobs: [], at: AT });
  assert.is((turn.more[0]!.value as unknown as Formation).processes["web"]!.count, 3);
  assert.not.ok("fromReleaseId" in turn.changed);
});

test("a release phase is made with its job in the same record", () => {
  const changes = [{ key: "x", value: 1 }];
  assert.equal(releasing({ job: { id: "j1" } as Job, changes }, AT), {
    changed: {
      state: "running",
      releasing: true,
      releaseJobId: "j1",
      step: "release phase: j1 is made",
      startedAt: NOW,
    },
    more: changes,
    expect: [],
  });
});

test("a deployment that is done makes its release the app's, and every other formation goes", () => {
  const store = world([formation("r1", { web: 0 }), formation("r2", { web: 3 }), formation("r0", { web: 1 })]);
  const turn = completing(store, deployment(), entry, AT);
  assert.equal(turn.changed, { state: "complete", step: "done", finishedAt: NOW });
  assert.equal(written(turn.more), [
    { key: entry.key, value: { ...app, releaseId: "r2" } },
    { key: keyOf("r0"), value: null },
    { key: keyOf("r1"), value: null },
  ]);
  assert.equal(said(turn.more), ["deployment.complete d1 deployer: v2 of hello is live"]);
  assert.equal(turn.expect, [{ key: entry.key, version: 7 }]);
});

test("a deployment has no way back while nothing was touched, or when there is nothing to go back to", () => {
  for (const [over, is] of [
    [{}, false],
    [{ state: "pending" }, true],
    [{ releasing: true }, true],
    [{ releasing: false }, false],
    [{ fromReleaseId: undefined }, true],
  ] as const)
    assert.is(hasNoWayBack(deployment(over as never)), is);
});

const failed = { state: "failed", reason: "it\u001bcrashed", at: AT } as const;

test("one that ends without a way back takes its formation along, if it made one, and says why", () => {
  const store = world([formation("r2", { web: 1 })]);
  const turn = ending(store, deployment(), app, failed);
  assert.equal(turn.changed, {
    state: "failed",
    step: "",
    releasing: false,
    goingBack: undefined,
    reason: "it?crashed",
    logTail: [],
    finishedAt: NOW,
  });
  assert.equal(written(turn.more), [{ key: keyOf("r2"), value: null }]);
  assert.equal(said(turn.more), ["deployment.failed d1 deployer: v2 of hello failed: it?crashed"]);
  const nothing = (over: Partial<DeploymentRecord>, of: App | undefined = app) =>
    written(ending(store, deployment(over), of, failed).more);
  for (const over of [{ state: "pending" }, { releasing: true }] as const) assert.equal(nothing(over), []);
  assert.equal([nothing({}, { ...app, deleting: true } as never), nothing({}, { ...app, releaseId: "r2" })], [[], []]);
  const gone = ending(store, deployment(), undefined, { ...failed, state: "cancelled" });
  assert.equal(
    [written(gone.more), said(gone.more)],
    [[], ["deployment.cancelled d1 deployer: v2 cancelled: it?crashed"]],
  );
});

test("a release phase that failed leaves the earlier release serving, where there is one", () => {
  const step = (of: App) => ending(world([]), deployment({ releasing: true }), of, failed).changed.step;
  const { releaseId: _, ...fresh } = app;
  assert.equal([step(app), step(fresh as App)], ["the earlier release goes on serving", ""]);
});

test("one that turns back says to which release, by its version where it is known", () => {
  const turn = turningBack(world([]), deployment(), app, { ...failed, reason: "broken" });
  assert.equal(turn.changed, { goingBack: "failed", step: "going back to v1", reason: "broken", logTail: [] });
  assert.equal(said(turn.more), ["deployment.going-back d1 deployer: v2 of hello failed, it goes back to v1: broken"]);
  const called = turningBack(kept(), deployment(), app, { ...failed, state: "cancelled", reason: "by ann" });
  assert.equal(said(called.more), [
    "deployment.going-back d1 deployer: v2 of hello was cancelled, it goes back to the earlier release: by ann",
  ]);
});

test("one that went back asks for the earlier release as it was, and for nothing beside it", () => {
  const store = world([formation("r1", { web: 1 }), formation("r2", { web: 1 })]);
  const turn = returned(store, deployment({ goingBack: "cancelled", reason: "by ann" }), app, AT);
  assert.equal(turn.changed, {
    state: "cancelled",
    step: "the earlier release goes on serving",
    goingBack: undefined,
    finishedAt: NOW,
  });
  assert.equal(written(turn.more), [
    { key: keyOf("r2"), value: null },
    { key: keyOf("r1"), value: formation("r1", { web: 3 }) },
  ]);
  assert.equal(said(turn.more), ["deployment.cancelled d1 deployer: v2 of hello cancelled: by ann"]);
});

test("one that cannot go back either leaves what serves, asks for the earlier release, and says what to do", () => {
  const store = world([
    formation("r0", { web: 0 }),
    formation("r1", { web: 1 }),
    formation("r2", { web: 1, worker: 0 }),
  ]);
  const jobs = [
    job("web"),
    job("web", { releaseId: "r2", version: 2 }),
    job("web", { releaseId: "r2", version: 2 }),
    job("web", { state: "starting" }),
    job("web", { desired: "drain" }),
  ];
  const of = (jobs: Job[]) =>
    stranded(store, deployment({ goingBack: "failed", reason: "broken" }), app, { why: "no room", jobs, at: AT });
  const turn = of(jobs);
  const todo = "put right what keeps v1 from starting, then: flynn -a hello rollback v1, or deploy another release";
  const reason = "broken; going back to v1 failed too: no room";
  assert.equal(turn.changed, {
    state: "failed",
    step: `what serves goes on: v1 web=1, v2 web=2; ${todo}`,
    goingBack: undefined,
    reason,
    finishedAt: NOW,
  });
  assert.equal(written(turn.more), [
    { key: keyOf("r0"), value: null },
    { key: keyOf("r1"), value: formation("r1", { web: 3 }) },
  ]);
  assert.equal(said(turn.more), [`deployment.failed d1 deployer: v2 of hello failed: ${reason}`]);
  assert.is(of([]).changed.step, `nothing serves; ${todo}`);
});

test("what comes is the new release, and the earlier one on the way back; everything else goes", () => {
  assert.equal([comingId(deployment()), comingId(deployment({ goingBack: "failed" }))], ["r2", "r1"]);
  const store = world([formation("r1", { web: 3 }), formation("r2", { web: 1 })]);
  assert.equal(
    formationsBeside(store, "a", "r2").map(({ value }) => value.releaseId),
    ["r1"],
  );
  assert.equal(countsOf([formation("r1", { web: 3, worker: 1 }), formation("r0", { web: 2 })]), { web: 5, worker: 1 });
  const counts = (over: Partial<DeploymentRecord>) =>
    scaling(store, deployment(over), { comingCounts: { web: 2 }, goingCounts: { web: 1 }, jobs: [] }).map(
      ({ key, value }) => [key, (value as unknown as Formation).processes["web"]!.count],
    );
  assert.equal(counts({}), [
    [keyOf("r2"), 2],
    [keyOf("r1"), 1],
  ]);
  assert.equal(counts({ goingBack: "failed" }), [
    [keyOf("r1"), 2],
    [keyOf("r2"), 1],
  ]);
  store.put(keyOf("r2"), undefined);
  const [made] = scaling(store, deployment(), { comingCounts: { web: 2 }, goingCounts: {}, jobs: [] });
  assert.equal(made, { key: keyOf("r2"), value: formation("r2", { web: 2 }) });
});

test("of what goes, jobs that serve nobody go first, then those of releases that the app is not on", () => {
  const going = [formation("r1", { web: 3, worker: 2 }), formation("r0", { web: 2 })].map((value) => ({
    key: keyOf(value.releaseId),
    value,
    version: 1,
  }));
  const serving = [job("web"), job("web"), job("web", { releaseId: "r0", state: "unhealthy" })];
  const counts = (web: number, jobs: Job[] = serving) =>
    Object.fromEntries(
      lowered(going, { totals: { web }, jobs, last: "r1" }).map(({ key, value }) => {
        const { web: one, worker } = (value as unknown as Formation).processes;
        return [key, [one!.count, worker?.count]];
      }),
    );
  const of = (r0: number, r1: number) => ({ [keyOf("r0")]: [r0, undefined], [keyOf("r1")]: [r1, 2] });
  assert.equal(counts(9), of(2, 3));
  assert.equal(counts(5), of(2, 3));
  assert.equal(counts(4), of(1, 3));
  assert.equal(counts(3), of(1, 2));
  assert.equal(counts(2), of(0, 2));
  assert.equal([counts(1), counts(0)], [of(0, 1), of(0, 0)]);
  const drained = serving.map((each) => ({ ...each, desired: "drain" as const }));
  assert.equal(counts(3, drained), of(0, 3));
});

test.run();
