// Which disk keeps this host's state. Pure, and the most careful rule of all: only a disk that is certainly empty is ever
// formatted, only under a policy that says so by name; everything in doubt is left alone and the host lives in RAM.
import type { DiskPolicy } from "#api/boot.ts";
import { formatSize } from "#lib/units.ts";

/** File system label of a state disk. */
export const STATE_LABEL = "flynn-state";
export const LEAST_BYTES = 1 << 30;

export interface Disk {
  path: string;
  /** As lsblk says: disk, part, loop, rom, raid1, crypt ... */
  type: string;
  sizeBytes: number;
  serial?: string;
  wwn?: string;
  readOnly: boolean;
  removable: boolean;
  /** It, or anything on it, is mounted or swapped to. */
  mounted: boolean;
  /** Partitions, and devices that other drivers built on it. */
  holders: readonly string[];
  /** What `blkid -p` found, such as ext4, LVM2_member, gpt; undefined when certainly nothing. */
  signature?: string;
  label?: string;
  /** First and last 4 MiB hold only zeros. */
  zeroEnds: boolean;
}

export type DiskChoice = { do: "use" | "format"; path: string; reason: string } | { do: "ram"; reason: string };

export interface DiskOutcome {
  at: string;
  policy: string;
  did: DiskChoice["do"];
  path?: string;
  reason: string;
  /** The choice could not be carried out; the host lives in RAM. */
  failed: boolean;
  disks: { path: string; why: string }[];
}

/** Memory, network block devices and floppies call themselves disks too. */
const NOT_A_DISK = /^\/dev\/(z?ram|nbd|fd|mtdblock)\d/;

/** Why a disk may not be formatted, or undefined: it is empty beyond doubt. */
export function notEmptyBecause(disk: Disk): string | undefined {
  if (disk.type !== "disk") return `is a ${disk.type || "device of unknown type"}, not a disk`;
  if (NOT_A_DISK.test(disk.path)) return "is not a disk of this machine";
  if (!(disk.sizeBytes > 0)) return "has no size";
  if (disk.readOnly) return "is read-only";
  if (disk.removable) return "is removable";
  if (disk.mounted) return "is mounted";
  if (disk.signature !== undefined) return `holds ${disk.signature}`;
  if (disk.holders.length > 0) return `is used by ${disk.holders.join(", ")}`;
  if (!disk.zeroEnds) return "holds bytes other than zero at an end";
  return undefined;
}

/** Ours from an earlier boot: the label on an ext4 over the whole disk, and nobody uses it. */
export function isStateDisk(disk: Disk, label: string = STATE_LABEL): boolean {
  return (
    disk.type === "disk" &&
    disk.signature === "ext4" &&
    disk.label === label &&
    !disk.readOnly &&
    !disk.mounted &&
    disk.holders.length === 0
  );
}

/**
 * `named`: the one disk that all given names fit, if it is ours or empty. `find-empty`: the one that is already ours, else the
 * largest empty one (equal sizes: the first by path). A disk marked twice, or named twice, is in doubt: RAM.
 */
export function chooseDisk(disks: readonly Disk[], policy: DiskPolicy, hostMark: string = STATE_LABEL): DiskChoice {
  const by = `policy ${policy.name}`;
  if (policy.mode === "ram") return { do: "ram", reason: `state in RAM: ${by} uses no disk` };
  const ram = (why: string): DiskChoice => ({ do: "ram", reason: `state in RAM: ${why} (${by})` });
  const least = policy.minSizeBytes ?? LEAST_BYTES;
  if (policy.mode === "named") {
    const { path, serial, wwn } = policy;
    if (path === undefined && serial === undefined && wwn === undefined) return ram("no disk is named");
    const fits = (wanted: string | undefined, has: string | undefined) => wanted === undefined || wanted === has;
    const named = disks.filter((disk) => fits(path, disk.path) && fits(serial, disk.serial) && fits(wwn, disk.wwn));
    if (named.length !== 1) return ram(`${named.length === 0 ? "no disk has" : `${named.length} disks have`} the name`);
    return choose(named[0]!);
  }
  const ours = disks.filter((disk) => isStateDisk(disk, hostMark));
  if (ours.length > 1) return ram(`${ours.map(({ path }) => path).join(" and ")} are both labelled ${hostMark}`);
  if (ours[0]) return choose(ours[0]);
  const empty = disks
    .filter((disk) => notEmptyBecause(disk) === undefined && disk.sizeBytes >= least)
    .sort((a, b) => b.sizeBytes - a.sizeBytes || (a.path < b.path ? -1 : 1));
  if (empty[0]) return choose(empty[0]);
  const seen = disks.map((disk) => `${disk.path} ${notEmptyBecause(disk) ?? "is too small"}`).join(", ");
  return ram(`no empty disk${seen ? `: ${seen}` : ", and no disk at all"}`);

  function choose(disk: Disk): DiskChoice {
    const { path } = disk;
    const size = formatSize(disk.sizeBytes);
    if (isStateDisk(disk, hostMark))
      return { do: "use", path, reason: `state on ${path} (${size}), this host's from before (${by})` };
    const why = notEmptyBecause(disk);
    if (why !== undefined) return ram(`${path} ${why}`);
    if (disk.sizeBytes < least) return ram(`${path} is smaller than ${formatSize(least)}`);
    return { do: "format", path, reason: `state on ${path} (${size}), which was empty (${by})` };
  }
}
