// The parts of an image that are made here come out the same when they are made again, elsewhere and later: other dates, other order,
// other owner of the process. The whole image is built twice by `npm run test:soak -- image-twice`.
import { cp, mkdir, mkdtemp, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { prependSegment } from "../../../images/host/cpio.ts";
import { overlayDirectory } from "../../../images/host/customize.ts";
import { digestDirectory } from "../../../images/host/digest.ts";
import { microcodeEntries } from "../../../images/host/microcode.ts";
import { tieSegment } from "../../../images/host/segment.ts";

async function withFolders(work: (make: (name: string) => Promise<string>) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-twice-"));
  try {
    await work(async (name) => {
      const made = join(directory, name);
      await mkdir(made);
      return made;
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const INTEL = ["06-55-04", "06-4f-01", "0f-04-01", "06-4f-01.initramfs"];
const AMD = ["microcode_amd_fam19h.bin", "microcode_amd.bin", "README"];

/** A tree with microcode, its files made in this order. */
async function treeOf(folder: string, [intel, amd]: [string[], string[]], at: Date): Promise<string> {
  for (const [name, files] of [
    ["intel-ucode", intel],
    ["amd-ucode", amd],
  ] as const) {
    const to = join(folder, "usr/lib/firmware", name);
    await mkdir(to, { recursive: true });
    for (const file of files) {
      await writeFile(join(to, file), `${file} `.repeat(100));
      await utimes(join(to, file), at, at);
    }
  }
  return folder;
}

test("the initrd's front, with microcode and tie, is the same bytes whenever and from wherever it is made", () =>
  withFolders(async (make) => {
    const one = await treeOf(await make("a"), [INTEL, AMD], new Date(1e12));
    const two = await treeOf(await make("b"), [[...INTEL].reverse(), [...AMD].reverse()], new Date(1.7e12));
    const tie = { squashfsSha256: "a".repeat(64), squashfsBytes: 5, memoryNeedBytes: 7 };
    const rest = Buffer.from("the rest");
    const front = async (tree: string) =>
      prependSegment(tieSegment(tie, 1_700_000_000, await microcodeEntries(tree)), rest);
    const made = await front(one);
    assert.ok(made.equals(await front(two)));
    const text = made.toString("latin1");
    assert.ok(text.startsWith("070701"), "not compressed, as the kernel wants it at the front");
    const order = ["06-4f-01 ", "06-55-04 ", "0f-04-01 "].map((name) => text.indexOf(name));
    assert.equal(
      order,
      [...order].sort((a, b) => a - b),
    );
    assert.ok(order.every((at) => at > text.indexOf("kernel/x86/microcode/GenuineIntel.bin")));
    assert.ok(text.indexOf("microcode_amd.bin ") > text.indexOf("kernel/x86/microcode/AuthenticAMD.bin"));
    assert.not.match(text, /initramfs|README/, "what is not microcode stays out");
    assert.ok(text.endsWith("the rest") && made.includes("SQUASHFS_BYTES=5"));
  }));

test("a tree without microcode makes no image", () =>
  withFolders(async (make) => {
    const tree = await treeOf(await make("a"), [["06-4f-01.initramfs"], AMD], new Date());
    await microcodeEntries(tree).then(
      () => assert.unreachable("Intel's are missing"),
      (error: Error) => assert.match(error.message, /intel-ucode of the tree holds no microcode/),
    );
  }));

test("the host's own files are the same input from another clone, made at another time", () =>
  withFolders(async (make) => {
    const clone = join(await make("clone"), "rootfs");
    await cp(overlayDirectory, clone, { recursive: true });
    const unit = join(clone, "etc/systemd/system/flynn-hostd.service");
    await utimes(unit, new Date(1e12), new Date(1e12));
    assert.is(await digestDirectory(clone), await digestDirectory(overlayDirectory));
    await writeFile(unit, `${await readFile(unit, "utf8")}#\n`);
    assert.is.not(
      await digestDirectory(clone),
      await digestDirectory(overlayDirectory),
      "a changed byte is another input",
    );
  }));

test.run();
