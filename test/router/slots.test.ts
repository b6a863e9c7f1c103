import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Assignment, Slot, SlotState } from "../../router/assignment.ts";
import { countDraining, drainingBackends } from "../../router/draining.ts";
import { ownerOf } from "../../router/slot-owner.ts";

const slot = (jobId: string, state: SlotState): Slot => ({ jobId, address: "100.64.0.2", port: 8080, state });
const assignment: Assignment = {
  backends: [
    { pool: { id: "blog/web", app: "blog" }, slots: [slot("job-1", "up"), slot("job-2", "drain"), null] },
    { pool: { id: "shop/web", app: "shop" }, slots: [slot("job-3", "up"), null] },
    { slots: [null, null] },
  ],
  tcp: [{ port: 3000, pool: { id: "db/store", app: "db" }, slots: [null, slot("job-4", "leaving")] }],
};

test("only backends that a job leaves are asked for sessions, TCP ports too", () => {
  assert.equal(drainingBackends(assignment), ["be_0001", "tcp_3000"]);
  assert.equal(drainingBackends({ backends: [] }), []);
});

test("a job that leaves is told with its open sessions; one that HAProxy says nothing of has none", () => {
  const sessions = new Map([
    ["be_0001/s1", 9],
    ["be_0001/s2", 4],
  ]);
  assert.equal(countDraining(assignment, sessions), [
    { jobId: "job-2", sessions: 4 },
    { jobId: "job-4", sessions: 0 },
  ]);
});

for (const [name, owner] of [
  ["be_0001/s2", { app: "blog", appId: "blog", process: "web", jobs: 2, jobId: "job-2" }],
  ["be_0001/s3", { app: "blog", appId: "blog", process: "web", jobs: 2 }],
  ["be_0002/<NOSRV>", { app: "shop", appId: "shop", process: "web", jobs: 1 }],
  ["tcp_3000/s2", { app: "db", appId: "db", process: "store", jobs: 1, jobId: "job-4" }],
  ["be_0003/s1", undefined],
  ["be_0009/s1", undefined],
  ["tcp_3001/s1", undefined],
  ["blog/s1", undefined],
  ["", undefined],
] as const) {
  test(`"${name}" is ${owner === undefined ? "nobody's" : `of ${owner.app}`}`, () => {
    assert.equal(ownerOf(assignment, name), owner);
  });
}

test.run();
