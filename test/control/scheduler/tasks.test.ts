// Jobs that run once, as the scheduler treats them: next to formations, whatever those do.
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { App, Formation, Release } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import { until } from "#lib/time.ts";
import { keys } from "../../../control/keys.ts";
import { diffApp } from "../../../control/scheduler/diff.ts";
import { expiredJobs } from "../../../control/scheduler/expired-jobs.ts";
import { taskEnding } from "../../../control/scheduler/task-rules.ts";
import { secretsOf } from "../../../control/secrets.ts";
import { createTasks, type Tasks } from "../../../control/tasks/tasks.ts";
import { type World, world } from "./world.ts";

const AT = "2026-01-01T00:00:00.000Z";
const MIB = 1024 ** 2;
const app: App = { id: "a", name: "a", strategy: "rolling", deployTimeoutMs: 1_000, createdAt: AT };

function job(id: string, over: Partial<Job> = {}): Job {
  return {
    id,
    appId: "a",
    app: "a",
    releaseId: "r1",
    version: 1,
    process: "web",
    desired: "run",
    state: "up",
    reason: "",
    hostId: "h1",
    need: { cpuMillis: 100, memoryBytes: 64 * MIB, diskBytes: 0 },
    tags: {},
    restarts: 0,
    createdAt: AT,
    ...over,
  };
}
const task: NonNullable<Job["task"]> = { kind: "run", attach: false, tty: false, createdBy: "me" };
const deleted = { app: { ...app, deleting: true }, isGone: () => false };
const here = { app, isGone: () => false };

for (const [claim, given, around, to] of [
  ["that runs is left alone", job("t", { task }), here, undefined],
  ["that waits is left to be placed", job("t", { task, state: "pending", hostId: undefined }), here, undefined],
  ["that has ended is left alone", job("t", { task, state: "down", exitCode: 1 }), here, undefined],
  ["on a lost host is over", job("t", { task }), { app, isGone: () => true }, "lost"],
  [
    "that was told to stop before it had a host is over",
    job("t", { task, desired: "stop", hostId: undefined }),
    here,
    "down",
  ],
  ["of a deleted app is stopped", job("t", { task }), deleted, "stop"],
  ["of a deleted app that waits is over", job("t", { task, hostId: undefined }), deleted, "down"],
  ["of an app that is gone is stopped", job("t", { task }), { app: undefined, isGone: () => false }, "stop"],
  ["that is stopping already is not told twice", job("t", { task, desired: "stop" }), deleted, undefined],
] as const)
  test(`a job that runs once ${claim}`, () => assert.is(taskEnding(given, around)?.to, to));

const release = {
  id: "r1",
  appId: "a",
  version: 1,
  artifactId: "x",
  processes: { web: { port: 80 } },
  env: {},
} as unknown as Release;
const states = ["pending", "starting", "up", "unhealthy", "crashed", "stopping", "down", "lost"] as const;
const anyJob = fc.record({
  state: fc.constantFrom(...states),
  desired: fc.constantFrom("run" as const, "drain" as const, "stop" as const),
  placed: fc.boolean(),
});

test("whatever one-off jobs there are, a formation asks for the same and ends the same jobs", async () => {
  await fc.assert(
    fc.property(
      fc.array(anyJob, { maxLength: 8 }),
      fc.array(anyJob, { maxLength: 8 }),
      fc.nat(5),
      (own, once, count) => {
        const made = (list: typeof own, prefix: string, more: Partial<Job>) =>
          list.map(({ state, desired, placed }, n) =>
            job(`${prefix}${n}`, { state, desired, hostId: placed ? "h1" : undefined, ...more }),
          );
        const formation: Formation = { appId: "a", releaseId: "r1", processes: { web: { count, tags: {} } } };
        const view = (jobs: Job[]) => ({
          app,
          formations: [formation],
          releases: new Map([["r1", release]]),
          jobs,
          isGone: () => false,
          isRemoved: () => false,
          isHeard: () => true,
          isLeaving: () => false,
          nowMs: Date.parse(AT) + 1_000,
          endedMs: () => 0,
        });
        const alone = diffApp(view(made(own, "w", {})));
        const beside = diffApp(view([...made(once, "t", { task }), ...made(own, "w", {})]));
        const ofFormation = ({ groups, endings }: typeof alone) => [
          groups.map(({ missing, waiting }) => [missing, waiting.map(({ id }) => id)]),
          endings.filter(({ job: { task: isTask } }) => isTask === undefined).map(({ job: { id }, to }) => [id, to]),
        ];
        assert.equal(ofFormation(beside), ofFormation(alone));
        for (const { job: ended, to } of beside.endings)
          if (ended.task) assert.ok(to === "down" && ended.hostId === undefined, `${ended.id} ${to}`);
      },
    ),
  );
});

