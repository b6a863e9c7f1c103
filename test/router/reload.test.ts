// When a reload may be made.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  NO_OLD_WORKERS,
  OLD_WORKER_LIFE_MS,
  OLD_WORKERS_MOST,
  type OldWorkers,
  RELOADS_SURVIVED,
  type ReloadReason,
  reloadWaitMs,
} from "../../router/reload.ts";
import { shapeChange } from "../../router/render.ts";

const few: OldWorkers = { count: 3, reloads: 3, replacedMs: 6_000 };
const half: OldWorkers = { count: 4, reloads: 4, replacedMs: 60_000 };
const full: OldWorkers = { count: 8, reloads: 8, replacedMs: 60_000 };
const seenMany: OldWorkers = { count: 1, reloads: RELOADS_SURVIVED, replacedMs: 60_000 };

const WAITS: [string, ReloadReason, OldWorkers, number, number][] = [
  ["reloads are 2 s apart", "all", NO_OLD_WORKERS, 500, 1_500],
  ["ports likewise", "ports", few, 500, 1_500],
  ["after 2 s at once", "ports", few, 2_000, 0],
  ["ports wait while half of the older workers are in use", "ports", half, 2_000, 598_000],
  ["what everybody waits for is put together for 10 s", "all", half, 2_000, 8_000],
  ["with all in use, what everybody waits for gives the oldest ten minutes", "all", full, 60_000, 540_000],
  ["and no more", "all", { ...full, replacedMs: 600_000 }, 60_000, 0],
  ["ports wait until one ends by itself", "ports", full, 600_000, OLD_WORKER_LIFE_MS - 60_000],
  ["so too where HAProxy's master would end one that has seen many", "ports", seenMany, 600_000, 86_340_000],
];
for (const [title, reason, old, sinceReloadMs, waitMs] of WAITS)
  test(title, () => assert.is(reloadWaitMs({ reason, old, sinceReloadMs }), waitMs));

/** Every worker has a connection that stays, so that each reload leaves one more; `lifeMs`: how long until it ends by itself. */
function reloadsOf(asked: readonly { reason: ReloadReason; afterMs: number; lifeMs: number }[]) {
  let nowMs = 0;
  let lastMs = Number.NEGATIVE_INFINITY;
  let workers: { replacedAtMs: number; endsAtMs: number; reloads: number }[] = [];
  const cut: number[] = [];
  let most = 0;
  for (const { reason, afterMs, lifeMs } of asked) {
    nowMs += afterMs;
    for (;;) {
      workers = workers.filter(({ endsAtMs }) => endsAtMs > nowMs);
      const [oldest] = workers;
      const old = {
        count: workers.length,
        reloads: oldest?.reloads ?? 0,
        replacedMs: oldest ? nowMs - oldest.replacedAtMs : 0,
      };
      const waitMs = reloadWaitMs({ reason, old, sinceReloadMs: nowMs - lastMs });
      if (waitMs === 0) break;
      nowMs = Math.min(nowMs + waitMs, ...workers.map(({ endsAtMs }) => endsAtMs));
    }
    lastMs = nowMs;
    workers = workers.map((each) => ({ ...each, reloads: each.reloads + 1 }));
    workers.push({ replacedAtMs: nowMs, endsAtMs: nowMs + Math.min(lifeMs, OLD_WORKER_LIFE_MS), reloads: 1 });
    for (const each of workers.filter(
      ({ reloads }, n) => reloads > RELOADS_SURVIVED || n < workers.length - OLD_WORKERS_MOST,
    )) {
      cut.push(nowMs - each.replacedAtMs);
      workers = workers.filter((other) => other !== each);
    }
    most = Math.max(most, workers.length);
  }
  return { cut, most };
}

const someMs = fc.integer({ min: 1, max: OLD_WORKER_LIFE_MS * 2 });

test("whatever is asked for and whenever: few older workers, and no reload ends a connection before its time", () =>
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          reason: fc.constantFrom<ReloadReason>("ports", "all"),
          afterMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3_600_000 })),
          lifeMs: someMs,
        }),
        { maxLength: 100 },
      ),
      (asked) => {
        const { cut, most } = reloadsOf(asked);
        assert.ok(most <= OLD_WORKERS_MOST, `${most} older workers`);
        assert.ok(
          cut.every((ms) => ms >= 600_000),
          `after ${Math.min(...cut)} ms`,
        );
      },
    ),
  ));

test("reloads for ports alone never end a connection, however many there are", () =>
  fc.assert(
    fc.property(
      fc.array(fc.record({ reason: fc.constant<ReloadReason>("ports"), afterMs: fc.nat(10_000), lifeMs: someMs }), {
        maxLength: 100,
      }),
      (asked) => assert.equal(reloadsOf(asked).cut, []),
    ),
  ));

test("what differs between two configurations: nothing, ports only, anything else", () => {
  assert.is(shapeChange("a\n# ports\n1", "a\n# ports\n1"), undefined);
  assert.is(shapeChange("a\n# ports\n1", "a\n# ports\n1\n2"), "ports");
  assert.is(shapeChange("a\n# ports\n1", "b\n# ports\n1"), "all");
  assert.is(shapeChange(undefined, "b\n# ports\n1"), "all");
});

test.run();
