// Control's loops: one that fails begins anew, is shown meanwhile, and the others go on; a store that has failed ends them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { loops } from "../../control/loops.ts";

const quick = { log: silentLog(), store: { ended: false }, retry: { baseMs: 1, maxMs: 2 } };

test("a loop that throws, or ends by itself, begins anew and is shown with why", async () => {
  const stop = new AbortController();
  const kept = loops(quick);
  let turns = 0;
  const loop = async (signal: AbortSignal) => {
    turns++;
    if (turns === 1) throw new Error("one app's record");
    if (turns === 2) return;
    await until(() => signal.aborted, { what: "the end", timeoutMs: 30_000, everyMs: 1 });
  };
  const running = kept.keep("git", loop, stop.signal);
  await until(() => turns === 3, { what: "a third turn", timeoutMs: 30_000, everyMs: 1 });
  assert.equal(kept.failing(), [{ name: "git", reason: "it ended by itself", times: 2 }]);
  stop.abort();
  await running;
  assert.is(turns, 3);
});

test("what does not answer for a while, a registry or a host, ends no loop", async () => {
  const stop = new AbortController();
  const kept = loops(quick);
  let turns = 0;
  const loop = async (signal: AbortSignal) => {
    if (++turns < 3) throw new Fault("unavailable", "the registry does not answer");
    await until(() => signal.aborted, { what: "the end", timeoutMs: 30_000, everyMs: 1 });
  };
  const running = kept.keep("retention", loop, stop.signal);
  await until(() => turns === 3, { what: "a third turn", timeoutMs: 30_000, everyMs: 1 });
  stop.abort();
  await running;
});

test("a store that has failed ends the loop for good", async () => {
  const kept = loops({ ...quick, store: { ended: true } });
  const loop = async () => {
    throw new Fault("unavailable", "the log has failed");
  };
  const failure = await kept
    .keep("scheduler", loop, new AbortController().signal)
    .catch((error: Error) => error.message);
  assert.is(failure, "the log has failed");
});

test.run();
