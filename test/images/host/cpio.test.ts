import { test } from "uvu";
import * as assert from "uvu/assert";
import { cpioArchive, prependSegment } from "../../../images/host/cpio.ts";

/** A reader of its own, after the kernel's buffer-format.rst: what the writer wrote must be found by it. */
function readNewc(archive: Buffer): { name: string; mode: number; mtime: number; content: string }[] {
  const members = [];
  for (let at = 0; ; ) {
    assert.is(archive.toString("ascii", at, at + 6), "070701", `magic at ${at}`);
    assert.is(at % 4, 0, "headers begin at a multiple of four");
    const field = (n: number) => Number.parseInt(archive.toString("ascii", at + 6 + n * 8, at + 14 + n * 8), 16);
    const nameSize = field(11);
    const name = archive.toString("utf8", at + 110, at + 110 + nameSize - 1);
    if (name === "TRAILER!!!") return members;
    const from = Math.ceil((at + 110 + nameSize) / 4) * 4;
    const size = field(6);
    members.push({ name, mode: field(1), mtime: field(5), content: archive.toString("utf8", from, from + size) });
    at = Math.ceil((from + size) / 4) * 4;
  }
}

test("a reader of the newc format finds every entry with its mode, date and content", () => {
  const archive = cpioArchive(
    [{ path: "etc" }, { path: "etc/a", content: "12345" }, { path: "x", content: "", mode: 0o100755 }],
    1_700_000_000,
  );
  assert.equal(readNewc(archive), [
    { name: "etc", mode: 0o040755, mtime: 1_700_000_000, content: "" },
    { name: "etc/a", mode: 0o100644, mtime: 1_700_000_000, content: "12345" },
    { name: "x", mode: 0o100755, mtime: 1_700_000_000, content: "" },
  ]);
});

test("the same entries give the same bytes, and other content gives others", () => {
  const make = (content: string) => cpioArchive([{ path: "a", content }], 1);
  assert.ok(make("one").equals(make("one")));
  assert.not.ok(make("one").equals(make("two")));
});

test("an initrd with a segment before it keeps its bytes, behind the segment and zero bytes up to a multiple of 512", () => {
  const initrd = Buffer.from([0x02, 0x21, 0x4c, 0x18, 1, 2, 3]); // the magic of lz4's legacy format
  for (const content of ["", "b", "12345", "x".repeat(600)]) {
    const segment = cpioArchive([{ path: "a", content }], 0);
    const whole = prependSegment(segment, initrd);
    assert.is(readNewc(whole)[0]!.content, content);
    const begin = whole.length - initrd.length;
    assert.is(begin % 512, 0);
    assert.ok(whole.subarray(begin).equals(initrd));
    assert.ok(whole.subarray(segment.length, begin).every((byte) => byte === 0));
  }
});

test("a path that would leave the initramfs is refused", () => {
  for (const path of ["", "/etc/passwd", "../x", "a/../../x", "a\0b"]) {
    assert.throws(() => cpioArchive([{ path, content: "" }], 0), /not a path inside/);
  }
});

test.run();
