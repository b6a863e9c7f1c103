// Machines nobody approved: who makes room, who expires, and how many may come.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { expiredMachines, newcomers, quietest, UNAPPROVED_MOST } from "../../../control/identity/unapproved.ts";
import type { MachineRecord } from "../../../control/records.ts";

const NOW = Date.parse("2026-01-02T00:00:00.000Z");
const DAY_MS = 86_400_000;
const machine = (id: string, over: Partial<MachineRecord> = {}) => ({
  key: `machines/${id}`,
  version: 1,
  value: { id, state: "discovered", lastSeenAt: "2026-01-01T00:00:00.000Z", ...over } as MachineRecord,
});
const idsOf = (entries: readonly { value: MachineRecord }[]) => entries.map(({ value }) => value.id);

test("those never seen on the wire make room first, the longest silent first of each, as many as are asked for", () => {
  const at = (second: number) => `2026-01-01T00:00:0${second}.000Z`;
  const waiting = [
    machine("seen late", { observed: {}, lastSeenAt: at(4) }),
    machine("said late", { lastSeenAt: at(3) }),
    machine("seen early", { observed: {}, lastSeenAt: at(1) }),
    machine("said early", { lastSeenAt: at(2) }),
  ];
  const order = ["said early", "said late", "seen early", "seen late"];
  assert.equal(
    [1, 2, 3, 4, 9].map((count) => idsOf(quietest(waiting, count))),
    [1, 2, 3, 4, 4].map((count) => order.slice(0, count)),
  );
  assert.equal([quietest(waiting, 0), quietest(waiting, -1), quietest([], 5)], [[], [], []]);
  assert.equal(idsOf(waiting), ["seen late", "said late", "seen early", "said early"], "what was given is as it was");
  assert.is(UNAPPROVED_MOST, 2_000);
});

test("a machine that nobody decided on and nobody saw for more than a day is over", () => {
  const seen = (agoMs: number, over: Partial<MachineRecord> = {}) =>
    idsOf(expiredMachines([machine("m", { lastSeenAt: new Date(NOW - agoMs).toISOString(), ...over })], NOW));
  assert.equal([seen(DAY_MS), seen(DAY_MS + 1)], [[], ["m"]]);
  for (const state of ["approved", "rejected", "ready", "lost"] as const)
    assert.equal(seen(9 * DAY_MS, { state }), [], state);
});

test("a thousand come at once, then twenty a second that were seen and two that only say so; each kind has its own", () => {
  const clock = { ms: 5_000 };
  const mayCome = newcomers(() => clock.ms);
  const come = (seen: boolean, tries: number) =>
    Array.from({ length: tries }, () => mayCome(seen)).filter(Boolean).length;
  assert.equal([come(true, 1_500), come(false, 1_500)], [1_000, 1_000]);
  clock.ms += 1_000;
  assert.equal([come(true, 50), come(false, 50)], [20, 2]);
  clock.ms += 499;
  assert.equal([come(true, 50), come(false, 50)], [9, 0]);
  clock.ms += 3_600_000;
  assert.equal([come(true, 1_500), come(false, 1_500)], [1_000, 1_000], "never more than that at once");
});

test.run();
