// Which disk keeps this host's state. Pure, and the most careful rule of all: a disk is written only when every byte of it was read
// as zero, when it carries our own mark, or when a person gave up what is on it; everything in doubt is left alone and the host
// lives in RAM.

import type { DiskPolicy } from "#api/boot.ts";
import type { BootCode } from "#api/boot-codes.ts";
import { hasName, misfit, preferred } from "#api/disk-plan.ts";
import type { DiskStanding, WipeOrder } from "#api/disks.ts";
import { formatSize } from "#lib/units.ts";
import type { DiskOwner, Mark } from "./mark.ts";
import { wipeHint } from "./words.ts";

/** File system label of a state disk: a word for people. What makes it ours is the mark. */
export const STATE_LABEL = "flynn-state";

/** verify: nothing of ours is there yet. finish: we began it. erase: a person gave it up. */
export type Beginning = "verify" | "finish" | "erase";

export interface Disk {
  path: string;
  /** As lsblk says: disk, part, loop, rom, raid1, crypt ... */
  type: string;
  sizeBytes: number;
  model?: string;
  serial?: string;
  wwn?: string;
  /** Names below /dev/disk that lead to it. */
  links?: readonly string[];
  transport?: string;
  media?: "ssd" | "hdd";
  readOnly: boolean;
  removable: boolean;
  /** An order to wipe names it: it is left to that. */
  givenUp?: boolean;
  /** It, or anything on it, is mounted or swapped to. */
  mounted: boolean;
  /** Partitions, and devices that other drivers built on it. */
  holders: readonly string[];
  /** Of these, what other drivers built: no partitions. */
  builtOn: readonly string[];
  /** What `blkid -p` found, such as ext4, LVM2_member, gpt; undefined when certainly nothing. */
  signature?: string;
  label?: string;
  /** UUID of the file system. */
  uuid?: string;
  /** All that is known to be on it, for people; never looked at by a rule. */
  contents?: readonly string[];
  /** First and last 4 MiB hold only zeros. */
  zeroEnds: boolean;
  /** The mark in its first sector; `torn`: half of one that only we can have been writing. */
  mark?: Mark | "damaged" | "torn";
  fingerprint: string;
  /** Of the state's part of a disk that was installed to: that disk. */
  whole?: Disk;
}

export type DiskChoice =
  | { do: "use"; path: string; reason: string }
  | { do: "take"; path: string; begin: Beginning; orderId: string; reason: string }
  | { do: "ram"; reason: string; warn?: boolean; code?: BootCode };

export interface Circumstances {
  owner: DiskOwner;
  order?: WipeOrder | undefined;
  /** Paths that this boot looked into and refused, and why. */
  refused?: ReadonlyMap<string, string>;
}

/** Memory, network block devices and floppies call themselves disks too. */
const NOT_A_DISK = /^\/dev\/(z?ram|nbd|fd|mtdblock)\d/;

/** Why nothing of ours may ever go there, whatever is on it. */
export function unfitBecause(disk: Disk): string | undefined {
  if (disk.type !== "disk") return `is a ${disk.type || "device of unknown type"}, not a disk`;
  if (NOT_A_DISK.test(disk.path)) return "is not a disk of this machine";
  if (!(disk.sizeBytes > 0)) return "has no size";
  if (disk.readOnly) return "is read-only";
  if (disk.removable) return "is removable";
  if (disk.mounted) return "is mounted";
  if (disk.givenUp) return "is to be wiped, as a person ordered";
  if (disk.builtOn.length > 0) return `is used by ${disk.builtOn.join(", ")}`;
  return undefined;
}

/** Why a disk may not be taken for an empty one, or undefined: nothing is seen on it, and it is worth reading to its end. */
export function notEmptyBecause(disk: Disk, owner: DiskOwner): string | undefined {
  const unfit = unfitBecause(disk);
  if (unfit !== undefined) return unfit;
  const foreign = markWords(disk, owner);
  if (foreign !== undefined) return foreign;
  if (disk.signature === "ext4" && disk.label === STATE_LABEL)
    return `is labelled ${STATE_LABEL} and carries no mark of this cluster: a label alone adopts nothing`;
  if (disk.signature !== undefined) return `holds ${disk.signature}${disk.label ? ` (label ${disk.label})` : ""}`;
  if (disk.holders.length > 0) return `is used by ${disk.holders.join(", ")}`;
  if (!disk.zeroEnds) return "holds bytes other than zero at an end";
  return undefined;
}