test("a row of one-off jobs does not push out what tells of the app's own, nor the other way round", () => {
  const ended = (n: number, more: Partial<Job>) => ({
    key: `jobs/a/${n}`,
    value: job(`j${n}`, { state: "down", endedAt: new Date(Date.parse(AT) + n * 1_000).toISOString(), ...more }),
  });
  const own = Array.from({ length: 20 }, (_, n) => ended(n, {}));
  const once = Array.from({ length: 50 }, (_, n) => ended(100 + n, { task }));
  const expired = expiredJobs([...own, ...once], Date.parse(AT) + 3_600_000);
  assert.is(expired.length, 30);
  assert.ok(expired.every((key) => Number(key.split("/")[2]) >= 100));
});

async function withTasks(
  body: (around: { it: World; tasks: Tasks; stop: () => Promise<void>; settled: () => Promise<void> }) => Promise<void>,
) {
  const it = await world();
  try {
    await it.host("h1");
    await it.app("a", { web: 1 }, { memoryBytes: 512 * MIB });
    const secrets = secretsOf([Buffer.alloc(32, 1)]);
    const tasks = createTasks({ store: it.store, now: () => new Date(), secrets });
    const { stop, settled } = it.start();
    await settled();
    await body({ it, tasks, stop, settled });
    await stop();
  } finally {
    await it.close();
  }
}
const wish = { appId: "a", process: "web", task };

test("one is placed with its process's limits, beside the formation, and is not made again when it has ended", () =>
  withTasks(async ({ it, tasks, settled }) => {
    const made = await tasks.create({ ...wish, env: { SECRET: "hunter2" } });
    await settled();
    const placed = tasks.get("a", made.id)!;
    assert.equal([placed.job.hostId, placed.job.state, placed.ended], ["h1", "starting", false]);
    assert.is(placed.job.need.memoryBytes, 512 * MIB);
    assert.is(it.live("a").length, 2);
    assert.not.match(JSON.stringify(it.store.get(keys.taskEnv("a", made.id))?.value), "hunter2");
    await it.report(placed.job, { state: "down", exitCode: 3, endedAt: AT });
    await settled();
    const { job: over, ended } = tasks.get("a", made.id)!;
    assert.equal([ended, over.exitCode, it.live("a").length], [true, 3, 1]);
  }));

test("one too large waits, says why, and goes as soon as there is room; scaling to 0 does not touch it", () =>
  withTasks(async ({ it, tasks, settled }) => {
    const made = await tasks.create({ ...wish, need: { cpuMillis: 100, memoryBytes: 3_900 * MIB, diskBytes: 0 } });
    await settled();
    assert.match(tasks.get("a", made.id)!.job.reason, /no host has 3.8 GiB of memory free|no host has/);
    await it.scale("a", { web: 0 });
    await settled();
    const [web] = it.jobs("a").filter(({ task: isTask }) => isTask === undefined);
    await it.report(web!, { state: "down" });
    await until(() => tasks.get("a", made.id)!.job.hostId === "h1", {
      what: "its placement",
      timeoutMs: 30_000,
      everyMs: 10,
    });
    assert.is(tasks.get("a", made.id)!.job.desired, "run");
  }));

test("the loss of its host, and the deletion of its app, end it with the reason", () =>
  withTasks(async ({ it, tasks, settled }) => {
    const lost = await tasks.create(wish);
    await settled();
    await it.removeHost("h1");
    await settled();
    const over = tasks.get("a", lost.id)!;
    assert.equal([over.ended, over.job.state], [true, "lost"]);
    assert.match(over.job.reason, "its host was removed");
    const waiting = await tasks.create(wish);
    await settled();
    await it.removeApp("a");
    await settled();
    assert.equal(
      [tasks.get("a", waiting.id)!.job.state, tasks.get("a", waiting.id)!.job.reason],
      ["down", "its app was deleted"],
    );
  }));

test("one that is stopped says by whom; a wish that cannot be is refused in words", () =>
  withTasks(async ({ tasks, settled }) => {
    const made = await tasks.create(wish);
    await settled();
    await tasks.stop("a", made.id, "ann");
    await settled();
    assert.equal(
      [tasks.get("a", made.id)!.job.desired, tasks.get("a", made.id)!.job.reason],
      ["stop", "stopped by ann"],
    );
    assert.throws(() => tasks.draft({ ...wish, process: "nope" }), /v1 of a has no process nope; it has web/);
    assert.throws(() => tasks.draft({ ...wish, env: { PORT: "1" } }), /PORT is set by the platform/);
    assert.throws(() => tasks.draft({ ...wish, releaseId: "v9" }), /no release v9/);
    assert.throws(() => tasks.draft({ ...wish, env: { BIG: "x".repeat(13_000) } }), /at most 12 KiB/);
    for (let n = 0; n < 99; n++) await tasks.create(wish);
    assert.throws(() => tasks.draft(wish), /has 100 one-off jobs already/);
  }));

test.run();
