// When a reload may be made.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { OLD_WORKERS_MOST, type ReloadReason, reloadWaitMs } from "../../router/reload.ts";
import { shapeChange } from "../../router/render.ts";

const WAITS: [string, ReloadReason, number, number, number][] = [
  ["reloads are 2 s apart", "all", 0, 500, 1_500],
  ["ports likewise", "ports", 3, 500, 1_500],
  ["after 2 s at once", "ports", 3, 2_000, 0],
  ["ports wait while half of the older workers are in use", "ports", 4, 2_000, 598_000],
  ["for ten minutes at most", "ports", 8, 600_000, 0],
  ["what everybody waits for does not", "all", 8, 2_000, 0],
];
for (const [title, reason, oldWorkers, sinceReloadMs, waitMs] of WAITS)
  test(title, () => assert.is(reloadWaitMs({ reason, oldWorkers, sinceReloadMs }), waitMs));

test("however fast ports change, a connection outlives 40 minutes of it", () => {
  let now = 0;
  for (let oldWorkers = 0; oldWorkers <= OLD_WORKERS_MOST; oldWorkers++)
    now += reloadWaitMs({ reason: "ports", oldWorkers, sinceReloadMs: 0 });
  assert.ok(now >= 40 * 60_000, `${now} ms`);
});

test("what differs between two configurations: nothing, ports only, anything else", () => {
  assert.is(shapeChange("a\n# ports\n1", "a\n# ports\n1"), undefined);
  assert.is(shapeChange("a\n# ports\n1", "a\n# ports\n1\n2"), "ports");
  assert.is(shapeChange("a\n# ports\n1", "b\n# ports\n1"), "all");
  assert.is(shapeChange(undefined, "b\n# ports\n1"), "all");
});

test.run();
