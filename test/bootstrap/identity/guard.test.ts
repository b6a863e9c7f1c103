// What a machine that asks again and again is given by the boot server alone, while control is away too.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootMachine } from "#api/boot.ts";
import { guarded } from "../../../bootstrap/identity/guard.ts";
import type { BootRecord } from "../../../bootstrap/identity/tokens.ts";
import { bootMachine } from "../image-fixture.ts";

const MAC = "52:54:00:00:00:01";
const GUARD = { boots: 3, withinMs: 1_800_000, imageId: "good" };
const machine = (over: Partial<BootMachine> = {}) => bootMachine(MAC, { imageId: "new", guard: GUARD, ...over });
const record = (n: number, over: Partial<BootRecord> = {}): BootRecord => ({
  bootId: `boot-${n}`,
  machineId: "m1",
  imageId: "new",
  mac: "52:54:00:00:00:01",
  address: "10.0.0.2",
  tokenHash: `${n}`,
  mintedAtMs: n * 60_000,
  uses: {},
  ...over,
});
const given = (one: BootMachine, boots: BootRecord[], there = true) => {
  const { machine: next, why } = guarded(one, boots, there);
  return [next.target, next.imageId, why !== undefined];
};
const three = [record(1), record(2), record(3)];
const seeded = three.map((boot) => ({ ...boot, uses: { "user-data": { firstAtMs: 1 } } }));

for (const [claim, one, boots, there, expected] of [
  ["a first boot is its own", machine(), [], true, ["boot", "new", false]],
  [
    "after three that came to nothing it gets the last image that worked",
    machine(),
    three,
    true,
    ["boot", "good", true],
  ],
  ["so it does with control away", machine(), three, false, ["boot", "good", true]],
  [
    "what control counted already does not count again",
    machine({ guard: { ...GUARD, after: "boot-1" } }),
    three,
    true,
    ["boot", "new", false],
  ],
  [
    "after three more it gets the rescue prompt",
    machine(),
    [...three, record(4, { imageId: "good" }), record(5, { imageId: "good" }), record(6, { imageId: "good" })],
    true,
    ["rescue", "good", true],
  ],
  ["a boot that got its seed and never joined failed", machine(), seeded, true, ["boot", "good", true]],
  ["unless control is away: then its agent waits, as all do", machine(), seeded, false, ["boot", "new", false]],
  [
    "one that boots its own disk is left alone",
    machine({ target: "local-disk" }),
    three,
    true,
    ["local-disk", "new", false],
  ],
  [
    "a control that counts nothing is followed to the letter",
    bootMachine(MAC, { imageId: "new" }),
    three,
    true,
    ["boot", "new", false],
  ],
  [
    "the reason of a rescue that control decided on goes to the console",
    machine({ target: "rescue", guard: { ...GUARD, stage: "rescue", reason: "3 boots" } }),
    [],
    true,
    ["rescue", "new", true],
  ],
] as const)
  test(claim, () => assert.equal(given(one, [...boots], there), expected));

test.run();
