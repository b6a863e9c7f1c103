// Jobs that run once: when one waits for a host, and how it ends.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { App } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import { taskAsk, taskEnding, taskWaits } from "../../../control/scheduler/task-rules.ts";

const app = { id: "a", name: "hello" } as App;
const going = { ...app, deleting: true } as App;
const waiting = {
  id: "j",
  appId: "a",
  process: "web",
  releaseId: "r",
  desired: "run",
  state: "pending",
  task: {},
} as Job;
const placed = { ...waiting, hostId: "h1", state: "up" } as Job;
const stopped = (job: Job): Job => ({ ...job, desired: "stop" });

test("one waits for a host while it is wanted, has none, and its app is there to stay", () => {
  const { task: _, ...own } = waiting;
  for (const [job, of, waits] of [
    [waiting, app, true],
    [waiting, { ...app, deleting: false } as never, true],
    [waiting, going, false],
    [waiting, undefined, false],
    [placed, app, false],
    [stopped(waiting), app, false],
    [{ ...waiting, state: "down" }, app, false],
    [own as Job, app, false],
  ] as const)
    assert.is(taskWaits(job as Job, of), waits);
});

test("one ends with its host or its app, and one that was never placed when it is not wanted any more", () => {
  const ends = (job: Job, of: App | undefined, gone = false) => taskEnding(job, { app: of, isGone: () => gone })?.to;
  for (const [job, of, gone, to] of [
    [placed, app, false, undefined],
    [placed, app, true, "lost"],
    [placed, going, true, "lost"],
    [placed, going, false, "stop"],
    [placed, undefined, false, "stop"],
    [stopped(placed), going, false, undefined],
    [waiting, app, false, undefined],
    [waiting, app, true, undefined],
    [waiting, going, false, "down"],
    [waiting, undefined, false, "down"],
    [stopped(waiting), app, false, "down"],
    [{ ...placed, state: "down" }, going, true, undefined],
    [{ ...waiting, state: "lost" }, undefined, false, undefined],
  ] as const)
    assert.is(ends(job as Job, of, gone), to);
});

test("it asks for what it needs, apart from the jobs of its process, and knows nothing of one per host", () => {
  const need = { cpuMillis: 100, memoryBytes: 1024 ** 2, diskBytes: 0 };
  assert.equal(taskAsk({ ...waiting, need, tags: {} } as Job, { disk: "ssd" }), {
    app: "a",
    process: "web once",
    release: "r",
    need: { cpuMillis: 100, memoryMiB: 1, diskMiB: 0 },
    tags: { disk: "ssd" },
    jobs: ["j"],
  });
});

test.run();
