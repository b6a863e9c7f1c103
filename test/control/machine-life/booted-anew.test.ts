import { test } from "uvu";
import * as assert from "uvu/assert";
import { bootedAnew, endedBoot } from "../../../control/machine-life/booted-anew.ts";
import type { HostRecord, MachineRecord } from "../../../control/records.ts";

/** A machine that joined with one boot, began another, and whose host reports a kernel. */
const at = (joined: string | undefined, begun: string | undefined, kernel: string | undefined) => ({
  machine: {
    ...(joined === undefined ? {} : { joinedBootId: joined }),
    ...(begun === undefined ? {} : { bootId: begun }),
  } as MachineRecord,
  host: (kernel === undefined ? {} : { bootId: kernel }) as HostRecord,
});

const TABLE: readonly [what: string, before: ReturnType<typeof at>, now: ReturnType<typeof at>, booted: boolean][] = [
  ["nothing happened", at("b1", "b1", "k1"), at("b1", "b1", "k1"), false],
  ["it began to boot, and its host is silent", at("b1", "b1", "k1"), at("b1", "b2", "k1"), false],
  ["its agent joined", at("b1", "b1", "k1"), at("b2", "b2", "k2"), true],
  ["its agent joined, and its kernel was never known", at(undefined, undefined, undefined), at("b2", "b2", "k2"), true],
  ["a host of kept identity reports another kernel", at("b1", "b5", "k5"), at("b1", "b6", "k6"), true],
  ["it does, and which boot that is was not told yet", at("b1", "b5", "k5"), at("b1", "b5", "k6"), false],
  ["a machine that is no host any more", at("b1", "b1", "k1"), at("b1", "b2", undefined), false],
];

for (const [what, before, now, booted] of TABLE)
  test(`${what}: ${booted ? "it booted anew" : "not booted anew"}`, () => {
    const ended = endedBoot(before.machine, before.host);
    assert.is(bootedAnew(ended, now.machine, now.host), booted);
  });

test("an order to a machine without a host ends with the first join", () => {
  assert.is(
    bootedAnew(
      endedBoot(at(undefined, "b1", undefined).machine, undefined),
      at("b2", "b2", "k2").machine,
      at("b2", "b2", "k2").host,
    ),
    true,
  );
});

test.run();
