// Disks as others left them: images made by Debian's tools (mkfs.*, mkswap, cryptsetup, pvcreate, make-bcache, sgdisk, sfdisk), kept as
// their sectors that are not zero; of LUKS without the key slots. What no tool could make here (md, ZFS, RAID firmware) is written by hand.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";

export interface Recorded {
  sizeBytes: number;
  content: (readonly [at: number, bytes: Buffer])[];
}

const FOLDER = join(import.meta.dirname, "disks");

export async function recordedDisks(): Promise<Map<string, Recorded>> {
  const disks = new Map<string, Recorded>();
  for (const file of (await readdir(FOLDER)).sort()) {
    const body = await promisify(gunzip)(await readFile(join(FOLDER, file)));
    const { sizeBytes, chunks } = JSON.parse(body.toString()) as { sizeBytes: number; chunks: [number, string][] };
    const content = chunks.map(([at, text]) => [at, Buffer.from(text, "base64")] as const);
    disks.set(file.replace(".json.gz", ""), { sizeBytes, content });
  }
  return disks;
}

const MIB = 1 << 20;

/** Fields at their places, in so many bytes. */
function bytesOf(length: number, write: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.alloc(length);
  write(bytes);
  return bytes;
}

const mdAt = (at: number) =>
  bytesOf(256, (sb) => {
    sb.writeUInt32LE(0xa92b4efc, 0);
    sb.writeUInt32LE(1, 4);
    sb.write("storage:0", 32);
    sb.writeInt32LE(5, 72);
    sb.writeUInt32LE(4, 92);
    sb.writeBigUInt64LE(BigInt(at / 512), 144);
  });

const zfsLabel = bytesOf(256 * 1024, (label) => {
  label.write("01010000", 16 * 1024, "hex");
  const name = Buffer.from(`00000004${Buffer.from("name").toString("hex")}0000000900000001`, "hex");
  name.copy(label, 16 * 1024 + 40);
  label.writeUInt32BE(4, 16 * 1024 + 40 + name.length);
  label.write("tank", 16 * 1024 + 44 + name.length);
  label.writeUInt32LE(0x00bab10c, 128 * 1024 + 2048);
});

/** By hand, from the sources of mdadm, OpenZFS, Ceph, DRBD and util-linux. */
export const WRITTEN: Readonly<Record<string, Recorded>> = {
  "md 1.0": { sizeBytes: 16 * MIB, content: [[16 * MIB - 8192, mdAt(16 * MIB - 8192)]] },
  "md 1.1": { sizeBytes: 16 * MIB, content: [[0, mdAt(0)]] },
  "md 1.2": { sizeBytes: 16 * MIB, content: [[4096, mdAt(4096)]] },
  "md 0.90": {
    sizeBytes: 16 * MIB,
    content: [
      [
        16 * MIB - 65_536,
        bytesOf(64, (sb) => {
          sb.writeUInt32LE(0xa92b4efc, 0);
          sb.writeInt32LE(1, 28);
          sb.writeInt32LE(2, 40);
          sb.writeInt32LE(3, 44);
        }),
      ],
    ],
  },
  zfs: { sizeBytes: 64 * MIB, content: [[0, zfsLabel]] },
  "zfs at the end": { sizeBytes: 64 * MIB, content: [[64 * MIB - 256 * 1024, zfsLabel]] },
  imsm: { sizeBytes: 16 * MIB, content: [[-1024, Buffer.from("Intel Raid ISM Cfg Sig. 1.3.00")]] },
  ddf: { sizeBytes: 16 * MIB, content: [[-512, Buffer.from("de11de1100000000", "hex")]] },
  lsi: { sizeBytes: 16 * MIB, content: [[-512, Buffer.from("$XIDE$")]] },
  promise: { sizeBytes: 16 * MIB, content: [[-63 * 512, Buffer.from("Promise Technology, Inc.")]] },
  ceph: { sizeBytes: 16 * MIB, content: [[0, Buffer.from("bluestore block device\n12345678")]] },
  drbd: { sizeBytes: 16 * MIB, content: [[-4096 + 60, Buffer.from("8374026d", "hex")]] },
  "something nobody knows": { sizeBytes: 16 * MIB, content: [[7_654_321, Buffer.from("x")]] },
};
