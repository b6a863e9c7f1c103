// What a BMC puts into a machine's drive: an image that others read as we wrote it.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fatImage } from "../../../bootstrap/media/fat.ts";
import { filesOfIso, isoImage } from "../../../bootstrap/media/iso.ts";
import { machineIso } from "../../../bootstrap/media/parts.ts";

const bytes = (size: number, seed: number) => Buffer.from(Array.from({ length: size }, (_, n) => (n * 7 + seed) & 255));

test("files of an ISO are read back as they were written, of any size", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(9_000), { minLength: 1, maxLength: 8 }), (sizes) => {
      const files = new Map(sizes.map((size, n) => [`FILE${n}.BIN`, bytes(size, n)]));
      const read = filesOfIso(isoImage({ files }));
      assert.is(read.size, files.size);
      for (const [name, content] of files) assert.ok(read.get(name.toLowerCase())!.equals(content), name);
    }),
    { numRuns: 50 },
  );
});

test("what is no ISO, or a broken one, has no files", () => {
  assert.is(filesOfIso(Buffer.alloc(0)).size, 0);
  assert.is(filesOfIso(Buffer.alloc(100_000)).size, 0);
  const whole = isoImage({ files: new Map([["A.BIN", bytes(5_000, 1)]]) });
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, value, cut) => {
      const broken = Buffer.from(whole.subarray(0, cut));
      if (at < broken.length) broken[at] = value;
      filesOfIso(broken);
    }),
    { numRuns: 300 },
  );
});

/** A file of a FAT12 image, by following its chain as firmware does. */
function readFat(image: Buffer, path: string): Buffer | undefined {
  const sector = image.readUInt16LE(11);
  const cluster = image[13]! * sector;
  const fatAt = image.readUInt16LE(14) * sector;
  const rootAt = fatAt + image[16]! * image.readUInt16LE(22) * sector;
  const dataAt = rootAt + image.readUInt16LE(17) * 32;
  const next = (n: number) => {
    const two = image.readUInt16LE(fatAt + Math.floor((n * 3) / 2));
    return n % 2 === 0 ? two & 0xfff : two >> 4;
  };
  const chain = (first: number): Buffer => {
    const parts: Buffer[] = [];
    for (let n = first; n >= 2 && n < 0xff8; n = next(n))
      parts.push(image.subarray(dataAt + (n - 2) * cluster, dataAt + (n - 1) * cluster));
    return Buffer.concat(parts);
  };
  let folder = image.subarray(rootAt, dataAt);
  for (const [depth, name] of path.split("/").entries()) {
    const [stem = "", kind = ""] = name.split(".");
    const wanted = stem.padEnd(8) + kind.padEnd(3);
    let found: Buffer | undefined;
    for (let at = 0; at + 32 <= folder.length; at += 32)
      if (folder.toString("latin1", at, at + 11) === wanted) found = folder.subarray(at, at + 32);
    if (found === undefined) return undefined;
    const content = chain(found.readUInt16LE(26));
    if (depth === path.split("/").length - 1) return content.subarray(0, found.readUInt32LE(28));
    folder = content;
  }
  return undefined;
}

test("files of a FAT image are read back by their chains, small ones and such of several MiB", () => {
  const files = new Map([
    ["EFI/BOOT/BOOTX64.EFI", bytes(950_001, 1)],
    ["EFI/BOOT/GRUBX64.EFI", bytes(3_500_000, 2)],
    ["GRUB/GRUB.CFG", Buffer.from("set a=b\n")],
    ["EMPTY.TXT", Buffer.alloc(0)],
  ]);
  const image = fatImage(files);
  for (const [path, content] of files) assert.ok(readFat(image, path)?.equals(content), path);
});

test("an ISO has what its firmware can boot with, and shows its order's token in each script", async () => {
  const folder = await mkdtemp(join(tmpdir(), "flynn-iso-"));
  try {
    const token = "T".repeat(43);
    const ipxeIso = await readFile("/usr/lib/ipxe/ipxe.iso");
    const bootFiles = new Map([
      ["shimx64.efi", bytes(900_000, 3)],
      ["grubx64.efi", bytes(2_000_000, 4)],
    ]);
    const { iso, boots } = machineIso({ ipxeIso, bootFiles, base: "http://10.77.0.1:7780", token });
    assert.equal(boots, ["bios", "uefi"]);
    const files = filesOfIso(iso);
    assert.match(files.get("flynn.ipx")!.toString(), `boot.ipxe?mac=`);
    assert.match(files.get("flynn.ipx")!.toString(), `media=${token}`);
    const grub = readFat(files.get("efi.img")!, "GRUB/GRUB.CFG")!.toString();
    assert.match(grub, `media=${token}`);
    assert.equal(
      machineIso({ ipxeIso: undefined, bootFiles: new Map(), base: "http://10.77.0.1:7780", token }).boots,
      [],
    );
    await writeFile(join(folder, "boot.iso"), iso);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test.run();
