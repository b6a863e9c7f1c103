import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type JobRecord, jobReport, type Observation, observe, startFailed } from "../../hostd/job-record.ts";
import { container, job } from "./jobs.ts";

const NOW = 1_000_000;
const own = container(job());
const look = (fields: Partial<Observation> = {}): JobRecord =>
  observe({ job: job(), captured: true, nowMs: NOW, now: "2026-01-01T00:00:01.000Z", random: () => 1, ...fields });
const healthy = { state: "healthy", reason: "" } as const;

test("a job is starting until its container is healthy, then up with its address", () => {
  const starting = look({ container: own, health: { state: "starting", reason: "nothing listens on port 8080" } });
  assert.is(starting.state, "starting");
  assert.is(starting.reason, "nothing listens on port 8080");
  const up = look({ record: starting, container: own, health: healthy });
  assert.equal(jobReport(up), {
    id: "j1",
    state: "up",
    reason: "",
    restarts: 0,
    exitCode: undefined,
    startedAt: "2026-01-01T00:00:00Z",
    upAt: "2026-01-01T00:00:01.000Z",
    address: "100.64.7.2",
  });
});

test("an adopted container keeps its state until the first probe says otherwise", () => {
  const up = look({ container: own, health: healthy });
  assert.is(look({ record: up, container: own }).state, "up");
});

test("a job that was up is unhealthy when its check fails, never starting again", () => {
  const up = look({ container: own, health: healthy });
  const down = look({ record: up, container: own, health: { state: "unhealthy", reason: "GET /health answered 500" } });
  assert.is(down.state, "unhealthy");
  assert.is(down.reason, "GET /health answered 500");
  assert.is(look({ record: down, container: own, health: healthy }).state, "up");
});

const ENDS: [claim: string, fields: Partial<Observation>, reason: string][] = [
  [
    "an exit is told with its code and last line",
    { container: container(job(), { status: "exited", exitCode: 1 }), lastLine: "Error: no database" },
    "exited 1: Error: no database",
  ],
  [
    "an exit without a line is told with its code",
    { container: container(job(), { status: "exited", exitCode: 0 }) },
    "exited 0",
  ],
  [
    "death by memory is told as that, with the limit",
    { container: container(job(), { status: "exited", exitCode: 137, oomKilled: true }), lastLine: "allocating" },
    "out of memory (limit 512 MiB)",
  ],
  [
    "a program that is not there is told without init's name",
    {
      container: container(job(), { status: "exited", exitCode: 127 }),
      lastLine: "[FATAL tini (7)] exec /srv/app failed: No such file or directory",
    },
    "cannot run /srv/app: No such file or directory",
  ],
  [
    "a start the engine failed is told in its words",
    { container: container(job(), { status: "created", error: "no space left on device" }) },
    "could not be started: no space left on device",
  ],
];
for (const [claim, fields, reason] of ENDS)
  test(claim, () => {
    const record = look(fields);
    assert.is(record.state, "crashed");
    assert.is(record.reason, reason);
    assert.is(record.startAfterMs, NOW + 1_000);
    assert.is(jobReport(record).address, undefined);
  });

test("an end is not told before its log is kept, but no later than 5 s", () => {
  const ended = container(job(), { status: "exited", exitCode: 1 });
  const up = look({ container: own, health: healthy });
  const waiting = look({ record: up, container: ended, captured: false });
  assert.is(waiting.state, "up");
  assert.is(look({ record: waiting, container: ended, captured: false, nowMs: NOW + 4_999 }).state, "up");
  assert.is(look({ record: waiting, container: ended, captured: false, nowMs: NOW + 5_000 }).state, "crashed");
});

test("one end counts once, however often it is looked at", () => {
  const ended = container(job(), { status: "exited", exitCode: 1 });
  const first = look({ container: ended });
  const second = look({ record: first, container: ended, nowMs: NOW + 500 });
  assert.equal(second, first);
  const removed = look({ record: second, nowMs: NOW + 600 });
  assert.is(removed.crashes, 1);
  assert.is(removed.startAfterMs, first.startAfterMs);
});

