import { test } from "uvu";
import * as assert from "uvu/assert";
import { clockOff } from "../../control/clock.ts";

test("a host's clock is told where it is off by seconds, ahead or behind, and never by its report's way", () => {
  const ours = "2026-11-29T12:00:00.000Z";
  assert.is(clockOff("2026-11-29T13:00:00.000Z", ours), 3_600_000);
  assert.is(clockOff("2026-11-29T11:59:50.000Z", ours), -10_000);
  assert.is(clockOff("2026-11-29T11:59:59.000Z", ours), undefined);
  assert.is(clockOff(undefined, ours), undefined, "of an older host nothing is known");
});

test.run();
