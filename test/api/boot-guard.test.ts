// Loops end: so many boots within a time that never got ready, and what a machine boots then.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type FailedBoot, fallbackAfter } from "#api/boot-guard.ts";

const MINUTE = 60_000;
const guard = { boots: 3, withinMs: 30 * MINUTE };
const boots = (image: string, ...minutes: number[]): FailedBoot[] =>
  minutes.map((minute) => ({
    bootId: `boot-${String(minute).padStart(4, "0")}`,
    imageId: image,
    atMs: minute * MINUTE,
  }));
const found = (over: object, failed: FailedBoot[]) => {
  const fallback = fallbackAfter({ ...guard, ...over }, failed);
  return fallback && [fallback.stage, fallback.imageId, fallback.after];
};

for (const [claim, over, failed, expected] of [
  ["two boots are no loop", { imageId: "good" }, boots("new", 1, 2), undefined],
  [
    "three are: the last image that worked comes back",
    { imageId: "good" },
    boots("new", 1, 2, 3),
    ["image", "good", "boot-0003"],
  ],
  ["three in more than half an hour are not", { imageId: "good" }, boots("new", 1, 20, 40), undefined],
  [
    "of boots far apart those of the last half hour count",
    { imageId: "good" },
    boots("new", 1, 40, 50, 60),
    ["image", "good", "boot-0060"],
  ],
  [
    "as many more end at the rescue prompt",
    { stage: "image", imageId: "good" },
    boots("good", 4, 5, 6),
    ["rescue", "good", "boot-0006"],
  ],
  [
    "told of all at once, it ends there too",
    { imageId: "good" },
    [...boots("new", 1, 2, 3), ...boots("good", 4, 5, 6)],
    ["rescue", "good", "boot-0006"],
  ],
  [
    "where the same image is the only one that ever worked, it is tried on",
    { imageId: "new" },
    boots("new", 1, 2, 3),
    ["image", undefined, "boot-0003"],
  ],
  ["the first image of a cluster too", {}, boots("new", 1, 2, 3), ["image", undefined, "boot-0003"]],
  ["and then it is the rescue prompt", {}, boots("new", 1, 2, 3, 4, 5, 6), ["rescue", undefined, "boot-0006"]],
  ["nothing comes after the rescue prompt", { stage: "rescue", imageId: "good" }, boots("good", 7, 8, 9), undefined],
] as const)
  test(claim, () => assert.equal(found(over, [...failed]), expected));

test("the words say how many boots, of what, how the last one ended, and what follows", () => {
  const failed = boots("new", 1, 3, 5);
  failed[2]!.end = "its initrd refused to boot: 512 MiB of memory, and 900 MiB are needed";
  assert.is(
    fallbackAfter({ ...guard, imageId: "good" }, failed)?.reason,
    "3 boots within 4m00s of image new ended before it was ready (the last: its initrd refused to boot: 512 MiB of memory, and 900 MiB are needed); it boots good, the last image that worked",
  );
});

test("however boots come, what follows of them one by one is what follows of all at once, and it ends at the rescue prompt", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20), { maxLength: 20 }), fc.integer({ min: 1, max: 4 }), (gaps, most) => {
      let minute = 0;
      const all = gaps.flatMap((gap) => {
        minute += gap + 1;
        return boots("new", minute);
      });
      const rule = { boots: most, withinMs: 30 * MINUTE, imageId: "good" };
      let stage: "image" | "rescue" | undefined;
      let after = "";
      for (const n of all.keys()) {
        const counted = all.slice(0, n + 1).filter(({ bootId }) => bootId > after);
        const next = fallbackAfter({ ...rule, ...(stage ? { stage } : {}) }, counted);
        if (next === undefined) continue;
        assert.ok(stage !== "rescue");
        [stage, after] = [next.stage, next.after];
      }
      assert.is(stage, fallbackAfter(rule, all)?.stage);
    }),
  );
});

test.run();