test("backoff doubles from 1 s to 5 minutes, and ten minutes up clear it", () => {
  let record: JobRecord | undefined;
  const waits: number[] = [];
  for (let n = 0; n < 12; n++) {
    record = look({ record, container: container(job(), { id: `c${n}`, status: "exited", exitCode: 1 }) });
    waits.push(record.startAfterMs - NOW);
  }
  assert.equal(waits, [1e3, 2e3, 4e3, 8e3, 16e3, 32e3, 64e3, 128e3, 256e3, 300e3, 300e3, 300e3]);
  const next = container(job(), { id: "next" });
  const up = look({ record, container: next, health: healthy });
  assert.is(up.crashes, 12, "just up is not steady");
  const steady = look({ record: up, container: next, health: healthy, nowMs: NOW + 600_000 });
  assert.is(steady.crashes, 0);
});

test("a crash says when the next try comes, on the wall's clock, and only while it waits for it", () => {
  const crashed = look({ container: container(job(), { status: "exited", exitCode: 1 }) });
  assert.is(jobReport(crashed).nextStartAt, "2026-01-01T00:00:02.000Z");
  const next = container(job(), { id: "next" });
  assert.is(jobReport(look({ record: crashed, container: next })).nextStartAt, undefined);
  const refused = startFailed(crashed, "pull failed", { nowMs: NOW, now: "2026-01-01T00:10:00Z", random: () => 1 });
  assert.is(jobReport(refused).nextStartAt, "2026-01-01T00:10:02.000Z");
});

test("a container removed from outside is a crash, told as that", () => {
  const up = look({ container: own, health: healthy });
  const record = look({ record: up });
  assert.is(record.state, "crashed");
  assert.is(record.reason, "its container was removed from outside");
});

test("a stopped job ends down, without a crash", () => {
  const stopping = {
    ...look({ container: own, health: healthy }),
    stoppingSinceMs: NOW,
    stopReason: "control wants it stopped",
  };
  const stopped = job({ desired: "stop" });
  assert.is(look({ job: stopped, record: stopping, container: own }).state, "stopping");
  const ended = look({
    job: stopped,
    record: stopping,
    container: container(job(), { status: "exited", exitCode: 143 }),
  });
  assert.is(ended.state, "down");
  assert.is(ended.exitCode, 143);
  assert.is(ended.crashes, 0);
  assert.is(look({ job: stopped, record: ended }).state, "down");
});

test("a start timeout is a crash with that reason", () => {
  const stopping = { ...look({ container: own }), stoppingSinceMs: NOW, stopReason: "not healthy within 1m00s" };
  const record = look({ record: stopping, container: container(job(), { status: "exited", exitCode: 143 }) });
  assert.is(record.state, "crashed");
  assert.is(record.reason, "not healthy within 1m00s");
});

test("a lost record is rebuilt from the container's labels", () => {
  const labels = { ...own.labels, "flynn.attempt": "4" };
  const record = look({ container: { ...own, labels }, health: healthy });
  assert.is(record.restarts, 4);
  assert.is(record.app, "hello");
  const stranger = look({ job: undefined, container: { ...own, labels } });
  assert.is(stranger.process, "web");
});

test("the same look twice is the same record", () => {
  const status = fc.constantFrom("created", "running", "exited", "dead", "removing");
  fc.assert(
    fc.property(status, fc.boolean(), fc.boolean(), (s, captured, isHealthy) => {
      const fields = {
        container: container(job(), { status: s as never, exitCode: 1 }),
        captured,
        health: isHealthy ? healthy : undefined,
      };
      const once = look(fields);
      assert.equal(look({ ...fields, record: once }), once);
    }),
  );
});

test.run();
