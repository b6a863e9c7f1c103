// What a build does next, row by row and at each bound.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { nextOf, type Seen } from "../../../control/builds/next.ts";
import { isActive, waitsFor } from "../../../control/builds/queue.ts";
import type { BuildRecord } from "../../../control/builds/record.ts";

const HOUR_MS = 3_600_000;
const job = (over: Partial<Job> = {}) => ({ state: "up", hostId: "h1", reason: "", ...over }) as Job;
const waiting = (over: Partial<Job> = {}) => {
  const { hostId: _, ...rest } = job({ state: "pending", ...over });
  return rest as Job;
};
function next(build: Partial<BuildRecord>, of: Job | undefined, over: Partial<Seen> = {}): string {
  const record = { state: "building", hostId: "h1", attempt: 1, ...build } as BuildRecord;
  const seen = { build: record, job: of, hostName: "box", timeoutMs: 900_000, standsForMs: 0, endedForMs: 0, ...over };
  const { type, ...rest } = nextOf(seen);
  return [type, ...Object.values(rest)].join(" ").trim();
}
const product = { type: "image" } as never;
const down = (over: Partial<Job> = {}) => job({ state: "down", ...over });

const ROWS: [claim: string, is: string, answer: string][] = [
  ["a result of 0 with an image is stored", next({ result: { exitCode: 0, reason: "" }, product }, undefined), "store"],
  ["without one it made none", next({ result: { exitCode: 0, reason: "" } }, job()), "fail the build made no image"],
  [
    "another result is its reason",
    next({ result: { exitCode: 1, reason: "no buildpack fits" }, product }, job()),
    "fail no buildpack fits",
  ],
  ["or its code", next({ result: { exitCode: 7, reason: "" } }, job()), "fail the build ended with code 7"],
  ["a job that is not known any more was lost with its host", next({}, undefined), "again host box was lost"],
  ["so was one that is lost", next({}, job({ state: "lost" })), "again host box was lost"],
  [
    "a host without a name has its id",
    next({}, job({ state: "lost" }), { hostName: undefined }),
    "again host h1 was lost",
  ],
  ["or none", next({}, undefined, { hostName: undefined }), "again host of the build was lost"],
  ["a second one ends the build", next({ attempt: 2 }, undefined), "fail host box was lost, the second one"],
  [
    "a job that is down may still have a result on its way",
    next({}, down(), { endedForMs: 14_999 }),
    "wait its job has ended",
  ],
  ["for fifteen seconds", next({}, down(), { endedForMs: 15_000 }), "fail its job ended without a result"],
  ["one that never had a host has none", next({}, waiting({ state: "down" })), "fail its job ended without a result"],
  [
    "its code and reason are told",
    next({}, down({ exitCode: 137, reason: "out of memory" }), { endedForMs: 15_000 }),
    "fail its job ended with code 137 without a result: out of memory",
  ],
  [
    "a job without a host waits, with the reason",
    next({}, waiting({ reason: "no room" })),
    "wait waits for a host: no room",
  ],
  ["or without", next({}, waiting()), "wait"],
  ["for an hour", next({}, waiting({ reason: "x" }), { standsForMs: HOUR_MS }), "wait waits for a host: x"],
  [
    "and no longer",
    next({}, waiting({ reason: "no room" }), { standsForMs: HOUR_MS + 1 }),
    "fail no host had room for it within 60m: no room",
  ],
  ["a job on a host is a build that builds", next({ state: "queued" }, job()), "building h1"],
  ["on another host as well", next({ hostId: "h2" }, job()), "building h1"],
  ["a build at work is waited for", next({}, job()), "wait"],
  ["to its limit and a minute", next({}, job(), { standsForMs: 960_000 }), "wait"],
  [
    "and no longer",
    next({}, job(), { standsForMs: 960_001 }),
    "fail it took longer than 15m, the limit (flynn build set timeout=...)",
  ],
];
for (const [claim, is, answer] of ROWS) test(claim, () => assert.is(is, answer));

const build = (id: string, appId: string, number: number, over: Partial<BuildRecord> = {}) =>
  ({ id, appId, app: appId, number, state: "queued", createdAt: `2026-01-0${number}`, ...over }) as BuildRecord;

test("a build holds a place from its job's making until its image is stored", () => {
  const of = (state: BuildRecord["state"], jobId?: string) => isActive({ state, ...(jobId ? { jobId } : {}) });
  assert.equal([of("queued"), of("queued", "j"), of("building"), of("storing")], [false, true, true, true]);
  assert.equal([of("deploying" as never, "j"), of("failed", "j")], [false, false]);
});

test("an app's builds come one after the other, the nearest before it is named", () => {
  const all = [build("c", "a", 3), build("b", "a", 2), build("a", "a", 1), build("x", "b", 1)];
  assert.is(waitsFor(all[0]!, all, 9), "waits for build 1 of a to end");
  assert.is(waitsFor(all[2]!, all, 9), undefined);
});

test("of several apps' builds as many run as may, the oldest first; the others hear how many are before them", () => {
  const running = build("r", "r", 1, { state: "building" });
  const heads = [build("b", "b", 2), build("c", "c", 2), build("a", "a", 1), build("d", "d", 3)];
  const all = [running, ...heads];
  const says = (id: string, atOnce: number) => waitsFor(heads.find((each) => each.id === id)!, all, atOnce);
  assert.equal(
    ["a", "b", "c", "d"].map((id) => says(id, 3)),
    [
      undefined,
      undefined,
      "waits for its turn: 1 of at most 3 builds run in the cluster, and 2 wait before it",
      "waits for its turn: 1 of at most 3 builds run in the cluster, and 3 wait before it",
    ],
  );
  assert.is(says("a", 1), "waits for its turn: 1 of at most 1 build runs in the cluster");
  assert.is(says("b", 1), "waits for its turn: 1 of at most 1 build runs in the cluster, and 1 waits before it");
  assert.is(waitsFor(running, all, 9), "waits for its turn: 1 of at most 9 builds run in the cluster");
});

test("only the first of an app's builds is before those of others", () => {
  const all = [build("a1", "a", 1), build("a2", "a", 2), build("b", "b", 3)];
  assert.is(waitsFor(all[2]!, all, 2), undefined);
  assert.match(waitsFor(all[2]!, all, 1)!, /and 1 waits before it$/);
});

test.run();
