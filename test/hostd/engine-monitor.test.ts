import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { until } from "#lib/time.ts";
import { fakeEngine } from "../../hostd/engine/fake.ts";
import { monitorEngine } from "../../hostd/engine-monitor.ts";

const happens = <T>(what: string, probe: () => T) => until(probe, { what, timeoutMs: 10_000, everyMs: 2 });

test("an engine is healthy after its first answer, unhealthy after two failures, and one probe is out at a time", async () => {
  const engine = fakeEngine();
  const changes: boolean[] = [];
  let inFlight = 0;
  let most = 0;
  const probe = async () => {
    most = Math.max(most, ++inFlight);
    try {
      return await engine.probe();
    } finally {
      inFlight--;
    }
  };
  const monitor = monitorEngine({ engine: { probe }, onChange: (healthy) => changes.push(healthy), everyMs: 2 });
  assert.equal(monitor.report(), { healthy: false, version: undefined, reason: "the engine has not answered yet" });
  const stop = new AbortController();
  const running = monitor.run(stop.signal);
  await happens("health", () => monitor.healthy());
  engine.fail("probe", new Fault("unavailable", "ask", { cause: new Error("connect ECONNREFUSED") }));
  await happens("trouble", () => !monitor.healthy());
  assert.equal(monitor.report(), { healthy: false, version: "fake", reason: "ask: connect ECONNREFUSED" });
  engine.fail("probe", undefined);
  const gate = engine.hang();
  const asked = engine.calls.length;
  await happens("one probe to hang", () => engine.calls.length === asked + 1 || inFlight === 1);
  gate.release();
  await happens("recovery", () => monitor.healthy());
  stop.abort();
  await running;
  assert.equal(changes, [true, false, true]);
  assert.is(most, 1);
});

test("a timeout is told in our words only", async () => {
  const cause = new DOMException("The operation was aborted", "TimeoutError");
  const error = new Fault("timeout", "ask: the engine does not answer", { cause });
  const monitor = monitorEngine({ engine: { probe: () => Promise.reject(error) }, onChange: () => {}, everyMs: 2 });
  const stop = new AbortController();
  const running = monitor.run(stop.signal);
  await happens("a failure", () => monitor.report().reason === "ask: the engine does not answer");
  stop.abort();
  await running;
});

test("an engine that answers for itself and not for its containers does not work, until it lists them again", async () => {
  const changes: boolean[] = [];
  const engine = fakeEngine();
  const monitor = monitorEngine({ engine, onChange: (healthy) => changes.push(healthy), everyMs: 2 });
  const stop = new AbortController();
  const running = monitor.run(stop.signal);
  await happens("health", () => monitor.healthy());
  monitor.looked("list containers: the engine does not answer");
  assert.ok(monitor.healthy(), "once is nothing yet");
  monitor.looked("list containers: the engine does not answer");
  assert.equal(monitor.report(), {
    healthy: false,
    version: "fake",
    reason: "list containers: the engine does not answer",
  });
  assert.ok(monitor.answers(), "so that it is looked at again");
  monitor.looked(undefined);
  assert.is(monitor.report().healthy, true);
  stop.abort();
  await running;
  assert.equal(changes, [true, false, true]);
});

test.run();
