import { test } from "uvu";
import * as assert from "uvu/assert";
import { type JobRecord, newRecord } from "../../../hostd/job-record.ts";
import { changeLines } from "../../../hostd/logs/change-lines.ts";
import { job } from "../jobs.ts";

const record = (fields: Partial<JobRecord>): JobRecord => ({ ...newRecord(job()), containerId: "c1", ...fields });
const up = record({ state: "up" });

for (const [claim, before, after, expected] of [
  ["a new job starts", undefined, newRecord(job()), ["Starting process"]],
  ["a container found running by a hostd without its records says nothing", undefined, up, []],
  ["a job comes up", newRecord(job()), up, ["State changed from starting to up"]],
  ["nothing has changed", up, { ...up, restarts: 3 }, []],
  [
    "a process that exits",
    up,
    record({ state: "crashed", endedId: "c1", exitCode: 1, reason: "exited 1: oh no" }),
    ["Process exited with status 1", "State changed from up to crashed"],
  ],
  [
    "memory that is not enough is said as OOM",
    up,
    record({ state: "crashed", endedId: "c1", exitCode: 137, reason: "out of memory (limit 512 MiB)" }),
    ["Memory limit of 512 MiB exceeded (OOM)", "State changed from up to crashed"],
  ],
  [
    "a start that never got well",
    record({ state: "stopping", reason: "" }),
    record({ state: "crashed", endedId: "c1", exitCode: 143, reason: "not healthy within 1m00s: connection refused" }),
    [
      "Process exited with status 143",
      "Reason: not healthy within 1m00s: connection refused",
      "State changed from stopping to crashed",
    ],
  ],
  [
    "a next try, nothing of the end that was told before",
    record({ state: "crashed", endedId: "c1", exitCode: 1, reason: "exited 1" }),
    record({ state: "starting", containerId: "c2", endedId: "c1", exitCode: 1, reason: "" }),
    ["State changed from crashed to starting"],
  ],
  [
    "a stop that SIGKILL had to end",
    up,
    record({ state: "stopping", reason: "", killedAtMs: 1 }),
    ["Stopping process with SIGKILL", "State changed from up to stopping"],
  ],
  [
    "health",
    up,
    record({ state: "unhealthy", reason: "GET / answered 500" }),
    ["Health check failed: GET / answered 500", "State changed from up to unhealthy"],
  ],
  [
    "a stop",
    up,
    record({ state: "stopping", reason: "control wants it stopped" }),
    ["Stopping process with SIGTERM: control wants it stopped", "State changed from up to stopping"],
  ],
  [
    "an image that cannot be had",
    newRecord(job()),
    record({ containerId: undefined, state: "crashed", reason: "pull failed 5 times: no such host" }),
    ["Start failed: pull failed 5 times: no such host", "State changed from starting to crashed"],
  ],
] as const)
  test(`the platform says: ${claim}`, () => assert.equal(changeLines(before, after as JobRecord), [...expected]));

test.run();
