// How control's own parts stand in the status, in words.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loopParts, registryPart, schedulerPart } from "../../control/status-parts.ts";

const WELL = { blocked: 0, differencesSinceStart: 0, failing: [] };
const OFF = { on: false, waiting: 0 };
const failing = ["app-1", "app-2"].map((appId) => ({ appId, reason: "no tags" }));

test("the scheduler's part says what holds most jobs up", () => {
  const ROWS: [Parameters<typeof schedulerPart>, state: string, message: string][] = [
    [[OFF, WELL], "ok", "nothing waits"],
    [[OFF, { ...WELL, blocked: 3 }], "ok", "3 apps have jobs that wait for room"],
    [[OFF, { ...WELL, differencesSinceStart: 1 }], "degraded", "nothing waits"],
    [
      [OFF, { ...WELL, blocked: 3, failing: failing.slice(0, 1) }],
      "degraded",
      "app app-1 cannot be scheduled: no tags; it is tried again",
    ],
    [[OFF, { ...WELL, failing }], "degraded", "app app-1 cannot be scheduled: no tags; 1 more; it is tried again"],
    [
      [
        { on: true, waiting: 4 },
        { ...WELL, failing },
      ],
      "degraded",
      "brake: 4 hosts were lost together; their jobs are left alone",
    ],
  ];
  for (const [given, state, message] of ROWS)
    assert.equal(schedulerPart(...given), { name: "scheduler", state, message });
});

test("the registry is up or down, and each loop that failed is a part", () => {
  assert.equal(registryPart("10.0.0.1:5000", undefined).message, "answers at 10.0.0.1:5000");
  assert.equal(registryPart("10.0.0.1:5000", "no route"), { name: "registry", state: "down", message: "no route" });
  assert.equal(loopParts([]), []);
  assert.equal(loopParts([{ name: "builds", reason: "disk on fire", times: 2 }]), [
    { name: "loop builds", state: "degraded", message: "it failed and begins anew: disk on fire" },
  ]);
});

test.run();
