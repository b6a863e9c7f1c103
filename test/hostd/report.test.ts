// What a host sends while nothing is new, and what makes a report a new one.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { beatHost, type HostReport } from "#api/host-agents.ts";
import { ownHello, silentHello } from "#api/version.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { createWake, type Wake } from "#lib/wake.ts";
import { paceOf, type ReportOptions, sendReports } from "../../hostd/report.ts";
import { reportDigest } from "../../hostd/report-digest.ts";
import { factsOf } from "../control/rig.ts";

const GIB = 1024 ** 3;
const report = (over: Partial<HostReport> = {}): HostReport => ({
  term: 1,
  seq: 1,
  now: "2026-01-01T00:00:00.000Z",
  facts: factsOf("h"),
  engine: { healthy: true, reason: "" },
  space: {
    disk: { sizeBytes: 10 * GIB, freeBytes: 5 * GIB, reserveBytes: GIB },
    memory: { sizeBytes: 4 * GIB, freeBytes: 2 * GIB, reserveBytes: GIB },
    pressure: [],
  },
  jobs: [
    {
      ...{ id: "j1", state: "up", reason: "", restarts: 0, address: "100.64.1.2", memoryBytes: 1_000 },
      disk: { usedBytes: 4_096, limitBytes: GIB, enforcedBy: "watch" },
    },
  ],
  ...over,
});

const job = report().jobs[0]!;
const NEW: [string, Partial<HostReport>, boolean][] = [
  [
    "the clock, the target applied and the reach enforced go with a beat",
    { now: "x", seq: 9, term: 2, reachVersion: 4 },
    false,
  ],
  ["memory in use", { jobs: [{ ...job, memoryBytes: 2_000 }] }, false],
  ["disk in use", { jobs: [{ ...job, disk: { ...job.disk!, usedBytes: 8_192 } }] }, false],
  ["free space", { space: { ...report().space!, disk: { ...report().space!.disk, freeBytes: GIB } } }, false],
  ["pressure", { space: { ...report().space!, pressure: ["disk"] } }, true],
  ["a job's state", { jobs: [{ ...job, state: "crashed" }] }, true],
  ["a job's restarts", { jobs: [{ ...job, restarts: 1 }] }, true],
  ["a job's address", { jobs: [{ ...job, address: "100.64.1.3" }] }, true],
  ["a job more", { jobs: [job, { ...job, id: "j2" }] }, true],
  ["a job less", { jobs: [] }, true],
  ["the engine", { engine: { healthy: false, reason: "no answer" } }, true],
  ["an address of the machine", { facts: { ...factsOf("h"), addresses: ["10.1.0.9"] } }, true],
  ["what is kept from before a restore", { quarantined: [{ jobId: "x", app: "a" }] }, true],
];
for (const [what, over, isNew] of NEW)
  test(`${what}: ${isNew ? "is a new report" : "no new report"}`, () =>
    assert.is(reportDigest(report(over)) !== reportDigest(report()), isNew));

interface Sending {
  sent: string[];
  current: HostReport;
  events: NonNullable<HostReport["events"]>;
  /** How control answers a beat, and what it says of itself. */
  known: boolean | undefined;
  peer: ReturnType<typeof ownHello>;
  fails: boolean;
  wake: Wake;
  /** After so many more frames. */
  frames(more: number): Promise<string[]>;
}

type Pace = Pick<ReportOptions, "everyMs" | "wholeEveryMs" | "gatherMs" | "nowMs">;
async function sending(body: (it: Sending) => Promise<void>, pace: Pace = {}): Promise<void> {
  const wake = createWake();
  const done = new AbortController();
  const it: Sending = {
    ...{ sent: [], current: report(), events: [], known: true, peer: ownHello("control"), fails: false, wake },
    async frames(more) {
      const from = it.sent.length;
      const enough = () => {
        wake.ring();
        return it.sent.length >= from + more;
      };
      await until(enough, { what: `${more} frames`, timeoutMs: 10_000, everyMs: 5 });
      return it.sent.slice(from, from + more);
    },
  };
  const call = async (endpoint: object, { body }: { body: Partial<HostReport> }) => {
    it.sent.push(endpoint === beatHost ? "beat" : body.since === undefined ? "report" : "changes");
    if (it.fails) throw new Fault("unavailable", "control is away");
    return { term: 1, seq: 1, known: it.known };
  };
  const running = sendReports({
    client: { call, peer: () => it.peer } as never,
    hostId: "h",
    current: () => it.current,
    events: { pending: () => it.events, told: () => (it.events = []) },
    ...{ wake, log: silentLog(), signal: done.signal, everyMs: 10, wholeEveryMs: 60_000, ...pace },
  });
  try {
    await body(it);
  } finally {
    done.abort();
    await running;
  }
}

