// What an order to boot anew does next, rule by rule.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { nextOfReprovision, type ReprovisionSeen } from "../../../control/machine-life/reprovision.ts";

const seen: ReprovisionSeen = {
  phase: "drain",
  drained: false,
  hostLives: true,
  deaf: undefined,
  ready: true,
  bootedAnew: false,
  imageId: "img",
  sinceMs: 0,
  drainMostMs: 1_000,
  bootMostMs: 1_000,
};
for (const [claim, over, type, words] of [
  ["its jobs are waited for", {}, "wait", undefined],
  ["drained it is told to reboot", { drained: true }, "reboot", /told to reboot/],
  ["jobs that stay end it, and it goes on as it was", { sinceMs: 2_000 }, "end", /as it was/],
  [
    "an agent that is gone leaves it to a person",
    { deaf: "its host is lost", hostLives: false },
    "by-hand",
    /its host is lost/,
  ],
  ["told, and still ready with the old boot, it is waited for", { phase: "boot" }, "wait", undefined],
  ["ready with a new boot it is done", { phase: "boot", bootedAnew: true }, "end", /ready with image img/],
  ["a person may be quicker than the drain", { bootedAnew: true }, "end", /ready/],
  ["not ready yet it is waited for", { phase: "boot", ready: false }, "wait", undefined],
  [
    "a refusal in the initrd ends it",
    { phase: "boot", ready: false, refused: "its initrd refused" },
    "end",
    /initrd refused/,
  ],
  [
    "what does not come back is switched by its BMC, where it has one that may",
    { phase: "boot", ready: false, sinceMs: 2_000, mayCycle: true },
    "cycle",
    /nothing came of its boot/,
  ],
  ["and not before its time", { phase: "boot", ready: false, sinceMs: 1_000, mayCycle: true }, "wait", undefined],
  [
    "what does not come back ends it",
    { phase: "boot", ready: false, sinceMs: 2_000 },
    "end",
    /did not come back in time/,
  ],
] as const)
  test(claim, () => {
    const step = nextOfReprovision({ ...seen, ...over });
    assert.is(step.type, type);
    if (words) assert.match("words" in step ? step.words : "reason" in step ? step.reason : "", words);
  });

test.run();
