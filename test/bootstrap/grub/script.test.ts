import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isKernelWord } from "#api/boot.ts";
import {
  bootGrub,
  localDiskGrub,
  refusalGrub,
  rescueGrub,
  startGrub,
  waitGrub,
} from "../../../bootstrap/grub/script.ts";
import { matchesGolden } from "../../golden/golden.ts";

const base = "http://10.77.0.1:7780";
const mac = "52:54:00:00:00:01";
const token = "T".repeat(43);
const image = {
  kernelSha256: "a".repeat(64),
  initrdSha256: "b".repeat(64),
  squashfsSha256: "c".repeat(64),
  cmdline: ["boot=live", "console=tty0", "console=ttyS0,115200n8", "panic=30"],
};

test("GRUB's first script is the golden one", () => matchesGolden("start.grub", startGrub({ base })));
test("GRUB's boot script is the golden one", () => matchesGolden("boot.grub", bootGrub({ base, mac, token, image })));
test("GRUB's rescue script has neither a token nor a seed", () => {
  const text = rescueGrub({ base, mac, image });
  for (const secret of [token, "/s/"]) assert.not.match(text, secret);
  matchesGolden("rescue.grub", text);
});
test("GRUB says why it waits; its first script asks again", () =>
  matchesGolden("wait.grub", waitGrub(["Flynn: machine 52:54:00:00:00:01 waits for approval"])));
test("GRUB leaves for the disk, and for the next of the boot order when it may not boot", () => {
  matchesGolden("local-disk.grub", localDiskGrub());
  matchesGolden("rejected.grub", refusalGrub(["Flynn: no"]));
});

test("GRUB does not end a command at the semicolon of the seed's address", () => {
  assert.match(bootGrub({ base, mac, token, image }), ` 'ds=nocloud-net;s=${base}/s/${token}/'`);
});

test("GRUB's first script gives up after an hour of asking", () => {
  const rounds = [...startGrub({ base }).matchAll(/for \w+ in ([\d ]+); do/g)].map(
    ([, list]) => list!.split(" ").length,
  );
  assert.is(rounds.reduce((product, count) => product * count, 1) * 5, 3_600);
});

test("whatever a profile's kernel words are, GRUB reads each as one word, as it is", () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 1, maxLength: 40 }).filter(isKernelWord), { maxLength: 5 }),
      (cmdline) => {
        const line = bootGrub({ base, mac, token, image: { ...image, cmdline } })
          .split("\n")
          .find((one) => one.includes("vmlinuz"))!;
        const words = [...line.matchAll(/'([^']*)'/g)].map(([, text]) => text);
        assert.equal(words.slice(1).filter((one) => cmdline.includes(one!)).length >= cmdline.length, true);
        assert.is(
          line
            .replace(/'[^']*'/g, "")
            .trim()
            .replace(/ +/g, " "),
          "if linux ; then",
        );
      },
    ),
  );
});

test("text for the console cannot end its quotes", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      assert.match(waitGrub([text]), /^echo '[^'\n]*'\n$/);
    }),
  );
});

test.run();
