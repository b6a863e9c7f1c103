// Disks that are a part of something larger, or a container of it: LUKS, LVM, md, ZFS, bcache, Ceph, DRBD, and what RAID controllers
// and firmware leave at the ends. Fields as in the sources of cryptsetup, lvm2, mdadm, OpenZFS and util-linux (libblkid/superblocks).
import { labelled, type Recogniser, text } from "./reader.ts";

const K = 1024;

const luks: Recogniser = async (from) => {
  const head = await from.read(0, 512);
  if (head.toString("latin1", 0, 6) === "LUKS\xba\xbe") {
    const version = head.readUInt16BE(6);
    return `a LUKS${version} container${version === 2 ? labelled(text(head.subarray(24, 72))) : ""}, encrypted: what is in it cannot be told`;
  }
  // The second header of LUKS2, where the first is gone.
  for (let at = 16 * K; at <= 4096 * K; at *= 2)
    if ((await from.read(at, 6)).toString("latin1") === "SKUL\xba\xbe")
      return "a LUKS2 container whose first header is gone";
  return undefined;
};

const lvm: Recogniser = async (from) => {
  const head = await from.read(0, 4 * 512);
  const label = [0, 1, 2, 3].find(
    (sector) =>
      head.toString("latin1", sector * 512, sector * 512 + 8) === "LABELONE" &&
      head.toString("latin1", sector * 512 + 24, sector * 512 + 32) === "LVM2 001",
  );
  if (label === undefined) return undefined;
  const metadata = (await from.read(4 * K, K * K)).toString("latin1");
  const groups = [...metadata.matchAll(/(?:^|\0|\n)([a-zA-Z0-9+_.-]{1,127}) \{\nid = "[^"]{1,64}"\nseqno = (\d+)/g)];
  const last = groups.sort((a, b) => Number(b[2]) - Number(a[2]))[0];
  if (last === undefined) return "an LVM physical volume of no group yet";
  const own = metadata.slice(last.index + 1, metadata.indexOf("\0", last.index + 1) >>> 0);
  const volumes = own.includes("logical_volumes {")
    ? [...own.slice(own.indexOf("logical_volumes {")).matchAll(/\n([a-zA-Z0-9+_.-]{1,127}) \{\nid = "/g)].map(
        ([, name]) => name,
      )
    : [];
  return `an LVM physical volume of group ${last[1]} with ${listed("logical volume", volumes)}`;
};

const listed = (what: string, names: readonly (string | undefined)[]): string =>
  names.length === 0
    ? `no ${what}`
    : `${names.length} ${what}${names.length === 1 ? "" : "s"} (${names.slice(0, 4).join(", ")}${names.length > 4 ? " ..." : ""})`;

/** mdadm's super1.c and super0.c: 1.0 near the end, 1.1 at the start, 1.2 at 4 KiB, 0.90 at the last whole 64 KiB. */
const md: Recogniser = async (from) => {
  const sectors = Math.floor(from.sizeBytes / 512);
  const places = [
    { version: "1.0", at: (sectors - 16 - ((sectors - 16) % 8)) * 512 },
    { version: "1.1", at: 0 },
    { version: "1.2", at: 4 * K },
  ];
  for (const { version, at } of places) {
    const sb = await from.read(at, 256);
    if (sb.length < 256 || sb.readUInt32LE(0) !== 0xa92b4efc || sb.readUInt32LE(4) !== 1) continue;
    if (Number(sb.readBigUInt64LE(144)) * 512 !== at) continue;
    return `one of ${sb.readUInt32LE(92)} disks of the ${levelOf(sb.readInt32LE(72))} array ${text(sb.subarray(32, 64)) || "without a name"} (md ${version})`;
  }
  const old = await from.read(Math.floor(from.sizeBytes / (64 * K)) * 64 * K - 64 * K, 64);
  if (old.length === 64 && [old.readUInt32LE(0), old.readUInt32BE(0)].includes(0xa92b4efc)) {
    const number = (at: number) => (old.readUInt32LE(0) === 0xa92b4efc ? old.readInt32LE(at) : old.readInt32BE(at));
    return `one of ${number(40)} disks of the ${levelOf(number(28))} array md${number(44)} (md 0.90)`;
  }
  return undefined;
};

const levelOf = (level: number): string =>
  level === -1 ? "linear" : level >= 0 && level <= 10 ? `RAID ${level}` : level < 0 ? "special" : "unknown";

/** Four labels of 256 KiB, two at each end; XDR name and value of the pool, uberblocks in the second half. */
const zfs: Recogniser = async (from) => {
  const label = 256 * K;
  const end = Math.floor(from.sizeBytes / label) * label;
  for (const at of [0, label, end - 2 * label, end - label]) {
    if (at < 0) continue;
    const bytes = await from.read(at, label);
    let found = false;
    for (let ring = 128 * K; ring + 8 <= bytes.length && !found; ring += K)
      found = [bytes.readUInt32LE(ring), bytes.readUInt32BE(ring + 4)].includes(0x00bab10c);
    if (!found) continue;
    const key = Buffer.from("00000004" + Buffer.from("name").toString("hex") + "0000000900000001", "hex");
    const name = bytes.subarray(0, 128 * K).indexOf(key);
    const value = name + key.length;
    const length = name < 0 || value + 4 > bytes.length ? 0 : Math.min(256, bytes.readUInt32BE(value));
    return `a disk of the ZFS pool ${text(bytes.subarray(value + 4, value + 4 + length)) || "whose name is not told"}`;
  }
  return undefined;
};

const bcache: Recogniser = async (from) => {
  const magic = await from.read(4 * K + 24, 16);
  return magic.toString("hex") === "c68573f64e1a45ca8265f57f48ba6d81"
    ? "a bcache disk (cache, or what is cached)"
    : undefined;
};

const ceph: Recogniser = async (from) =>
  (await from.read(0, 23)).toString("latin1") === "bluestore block device\n" ? "an OSD of Ceph (BlueStore)" : undefined;

/** Of the end: how many bytes before it the magic begins. */
const AT_END: readonly { what: string; before: number; magic: Buffer }[] = [
  {
    what: "a disk of a RAID of Intel's firmware (IMSM)",
    before: 2 * 512,
    magic: Buffer.from("Intel Raid ISM Cfg Sig. "),
  },
  {
    what: "a disk of a RAID of Intel's firmware (IMSM)",
    before: 2 * 4096,
    magic: Buffer.from("Intel Raid ISM Cfg Sig. "),
  },
  { what: "a disk of a RAID controller (DDF)", before: 512, magic: Buffer.from("de11de11", "hex") },
  { what: "a disk of a RAID controller (DDF)", before: 257 * 512, magic: Buffer.from("de11de11", "hex") },
  { what: "a disk of a RAID controller of Adaptec (DDF)", before: 512, magic: Buffer.from("11de11de", "hex") },
  { what: "a disk of an LSI MegaRAID", before: 512, magic: Buffer.from("$XIDE$") },
  { what: "a disk of a RAID of NVIDIA's firmware", before: 2 * 512, magic: Buffer.from("NVIDIA") },
  { what: "a disk of a RAID of JMicron's firmware", before: 512, magic: Buffer.from("JM") },
  { what: "a disk of a RAID controller of Adaptec", before: 512, magic: Buffer.from("4450544d", "hex") },
  ...[63, 255, 256, 16, 399, 591, 675, 735, 911, 974, 991, 951, 3087].map((sectors) => ({
    what: "a disk of a RAID of Promise's firmware",
    before: sectors * 512,
    magic: Buffer.from("Promise Technology, Inc."),
  })),
];

const vendorRaid: Recogniser = async (from) => {
  const tail = Math.min(from.sizeBytes, 3087 * 512);
  const begins = from.sizeBytes - tail;
  const bytes = await from.read(begins, tail);
  for (const { what, before, magic } of AT_END) {
    const at = bytes.length - before;
    if (at >= 0 && bytes.length === tail && bytes.subarray(at, at + magic.length).equals(magic)) return what;
  }
  const highpoint = await from.read(9 * 512 + 32, 4);
  return highpoint.length === 4 && [0x5a7816f0, 0x5a7816f3, 0x5a7816fd].includes(highpoint.readUInt32LE(0))
    ? "a disk of a RAID of HighPoint's firmware"
    : undefined;
};

/** drbd_int.h: big endian, in the last 4 KiB block; 8.4 and 9 alike. */
const drbd: Recogniser = async (from) => {
  const at = Math.floor(from.sizeBytes / 4096) * 4096 - 4096;
  const bytes = at < 0 ? Buffer.alloc(0) : await from.read(at, 4096);
  return bytes.length >= 64 && [0x8374026b, 0x8374026c, 0x8374026d].includes(bytes.readUInt32BE(60))
    ? "a disk that DRBD copies to another machine"
    : undefined;
};

export const MEMBERS: readonly Recogniser[] = [luks, lvm, md, zfs, bcache, ceph, vendorRaid, drbd];
