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

test("a stop that Docker does not notice the end of is said after five seconds, and whose trouble it is", () => {
  const stopping = {
    ...look({ container: own, health: healthy }),
    stoppingSinceMs: NOW,
    reason: "control wants it stopped",
  };
  const seen = (emptyForMs?: number) => look({ record: stopping, container: own, emptyForMs });
  for (const [emptyForMs, reason] of [
    [undefined, /^control wants it stopped$/],
    [4_999, /^control wants it stopped$/],
    [5_000, /processes have ended, and Docker does not notice.*containerd-shim/],
  ] as const) {
    assert.is(seen(emptyForMs).state, "stopping");
    assert.match(seen(emptyForMs).reason, reason);
  }
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

test("a job that runs once and cannot be started ends, with the exit code that a shell gives", () => {
  const task = { kind: "run", attach: false, tty: false, createdBy: "ann" } as const;
  const seen = { nowMs: NOW, now: "2026-01-01T00:00:01Z", random: () => 1, job: job({ task }) };
  const table: [reason: string, exitCode: number | undefined][] = [
    ['cannot run nope: "nope": executable file not found in $PATH', 127],
    ["cannot run ./nope: No such file or directory", 127],
    ["cannot run ./data: permission denied", 126],
    ["pull registry/app:3 failed: not found", undefined],
  ];
  for (const [reason, exitCode] of table) {
    const report = jobReport(startFailed(look({ job: seen.job }), reason, seen));
    assert.equal([report.state, report.reason, report.exitCode], ["down", reason, exitCode]);
  }
});

test("a job that runs once says how it ended: nothing of success, a signal by its name, lack of memory before both", () => {
  const task = { kind: "run", attach: false, tty: false, createdBy: "ann" } as const;
  const reason = (fields: Parameters<typeof container>[1]) => {
    const of = job({ task });
    const { state, reason: said } = look({ job: of, container: container(of, { status: "exited", ...fields }) });
    assert.is(state, "down");
    return said;
  };
  assert.is(reason({ exitCode: 0 }), "");
  assert.is(reason({ exitCode: 137 }), "ended by SIGKILL");
  assert.is(reason({ exitCode: 143 }), "ended by SIGTERM");
  assert.match(reason({ exitCode: 137, oomKilled: true }), /^out of memory/);
  assert.is(reason({ exitCode: 3 }), "exited 3");
});

test("a container that is gone while it was told to end ended for the reason it was told", () => {
  const stopping = { ...look({ container: own, health: healthy }), stoppingSinceMs: NOW - 1_000 };
  assert.is(
    look({ record: { ...stopping, stopReason: "its container is of an older spec" } }).reason,
    "its container is of an older spec",
  );
  assert.is(look({ record: stopping }).reason, "stopped");
});

test("an address is told while there is a process, and never after it", () => {
  for (const state of ["up", "unhealthy", "starting", "stopping"] as const)
    assert.is(jobReport({ ...look({ container: own }), state, address: "100.64.7.2" }).address, "100.64.7.2", state);
  for (const state of ["crashed", "down"] as const)
    assert.not("address" in jobReport({ ...look({ container: own }), state, address: "100.64.7.2" }), state);
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

/** A record with every field that a life can leave behind. */
const FULL: JobRecord = {
  jobId: "j1",
  app: "hello",
  process: "web",
  state: "up",
  reason: "old",
  restarts: 3,
  crashes: 2,
  startAfterMs: 7,
  nextStartAt: "then",
  containerId: own.id,
  endedId: "before",
  address: "100.64.7.9",
  exitCode: 9,
  startedAt: "s",
  upAt: "u",
  runningSinceMs: NOW - 50,
  upSinceMs: NOW - 40,
  stoppingSinceMs: NOW - 30,
  stopReason: "told to",
  killedAtMs: NOW - 20,
  endSeenMs: NOW - 10,
};
/** What is left of a record, without what is undefined. */
const left = (record: JobRecord) =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));
const { state: _s, reason: _r, ...REST } = FULL;

test("a new container begins with nothing of the one before but its place in the row of restarts", () => {
  const {
    stoppingSinceMs: _a,
    stopReason: _b,
    killedAtMs: _c,
    upSinceMs: _d,
    upAt: _e,
    endSeenMs: _f,
    exitCode: _g,
    ...kept
  } = REST;
  const next = container(job(), { id: "next" });
  assert.equal(left(look({ record: FULL, container: next })), {
    ...kept,
    state: "starting",
    reason: "",
    containerId: "next",
    runningSinceMs: NOW,
    address: next.address,
    startedAt: next.startedAt,
  });
  const created = container(job(), { id: "next", status: "created" });
  const { runningSinceMs: _h, ...idle } = kept;
  assert.equal(left(look({ record: FULL, container: created })), {
    ...idle,
    state: "starting",
    reason: "",
    containerId: "next",
  });
});

test("a job without a container is down when it is to stop or is nobody's, lost when it had begun, and as it was before that", () => {
  const { containerId: _c, ...rest } = REST;
  const { stoppingSinceMs: _a, address: _b, ...stopped } = rest;
  for (const its of [job({ desired: "stop" }), undefined])
    assert.equal(left(look({ job: its, record: FULL })), { ...stopped, state: "down", reason: "" });
  const bare: JobRecord = { ...FULL, containerId: undefined, stoppingSinceMs: undefined };
  assert.equal(left(look({ job: job({ started: false }), record: bare })), left(bare), "it has not begun yet");
  const lost = look({ job: job({ started: true }), record: bare });
  assert.equal([lost.state, lost.reason], ["down", "its host lost it: neither its container nor its end is known"]);
  assert.equal(left(lost).upSinceMs, undefined);
  const counted: JobRecord = { ...FULL, containerId: "same", endedId: "same" };
  const { containerId: _d, ...once } = counted;
  assert.equal(left(look({ record: counted })), left(once as JobRecord), "its end is counted already");
  const task = { kind: "run", attach: false, tty: false, createdBy: "ann" } as const;
  const down: JobRecord = { ...FULL, state: "down" };
  assert.equal(left(look({ job: job({ task, desired: "stop" }), record: down })), {
    ...rest,
    state: "down",
    reason: "old",
  });
});

test("a crash leaves what happened and when it is tried again, and nothing of the life that ended", () => {
  const {
    stoppingSinceMs: _a,
    stopReason: _b,
    killedAtMs: _c,
    upSinceMs: _d,
    address: _e,
    runningSinceMs: _f,
    upAt: _g,
    ...kept
  } = REST;
  const ended = container(job(), { status: "exited", exitCode: 4 });
  const crashed = look({ record: { ...FULL, stopReason: undefined }, container: ended });
  assert.equal(left(crashed), {
    ...kept,
    state: "crashed",
    reason: "exited 4",
    exitCode: 4,
    endedId: ended.id,
    crashes: 3,
    startAfterMs: NOW + 4_000,
    nextStartAt: "2026-01-01T00:00:05.000Z",
  });
  const steadyFor = (ms: number) => look({ record: { ...FULL, upSinceMs: NOW - ms }, container: ended }).crashes;
  assert.equal([steadyFor(599_999), steadyFor(600_000)], [3, 1], "ten minutes up, and it is the first again");
  const stillUp = (ms: number) =>
    look({ record: { ...FULL, upSinceMs: NOW - ms, stoppingSinceMs: undefined }, container: own, health: healthy });
  assert.equal([stillUp(599_999).crashes, stillUp(600_000).crashes, stillUp(1).upAt], [2, 0, "u"]);
  const removed = look({ record: { ...FULL, stoppingSinceMs: undefined } });
  assert.equal(
    [removed.reason, removed.endedId, removed.containerId],
    ["its container was removed from outside", own.id, undefined],
  );
});

test("a job that waits for its client does so for a minute, and then ends", () => {
  const task = { kind: "run", attach: true, tty: false, createdBy: "ann" } as const;
  const of = job({ task });
  const created = container(of, { status: "created" });
  const first = look({ job: of, container: created });
  assert.equal([first.state, first.reason, first.waitsSinceMs], ["starting", "waits for its client", NOW]);
  const later = (ms: number, attached = false) =>
    look({ job: of, record: first, container: created, nowMs: NOW + ms, attached });
  assert.equal([later(59_999).state, later(60_000).state, later(60_000, true).state], ["starting", "down", "starting"]);
  const over = later(60_000);
  assert.equal([over.reason, over.endedId, over.waitsSinceMs], ["no client came within 60 s", created.id, undefined]);
  const plain = look({ job: job({ task: { ...task, attach: false } }), container: created });
  assert.equal([plain.reason, plain.waitsSinceMs], ["", undefined]);
});

test("what a program or the engine says is cut, and an image of another machine type is guessed at", () => {
  const of = (fields: Parameters<typeof container>[1], lastLine?: string) =>
    look({
      container: container(job(), { status: "exited", ...fields }),
      ...(lastLine === undefined ? {} : { lastLine }),
    }).reason;
  assert.is(of({ exitCode: 1 }, `  ${"x".repeat(300)}  `), `exited 1: ${"x".repeat(200)}`);
  assert.is(of({ exitCode: 1 }, "   "), "exited 1");
  assert.is(of({ exitCode: undefined }), "exited ?");
  assert.is(of({ error: "y".repeat(400) }), `could not be started: ${"y".repeat(300)}`);
  assert.is(
    of({ exitCode: 1 }, "[FATAL tini (7)] exec /a failed: Exec format error"),
    "cannot run /a: Exec format error (another architecture?)",
  );
  assert.is(look({ job: undefined, container: container(job(), { status: "exited", oomKilled: true }) }).state, "down");
});

test("a job that was told to stop, or is of nobody, ends down and without words", () => {
  const ended = container(job(), { status: "exited", exitCode: 143 });
  for (const its of [job({ desired: "stop" }), undefined]) {
    const { state, reason, exitCode, stoppingSinceMs, crashes } = look({ job: its, record: FULL, container: ended });
    assert.equal([state, reason, exitCode, stoppingSinceMs, crashes], ["down", "", 143, undefined, 2]);
  }
  const unhealthy = look({
    record: { ...FULL, upSinceMs: undefined, stoppingSinceMs: undefined },
    container: own,
    health: { state: "unhealthy", reason: "late" },
  });
  assert.equal(
    [unhealthy.state, unhealthy.reason],
    ["starting", "late"],
    "one that was never healthy is starting still",
  );
  const again = look({
    record: { ...FULL, stoppingSinceMs: undefined, state: "unhealthy" },
    container: own,
    health: { state: "starting", reason: "new" },
  });
  assert.equal([again.state, again.reason], ["unhealthy", "new"]);
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
