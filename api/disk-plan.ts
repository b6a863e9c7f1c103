// Which disk a policy means, and what it would do with each: pure, and the same for the host that does it, for control and for people
// who ask before. A policy only names: what may be written is decided by what is on the disk, and that is the host's own rule.
import { formatSize } from "#lib/units.ts";
import type { DiskPolicy } from "./boot.ts";
import type { DiskPlan, MachineDisk, WipeOrder } from "./disks.ts";

/** Smallest disk that is taken when a policy says nothing. */
export const LEAST_DISK_BYTES = 1 << 30;

export interface NameableDisk {
  path: string;
  links?: readonly string[];
  serial?: string;
  wwn?: string;
  sizeBytes: number;
  transport?: string;
  media?: "ssd" | "hdd";
}

type Names = Pick<DiskPolicy, "path" | "serial" | "wwn">;

/** True when it has all the names that are given. */
export function hasName(disk: NameableDisk, { path, serial, wwn }: Names): boolean {
  const is = (wanted: string | undefined, has: string | undefined) => wanted === undefined || wanted === has;
  const isThere = path === undefined || path === disk.path || disk.links?.includes(path) === true;
  return isThere && is(serial, disk.serial) && is(wwn, disk.wwn);
}

/** Why the policy does not mean this disk, whatever is on it; undefined when it does. */
export function misfit(disk: NameableDisk, policy: DiskPolicy): string | undefined {
  const { minSizeBytes = LEAST_DISK_BYTES, maxSizeBytes, transport, media } = policy;
  if (!hasName(disk, policy)) return "has another name";
  if (disk.sizeBytes < minSizeBytes) return `is smaller than ${formatSize(minSizeBytes)}`;
  if (maxSizeBytes !== undefined && disk.sizeBytes > maxSizeBytes) return `is larger than ${formatSize(maxSizeBytes)}`;
  if (transport !== undefined && disk.transport !== transport)
    return `is attached by ${disk.transport ?? "something unknown"}, not ${transport}`;
  if (media !== undefined && disk.media !== media)
    return `is ${disk.media === undefined ? "of unknown kind" : `an ${disk.media}`}, not an ${media}`;
  return undefined;
}

/** The order in which disks that are alike otherwise are taken. */
export function preferred({ prefer = "largest" }: Pick<DiskPolicy, "prefer">) {
  return (a: NameableDisk, b: NameableDisk): number =>
    (prefer === "largest" ? b.sizeBytes - a.sizeBytes : a.sizeBytes - b.sizeBytes) || (a.path < b.path ? -1 : 1);
}

/** What would be done at the next boot if the disks are then as they were reported. */
export function planDisks(disks: readonly MachineDisk[], policy: DiskPolicy, order?: WipeOrder): DiskPlan {
  const by = `policy ${policy.name}`;
  const isNamed = policy.mode === "named";
  const meant = isNamed ? disks.filter((disk) => hasName(disk, policy)) : disks;
  const isOne = !isNamed || (meant.length === 1 && (policy.path ?? policy.serial ?? policy.wwn) !== undefined);
  const among = policy.mode === "ram" || !isOne ? [] : meant;
  const ours = among.filter(({ standing }) => standing === "ours");
  const open = among
    .filter((disk) => disk.standing === "open" && misfit(disk, policy) === undefined)
    .sort(preferred(policy));
  const given = order && among.find((disk) => disk.fingerprint === order.fingerprint && disk.canWipe);
  const chosen =
    given ?? (ours.length > 1 ? undefined : (ours[0] ?? among.find(({ standing }) => standing === "begun") ?? open[0]));
  const rows = disks.map((disk): DiskPlan["disks"][number] => {
    const { path } = disk;
    if (disk === chosen) return { path, ...chosenRow(disk, disk === given ? order : undefined) };
    return { path, will: "leave", why: leftBecause(disk).slice(0, 400) };
  });
  return { policy: policy.name, summary: summary().slice(0, 400), disks: rows };

  function leftBecause(disk: MachineDisk): string {
    if (disk.standing === undefined) return `${disk.holds}; its host is too old to say more`;
    if (policy.mode === "ram") return `${by} uses no disk; it ${disk.holds}`;
    if (!meant.includes(disk)) return `${by} names another disk; it ${disk.holds}`;
    if (!isOne)
      return `${by} names ${meant.length === 0 ? "no disk" : `${meant.length} disks`}, and takes none in doubt`;
    if (ours.length > 1 && ours.includes(disk))
      return "more than one disk carries this host's mark; none is used in doubt";
    if (disk.standing === "open") {
      const wrong = misfit(disk, policy);
      if (wrong !== undefined) return `${wrong} (${by})`;
      return `${chosen?.path ?? "another"} comes first; it ${disk.holds}`;
    }
    return disk.holds;
  }

  function summary(): string {
    if (policy.mode === "ram") return `the state stays in RAM: ${by} uses no disk`;
    if (chosen === undefined) {
      if (disks.length === 0) return `the state stays in RAM: no disk at all (${by})`;
      if (isNamed && !isOne)
        return `the state stays in RAM: ${meant.length === 0 ? "no disk has" : `${meant.length} disks have`} the name of ${by}`;
      if (ours.length > 1) return `the state stays in RAM: more than one disk carries this host's mark (${by})`;
      return `the state stays in RAM: no disk that ${by} means is empty`;
    }
    const what = `${chosen.path} (${formatSize(chosen.sizeBytes)})`;
    if (chosen === given) return `the state goes to ${what}, erased first as ${order!.orderedBy} ordered (${by})`;
    if (chosen.standing === "ours") return `the state is on ${what} already (${by})`;
    if (chosen.standing === "begun") return `what was begun on ${what} is finished, and it keeps the state (${by})`;
    const read = policy.verify === "ends" ? "its ends and samples are" : "every byte of it is";
    return `the state goes to ${what} if ${read} read as zero (${by})`;
  }

  function chosenRow(disk: MachineDisk, wipe: WipeOrder | undefined): Pick<DiskPlan["disks"][number], "will" | "why"> {
    if (wipe !== undefined) return { will: "take", why: `erased and taken: ${wipe.orderedBy} ordered it` };
    if (disk.standing === "ours") return { will: "use", why: "is this host's state disk" };
    if (disk.standing === "begun") return { will: "finish", why: disk.holds };
    return { will: "take", why: `${disk.holds}; it is read before, and left alone should anything be on it` };
  }
}
