import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { shownOf } from "../../../control/deploy/changes.ts";
import type { DeploymentRecord } from "../../../control/deploy/record.ts";

test("of each process people see how many are wanted, how many new ones are healthy and how many old ones are left", () => {
  const job = (process: string, over: Partial<Job> = {}) =>
    ({ releaseId: "r2", process, state: "up", desired: "run", ...over }) as Job;
  const old = (process: string) => job(process, { releaseId: "r1" });
  const deployment = { toReleaseId: "r2", processes: { web: { wanted: 3 }, worker: { wanted: 1 } } };
  const jobs = [
    job("web"),
    job("web", { state: "starting" }),
    job("web", { desired: "drain" }),
    job("worker", { state: "unhealthy" }),
    job("release"),
    ...[old("web"), old("web"), old("gone")],
  ];
  assert.equal(shownOf(deployment as unknown as DeploymentRecord, jobs), {
    web: { wanted: 3, healthy: 1, oldLeft: 2 },
    worker: { wanted: 1, healthy: 0, oldLeft: 0 },
  });
});

test.run();