/** What a mark says that does not make the disk this host's; undefined where there is none or it is ours to finish. */
function markWords(disk: Disk, owner: DiskOwner): string | undefined {
  const { mark } = disk;
  if (mark === undefined || mark === "torn") return undefined;
  if (mark === "damaged") return "carries a damaged mark of Flynn; not adopted";
  const whose = `${mark.machineName} (${mark.machineId})`;
  if (mark.cluster !== owner.cluster)
    return `carries the mark of another cluster, ${mark.cluster.slice(0, 12)}, machine ${whose}; not adopted`;
  if (mark.state === "wiping") return `is half wiped, by order ${mark.orderId} of machine ${whose}; not adopted`;
  if (mark.state === "dividing")
    return `was begun to be installed to by machine ${whose}, and its profile does not say so any more; not adopted`;
  if (mark.machineId !== owner.machineId) return `carries the mark of this cluster's machine ${whose}; not adopted`;
  if (mark.state === "ready" && !isStateDisk(disk, owner))
    return `carries this machine's mark, and holds ${disk.signature ?? "no file system"} that is not the one it was marked for; not adopted`;
  return undefined;
}

const isOurs = (mark: Disk["mark"], owner: DiskOwner): mark is Mark =>
  typeof mark === "object" && mark.cluster === owner.cluster && mark.machineId === owner.machineId;

/** Ours from an earlier boot: our mark, the ext4 it names over the whole disk, and nobody uses it. */
export function isStateDisk(disk: Disk, owner: DiskOwner): boolean {
  return (
    unfitBecause(disk) === undefined &&
    isOurs(disk.mark, owner) &&
    disk.mark.state === "ready" &&
    disk.signature === "ext4" &&
    disk.uuid === disk.mark.fileSystem &&
    disk.holders.length === 0
  );
}

/** What we began on this disk and a power cut ended, if that is so. */
function unfinished(disk: Disk, owner: DiskOwner): { begin: Beginning; orderId: string } | undefined {
  if (unfitBecause(disk) !== undefined) return undefined;
  if (disk.mark === "torn") return { begin: "finish", orderId: "" };
  if (!isOurs(disk.mark, owner) || !(disk.mark.state === "erasing" || disk.mark.state === "formatting"))
    return undefined;
  return { begin: disk.mark.state === "erasing" ? "erase" : "finish", orderId: disk.mark.orderId };
}

/**
 * An order to wipe comes first, if the policy uses disks at all. `named`: the one disk that all given names fit. `find-empty`: the
 * one that is already ours, else one that we began, else of those that the policy means and with nothing seen on them the largest or,
 * if it prefers that, the smallest (equal sizes: the first by path). A policy only names: it never makes a disk empty.
 * Two disks of ours, or two of one name, are in doubt: RAM.
 */
