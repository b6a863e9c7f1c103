// What control makes of the changes that a host sends is what the host would have sent whole, whatever changed between and whatever was lost.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type HostReport, REPORTED_JOBS_MOST } from "#api/host-agents.ts";
import { wholeReport } from "../../control/report-changes.ts";
import { changedSince, reportDigest, rowsOf } from "../../hostd/report-digest.ts";
import { factsOf } from "./rig.ts";

const reportOf = (jobs: Record<string, number>): HostReport => {
  const report: HostReport = {
    ...{ term: 1, seq: 1, facts: factsOf("h"), engine: { healthy: true, reason: "" } },
    jobs: Object.entries(jobs).map(([id, restarts]) => ({ id, state: "up", reason: "", restarts })),
  };
  return { ...report, digest: reportDigest(report) };
};
const byId = (report: HostReport | undefined): HostReport["jobs"] =>
  [...report!.jobs].sort((a, b) => (a.id < b.id ? -1 : 1));

test("whole again over any sequence of changes, also when control forgets in between", () =>
  fc.assert(
    fc.property(
      fc.array(
        fc.record({ jobs: fc.dictionary(fc.constantFrom("a", "b", "c", "d"), fc.nat(2)), forgets: fc.boolean() }),
      ),
      (steps) => {
        let told: HostReport | undefined;
        let held: HostReport | undefined;
        for (const { jobs, forgets } of steps) {
          if (forgets) held = undefined;
          const report = reportOf(jobs);
          const changes = told && { ...report, since: told.digest!, ...changedSince(rowsOf(told), report) };
          const taken = changes && wholeReport(changes, held);
          assert.is(taken !== undefined, held !== undefined && told !== undefined);
          held = taken ?? wholeReport(report, held);
          told = report;
          assert.equal(byId(held), byId(report));
          assert.equal([held?.since, held?.gone, held?.digest], [undefined, undefined, report.digest]);
        }
      },
    ),
  ));

test("of twenty jobs one that changed is sent, and what is in use changes none", () => {
  const before = reportOf(Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`j${n}`, 0])));
  const after = {
    ...before,
    jobs: before.jobs.map((job) => ({ ...job, memoryBytes: 1, restarts: job.id === "j7" ? 1 : 0 })),
  };
  const { jobs, gone } = changedSince(rowsOf(before), after);
  assert.equal([jobs.map(({ id }) => id), gone], [["j7"], []]);
});

test("changes since changes do not grow a report beyond what a host may have", () => {
  const full = reportOf(Object.fromEntries(Array.from({ length: REPORTED_JOBS_MOST }, (_, n) => [`j${n}`, 0])));
  const more = { ...reportOf({ more: 0 }), since: full.digest! };
  assert.is(wholeReport(more, full), undefined);
  assert.is(wholeReport({ ...more, gone: ["j0"] }, full)?.jobs.length, REPORTED_JOBS_MOST);
});

test("nor by long reasons, a few in each: it keeps no more of a host than one report can carry", () => {
  let held: HostReport | undefined = reportOf({});
  let refused = 0;
  for (let n = 0; n < 600 && refused === 0; n++) {
    const jobs = [{ id: `j${n}`, state: "crashed" as const, reason: "x".repeat(4_096), restarts: 0 }];
    const next = wholeReport({ ...held!, since: held!.digest!, jobs, digest: n.toString(16).padStart(32, "0") }, held);
    if (next === undefined) refused++;
    else held = next;
  }
  assert.is(refused, 1);
  assert.ok(JSON.stringify(held).length < 1.2 * 1024 ** 2);
});

test.run();
