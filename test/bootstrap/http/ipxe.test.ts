import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { consoleLines, consoleText, word } from "../../../bootstrap/http/boot-words.ts";
import {
  autoexecScript,
  bootScript,
  localDiskScript,
  refusalScript,
  rescueScript,
  waitScript,
} from "../../../bootstrap/http/ipxe.ts";
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

test("the boot script is the golden one", () => matchesGolden("boot.ipxe", bootScript({ base, mac, token, image })));
test("beside a host that has the root image it is fetched there, and the boot server's own URL is named for when that fails", () => {
  const text = bootScript({ base, mac, token, image, peer: "10.77.0.60" });
  const path = `/a/sha256-${image.squashfsSha256}/root.squashfs`;
  assert.ok(text.includes(` fetch=http://10.77.0.60:7781${path} flynn.root=${base}${path} `));
  assert.throws(() => bootScript({ base, mac, token, image, peer: "10.77.0.60 || shell" }));
});
test("the rescue script has neither a token nor a seed", () => {
  const text = rescueScript({ base, mac, image });
  assert.not.match(text, token);
  assert.not.match(text, "/s/");
  matchesGolden("rescue.ipxe", text);
});
test("a rescue prompt that a machine came to by itself is told why, on the kernel's command line", () => {
  const why =
    "3 boots within 4m of image img1 ended before it was ready (the last: a; b); it waits at the rescue prompt";
  const text = rescueScript({ base, mac, image, why: `${why} $(reboot)`, lines: consoleLines(`Flynn: ${why}`) });
  const said =
    "3_boots_within_4m_of_image_img1_ended_before_it_was_ready_(the_last:_a,_b),_it_waits_at_the_rescue_prompt";
  assert.match(text, ` flynn.why=${said}_?(reboot)`);
  assert.match(text, "echo Flynn: 3 boots within 4m of image img1 ended before it was ready (the last: a,");
  assert.not.match(rescueScript({ base, mac, image }), "flynn.why");
  assert.match(rescueScript({ base, mac, image, why: "x ".repeat(300) }), / flynn\.why=(x_){90} /);
});
test("text of any length is lines of a screen", () => {
  const text = Array.from({ length: 60 }, (_, n) => `word${n}`).join(" ");
  const lines = consoleLines(`${text} ${"x".repeat(100)}`);
  assert.ok(lines.length > 4 && lines.every((line) => line.length <= 78));
  assert.is(lines.join(" "), `${text} ${"x".repeat(78)} ${"x".repeat(22)}`);
});
test("the waiting script asks again every few seconds", () =>
  matchesGolden(
    "wait.ipxe",
    waitScript({ base, mac, lines: ["Flynn: machine 52:54:00:00:00:01 waits for approval"] }),
  ));
test("the local disk scripts differ by firmware", () => {
  matchesGolden("local-disk-bios.ipxe", localDiskScript({ platform: "pcbios" }));
  matchesGolden("local-disk-efi.ipxe", localDiskScript({ platform: "efi" }));
});
test("the refusing script ends", () => matchesGolden("rejected.ipxe", refusalScript(["Flynn: no"])));
test("autoexec.ipxe tries one card after the other, without the IPv6 wait", () =>
  matchesGolden("autoexec.ipxe", autoexecScript({ base })));

test("boot=live is there once, whoever says it", () => {
  const without = bootScript({ base, mac, token, image: { ...image, cmdline: ["panic=30"] } });
  assert.is(without.split("boot=live").length, 2);
  assert.is(bootScript({ base, mac, token, image }).split("boot=live").length, 2);
});

test("the root image's URL ends in .squashfs, as live-boot wants it, and BOOTIF is hyphenated", () => {
  const text = bootScript({ base, mac, token, image });
  assert.match(text, /fetch=http:\S+\.squashfs /);
  assert.match(text, " BOOTIF=01-52-54-00-00-00-01 ");
  assert.match(text, ` ds=nocloud-net;s=${base}/s/${token}/ `);
});

test("a kernel argument that iPXE would expand, split or quote is refused", () => {
  for (const bad of [
    "a b",
    "a\nb",
    "$" + "{net0/mac}",
    "x;`id`",
    'a"b',
    "a'b",
    "a\\b",
    "&&",
    "||",
    ";",
    "#x",
    "é",
    "",
    "a\0b",
  ]) {
    assert.throws(
      () => word(bad),
      (error: unknown) => isFault(error, "invalid"),
      bad,
    );
    assert.throws(() => bootScript({ base, mac, token, image: { ...image, cmdline: [bad] } }));
  }
});

test("property: no text on the console ends its line or becomes a command", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: "binary" })), (hostile) => {
      const text = waitScript({ base, mac, lines: [hostile] });
      const lines = text.split("\n");
      assert.is(lines.length, 6);
      assert.ok(lines[1]!.startsWith("echo "));
      assert.not.match(consoleText(hostile), /[$;&|`"'\\\n\r#]/);
    }),
  );
});

test("what is refused is shown, eighty characters of it, and the console gets two hundred of any text", () => {
  assert.throws(
    () => word(`$${"x".repeat(200)}`),
    (error: Error) => error.message === `"$${"x".repeat(79)}" cannot stand in a boot script`,
  );
  assert.is(consoleText("x".repeat(201)), "x".repeat(200));
  assert.is(consoleText("boot 1.2,3:(4)_/5=+-"), "boot 1.2,3:(4)_/5=+-");
  assert.is(consoleText("a$b\nc; d"), "a?b?c, d");
});

test.run();
