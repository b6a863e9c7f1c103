// hostd killed at each step of a stop: whoever comes after it tells nobody twice who has time left, goes on with the time that was
// begun, and leaves nobody untold.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { keepAddresses } from "../../../hostd/addresses.ts";
import { createAgent } from "../../../hostd/agent.ts";
import { createApply } from "../../../hostd/apply.ts";
import { type FakeEngine, fakeEngine } from "../../../hostd/engine/fake.ts";
import type { JobRecord } from "../../../hostd/job-record.ts";
import { logStore } from "../../../hostd/logs/store.ts";
import { unkeptReach } from "../../../hostd/reach/reach.ts";
import { job, target } from "../jobs.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-stop-restart-"));
test.after(() => rm(directory, { recursive: true, force: true }));
const logs = logStore({ directory, onError: () => undefined });
test.after(() => logs.close());

const STOP_MS = 40_000;
const LAST_CALL_MS = STOP_MS - 5_000;
const spec = job({ id: "a", stopTimeoutMs: STOP_MS });
const stopped = target([{ ...spec, desired: "stop" }]);

/** Where a life of hostd ends. */
const STEPS = [
  "before the intent is on disk",
  "before the signal",
  "before it is known as sent",
  "after all",
  "never",
] as const;
type Ending = (typeof STEPS)[number];

interface Machine {
  engine: FakeEngine;
  disk: JobRecord[];
  nowMs: number;
}

/** One life of hostd on the machine, until it is killed or told to end. */
function live(machine: Machine, first: ReturnType<typeof target>, ending: Ending) {
  const { engine } = machine;
  const stop = new AbortController();
  const die = (): never => {
    stop.abort();
    throw new Error("killed");
  };
  const isStopping = (records: readonly JobRecord[]) => records.some((one) => one.stoppingSinceMs !== undefined);
  const isTold = (records: readonly JobRecord[]) => isStopping(records) && records.every((one) => !one.untold);
  const mortal = {
    ...engine,
    async signal(...call: Parameters<FakeEngine["signal"]>) {
      if (stop.signal.aborted || (ending === "before the signal" && call[1] === "SIGTERM")) die();
      await engine.signal(...call);
    },
  };
  const addresses = keepAddresses();
  const agent = createAgent({
    engine: mortal,
    monitor: { healthy: () => true },
    apply: createApply({ engine: mortal, dns: () => [], addresses, reach: unkeptReach }),
    addresses,
    reach: unkeptReach,
    logs,
    target: first,
    records: new Map(structuredClone(machine.disk).map((record) => [record.jobId, record])),
    onChange: () => undefined,
    async save({ records }) {
      if (stop.signal.aborted) die();
      if (ending === "before the intent is on disk" && isStopping(records)) die();
      if (ending === "before it is known as sent" && isTold(records)) die();
      machine.disk = structuredClone(records);
      if (ending === "after all" && isTold(records)) die();
    },
    log: silentLog(),
    signal: stop.signal,
    monotonicMs: () => machine.nowMs,
    tickMs: 2,
  });
  const running = agent.run();
  const ended = async () => {
    stop.abort();
    await running;
  };
  return { agent, killed: () => stop.signal.aborted, ended };
}

const happens = (what: string, probe: () => unknown) => until(probe, { what, timeoutMs: 20_000, everyMs: 2 });

for (const ending of STEPS)
  test(`hostd is killed ${ending}: one SIGTERM as long as there is time, and SIGKILL when the time that was begun is over`, async () => {
    const engine = fakeEngine({ onTerm: () => undefined });
    const machine: Machine = { engine, disk: [], nowMs: 1_000_000 };
    const sent = (signalName: string) => engine.calls.filter((call) => call === `signal ${signalName} flynn-a`).length;
    /** Whatever would be done now has been done. */
    const looks = async () => {
      const before = engine.calls.filter((call) => call === "list").length;
      await happens("looks", () => engine.calls.filter((call) => call === "list").length > before + 6);
    };
    const one = live(machine, target([spec]), ending);
    await happens("the job's being up", () => one.agent.jobs()[0]?.state === "up");
    const beganMs = machine.nowMs;
    one.agent.setTarget(stopped);
    if (ending === "never") await happens("its being told", () => sent("SIGTERM") === 1);
    else await happens("the end of hostd", one.killed);
    const toldByOne = sent("SIGTERM");
    await one.ended();

    machine.nowMs += 10_000;
    const two = live(machine, stopped, "never");
    two.agent.setTarget(stopped);
    try {
      await looks();
      const isBegun = ending !== "before the intent is on disk";
      const dueMs = (isBegun ? beganMs : machine.nowMs) + STOP_MS;
      const isKnown = ending === "after all" || !isBegun;
      if (ending !== "never")
        assert.is(toldByOne, ending === "before it is known as sent" || ending === "after all" ? 1 : 0);
      assert.is(sent("SIGTERM"), isBegun ? toldByOne : 1, "nobody is told twice who has time left");
      machine.nowMs = dueMs - STOP_MS + LAST_CALL_MS - 1;
      await looks();
      assert.is(sent("SIGTERM"), isBegun ? toldByOne : 1, "nobody is told twice who has time left");
      machine.nowMs = dueMs - 1;
      await looks();
      assert.ok(sent("SIGTERM") >= 1, "nobody is killed who was not told");
      if (isKnown) assert.is(sent("SIGTERM"), 1);
      assert.ok(sent("SIGTERM") <= 2);
      assert.is(sent("SIGKILL"), 0, "it has all of its time");
      machine.nowMs = dueMs;
      await happens("SIGKILL", () => sent("SIGKILL") === 1);
    } finally {
      await two.ended();
    }
  });

test("a disk that takes nothing, or never answers, does not keep a job from being told to end", async () => {
  for (const save of [() => new Promise<void>(() => undefined), () => Promise.reject(new Error("no room"))]) {
    const engine = fakeEngine();
    const stop = new AbortController();
    const addresses = keepAddresses();
    const agent = createAgent({
      engine,
      monitor: { healthy: () => true },
      apply: createApply({ engine, dns: () => [], addresses, reach: unkeptReach }),
      addresses,
      reach: unkeptReach,
      logs,
      target: target([spec]),
      records: new Map(),
      onChange: () => undefined,
      save,
      log: silentLog(),
      signal: stop.signal,
      tickMs: 2,
    });
    const running = agent.run();
    try {
      await happens("the job's being up", () => agent.jobs()[0]?.state === "up");
      agent.setTarget(stopped);
      await happens("its end", () => engine.calls.includes("remove flynn-a"));
    } finally {
      stop.abort();
      await running;
    }
  }
});

test.run();