test("the first frame is a whole report, and beats follow until something is new", () =>
  sending(async (it) => {
    assert.equal(await it.frames(3), ["report", "beat", "beat"]);
    it.current = report({ jobs: [] });
    const next = await it.frames(4);
    assert.equal(
      next.filter((what) => what !== "beat"),
      ["changes"],
      next.join(),
    );
    assert.is(next.at(-1), "beat");
  }));

test("changes that control cannot place are followed by the whole report at once", () =>
  sending(async (it) => {
    await it.frames(2);
    it.known = false;
    it.current = report({ jobs: [] });
    const sent = (await it.frames(5)).join(" ");
    assert.match(sent, /changes report/);
    assert.not.match(sent, /changes (changes|beat)/);
  }));

test("an older control that has just taken a newer one's place, and took changes for all there is, is sent all of it at once", () =>
  sending(async (it) => {
    await it.frames(2);
    it.known = undefined; // as one that knows no changes answers
    it.current = report({ jobs: [] });
    const sent = (await it.frames(4)).join(" ");
    assert.match(sent, /changes report/);
  }));

test("a control that does not take changes is sent whole reports of them", () =>
  sending(async (it) => {
    const capabilities = ownHello("control").capabilities.filter((name) => name !== "report-changes");
    it.peer = { ...ownHello("control"), capabilities };
    await it.frames(2);
    it.current = report({ jobs: [] });
    const next = await it.frames(4);
    assert.equal(
      next.filter((what) => what !== "beat"),
      ["report"],
      next.join(),
    );
  }));

test("control that does not know the report is sent it at once, and after a failure that may have lost one", () =>
  sending(async (it) => {
    await it.frames(2);
    it.known = false;
    const asked = await it.frames(4);
    assert.match(asked.join(" "), /beat report beat report|report beat report/);
    it.known = true;
    it.current = report({ jobs: [] });
    it.fails = true;
    await it.frames(3);
    it.fails = false;
    assert.ok((await it.frames(3)).includes("report"), "what failed to arrive is sent whole");
  }));

test("an older control is sent whole reports only", () =>
  sending(async (it) => {
    it.peer = silentHello("control");
    assert.equal(await it.frames(4), ["report", "report", "report", "report"]);
  }));

test("boot steps go with a report, and once", () =>
  sending(async (it) => {
    await it.frames(2);
    it.events = [{ at: "2026-01-01T00:00:00.000Z", stage: "docker", level: "info", message: "up" }];
    assert.ok((await it.frames(3)).some((what) => what !== "beat"));
    assert.equal(it.events, []);
  }));

test("a report that equals the one before is whole again after its time", () =>
  sending(async (it) => assert.equal(await it.frames(3), ["report", "report", "report"]), { wholeEveryMs: 0 }));

test("what is new waits for no beat that went shortly before, as one goes with every target", () => {
  const [HOUR_MS, DAY_MS] = [3_600_000, 86_400_000];
  let nowMs = 0;
  const pace = { everyMs: DAY_MS, wholeEveryMs: 9 * DAY_MS, gatherMs: HOUR_MS, nowMs: () => nowMs };
  return sending(async (it) => {
    const sent = (...frames: string[]) =>
      until(() => it.sent.join() === frames.join(), { what: frames.join(), timeoutMs: 10_000, everyMs: 1 });
    await sent("report");
    nowMs = 2 * HOUR_MS;
    it.wake.ring();
    await sent("report", "beat");
    it.current = report({ jobs: [] });
    it.wake.ring();
    await sent("report", "beat", "changes");
  }, pace);
});

test("the pace is control's to ask for, within what keeps a host from being lost", () => {
  assert.is(paceOf(2_000), 2_000, "an older control asks for none");
  assert.is(paceOf(2_000, 3_000), 3_000);
  assert.is(paceOf(2_000, 1), 2_000);
  assert.is(paceOf(2_000, 60_000), 4_000);
});

test.run();
