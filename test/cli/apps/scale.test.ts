import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { formatScale, parseScale, standing } from "../../../cli/apps/scale.ts";

test("words become counts and tags", () => {
  assert.equal(parseScale(["web=3", "worker=1,zone=a,ssd=", "clock=0,"]), {
    web: { count: 3 },
    worker: { count: 1, tags: { zone: "a", ssd: "" } },
    clock: { count: 0, tags: {} },
  });
});

for (const word of [
  "web",
  "web=",
  "web=x",
  "web=-1",
  "web=1.5",
  "=3",
  "Web=3",
  "web=10001",
  "web=1,zone",
  "web=1,=a",
  "__proto__=1",
])
  test(`${word} is refused`, () =>
    assert.throws(
      () => parseScale([word]),
      (error: { code: string }) => error.code === "invalid",
    ));
test("a process given twice is refused", () => assert.throws(() => parseScale(["web=1", "web=2"]), /more than once/));

test("what it prints, it takes", () => {
  const processes = { web: { count: 3, tags: {} }, worker: { count: 1, tags: { zone: "a" } } };
  const text = formatScale({ processes });
  assert.is(text, "web=3 worker=1,zone=a");
  assert.equal(parseScale(text.split(" ")), { web: { count: 3 }, worker: { count: 1, tags: { zone: "a" } } });
});

const formation = { releaseId: "r2", processes: { web: { count: 2, tags: {} } } };
const job = (id: string, changed: Partial<Job> = {}) =>
  ({ id, process: "web", releaseId: "r2", desired: "run", state: "up", reason: "", ...changed }) as Job;

const cases: [string, Job[], string[]][] = [
  ["as many up as asked for is done", [job("a"), job("b")], []],
  ["ended jobs do not count", [job("a"), job("b"), job("c", { state: "down" }), job("d", { state: "lost" })], []],
  ["a job that starts is missing", [job("a"), job("b", { state: "starting" })], ["web: 1 of 2 up"]],
  [
    "a job that waits says why",
    [job("a"), job("b", { state: "pending", reason: "no host has room" })],
    ["web: 1 of 2 up (b is pending: no host has room)"],
  ],
  ["one too many must stop first", [job("a"), job("b"), job("c")], ["web: 1 still to stop"]],
  ["one that drains must end first", [job("a"), job("b"), job("c", { desired: "drain" })], ["web: 1 still to stop"]],
  [
    "a job of another release must end first",
    [job("a"), job("b"), job("c", { releaseId: "r1" })],
    ["web: 1 still to stop"],
  ],
  ["other processes do not matter", [job("a"), job("b"), job("c", { process: "worker", state: "crashed" })], []],
];
for (const [claim, jobs, missing] of cases)
  test(claim, () => assert.equal(standing(jobs, formation, ["web"]), { done: missing.length === 0, missing }));

test.run();