export function chooseDisk(disks: readonly Disk[], policy: DiskPolicy, circumstances: Circumstances): DiskChoice {
  const { owner, order, refused = new Map<string, string>() } = circumstances;
  const by = `policy ${policy.name}`;
  if (policy.mode === "ram") return { do: "ram", reason: `state in RAM: ${by} uses no disk` };
  const ram = (why: string, warn: boolean, code: BootCode): DiskChoice => ({
    do: "ram",
    reason: `state in RAM: ${why} (${by})`,
    ...(warn ? { warn } : {}),
    code,
  });
  const named = policy.mode === "named" ? namedDisk(disks, policy) : undefined;
  if (typeof named === "string") return ram(named, false, "disk-missing");
  const among = named === undefined ? disks : [named];

  const given = order && among.find((disk) => disk.path === ordered(disks, order, owner).path);
  if (order !== undefined && given !== undefined && !refused.has(given.path))
    return {
      do: "take",
      path: given.path,
      begin: "erase",
      orderId: order.id,
      reason: `state on ${given.path} (${formatSize(given.sizeBytes)}), erased as ${order.orderedBy} ordered (${by})`,
    };

  const ours = among.filter((disk) => isStateDisk(disk, owner));
  if (ours.length > 1)
    return ram(`${ours.map(({ path }) => path).join(" and ")} both carry this host's mark`, true, "disk-not-empty");
  if (ours[0])
    return {
      do: "use",
      path: ours[0].path,
      reason: `state on ${ours[0].path} (${formatSize(ours[0].sizeBytes)}), this host's from before (${by})`,
    };
  const open = among.filter(({ path }) => !refused.has(path));
  for (const disk of open) {
    const begun = unfinished(disk, owner);
    if (begun === undefined) continue;
    const size = formatSize(disk.sizeBytes);
    return { do: "take", path: disk.path, ...begun, reason: `state on ${disk.path} (${size}), begun earlier (${by})` };
  }
  const [empty] = open
    .filter((disk) => notEmptyBecause(disk, owner) === undefined && misfit(disk, policy) === undefined)
    .sort(preferred(policy));
  if (empty) {
    const read =
      policy.verify === "ends" ? "of which samples were read as zero" : "every byte of which was read as zero";
    const reason = `state on ${empty.path} (${formatSize(empty.sizeBytes)}), ${read} (${by})`;
    return { do: "take", path: empty.path, begin: "verify", orderId: "", reason };
  }
  const why = (disk: Disk): string =>
    refused.get(disk.path) ?? notEmptyBecause(disk, owner) ?? misfit(disk, policy) ?? "is not taken";
  const warn = among.some((disk) => refused.has(disk.path) || disk.mark !== undefined);
  const seen = among.map((disk) => `${disk.path} ${why(disk)}`).join(", ");
  const [only, ...more] = among.filter(
    (disk) => unfitBecause(disk) === undefined && misfit(disk, policy) === undefined,
  );
  const hint = only && more.length === 0 ? `. ${wipeHint(owner.machineName, (only.whole ?? only).path)}` : "";
  if (named !== undefined) return ram(`${seen}${hint}`, warn, "disk-not-empty");
  if (!seen) return ram("no empty disk, and no disk at all", warn, "disk-none");
  return ram(`no empty disk: ${seen}${hint}`, warn, only === undefined ? "disk-none" : "disk-not-empty");
}

function namedDisk(disks: readonly Disk[], policy: DiskPolicy): Disk | string {
  const { path, serial, wwn } = policy;
  if (path === undefined && serial === undefined && wwn === undefined) return "no disk is named";
  const named = disks.filter((disk) => hasName(disk, policy));
  return named.length === 1
    ? named[0]!
    : `${named.length === 0 ? "no disk has" : `${named.length} disks have`} the name`;
}

/** The disk that an order may be carried out on, or why on none; `done`: it was, in an earlier boot. */
export function ordered(
  disks: readonly Disk[],
  order: WipeOrder,
  owner: DiskOwner,
): { path?: string; done?: boolean; why: string } {
  const before = disks.find(({ mark }) => isOurs(mark, owner) && mark.orderId === order.id);
  if (before) return { done: true, why: `${before.path} was given by this order` };
  const same = disks.filter((disk) => disk.fingerprint === order.fingerprint);
  const is = (disk: Disk) =>
    disk.serial === order.serial && disk.wwn === order.wwn && disk.sizeBytes === order.sizeBytes;
  if (same.length > 1) return { why: `${same.map(({ path }) => path).join(" and ")} have the same fingerprint` };
  const [disk] = same;
  if (disk === undefined || !is(disk)) {
    const changed = disks.find(is);
    return {
      why: changed
        ? `${changed.path} has another fingerprint now, ${changed.fingerprint.slice(0, 12)}: what is on it changed since it was ordered`
        : `no disk here has the fingerprint ${order.fingerprint.slice(0, 12)}`,
    };
  }
  const unfit = unfitBecause(disk);
  return unfit === undefined ? { path: disk.path, why: "" } : { why: `${disk.path} ${unfit}` };
}

/** What is on a disk, for people. */
export function diskHolds(disk: Disk, owner: DiskOwner): string {
  if (isStateDisk(disk, owner)) return "is this host's state disk";
  if (unfinished(disk, owner)) return "was begun as this host's state disk";
  return notEmptyBecause(disk, owner) ?? "shows nothing but zeros at both ends";
}

/** How this host stands to it; the same words as the rules above, for who has no such rules. */
export function standingOf(disk: Disk, owner: DiskOwner): DiskStanding {
  if (unfitBecause(disk) !== undefined) return "unfit";
  if (isStateDisk(disk, owner)) return "ours";
  if (unfinished(disk, owner) !== undefined) return "begun";
  return notEmptyBecause(disk, owner) === undefined ? "open" : "full";
}
