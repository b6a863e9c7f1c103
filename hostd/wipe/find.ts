// Which disk of this machine an order to wipe means, and whether it may be written now. Pure. It is begun only while the disk holds what
// it held when it was given up; once begun it is known by our mark in its first sector, or, when that went with the rest, by its names.
import type { WipeTask } from "#api/wipes.ts";
import { type Disk, unfitBecause } from "../state-disk/disk.ts";
import type { DiskOwner } from "../state-disk/mark.ts";
import { unlockWords } from "./own-erase.ts";

export type Found =
  | { do: "wipe"; disk: Disk; resumed: boolean }
  /** In use by this host now; not after the next boot. */
  | { do: "wait"; why: string }
  | { do: "fail"; why: string };

export function findDisk(disks: readonly Disk[], task: WipeTask, owner: DiskOwner): Found {
  const marked = disks.filter(
    ({ mark }) =>
      typeof mark === "object" &&
      mark.state === "wiping" &&
      mark.orderId === task.orderId &&
      mark.cluster === owner.cluster &&
      mark.machineId === owner.machineId,
  );
  const isIt = (disk: Disk): boolean =>
    disk.serial === task.serial && disk.wwn === task.wwn && disk.sizeBytes === task.sizeBytes;
  const same = disks.filter((disk) => disk.fingerprint === task.fingerprint && isIt(disk));
  const begun = marked.filter(isIt);
  if (begun.length > 1 || (begun.length === 0 && same.length > 1))
    return { do: "fail", why: `${[...begun, ...same].map(({ path }) => path).join(" and ")} cannot be told apart` };
  const disk = begun[0] ?? same[0];
  if (disk !== undefined) return fit(disk, begun.length > 0);
  const isNamed = task.serial !== undefined || task.wwn !== undefined;
  const [named, ...more] = isNamed ? disks.filter(isIt) : [];
  if (named !== undefined && more.length === 0) {
    // The power went when the mark was already gone: last of all, or with a whole disk that was told to forget.
    if (task.begun && named.zeroEnds) return fit(named, true);
    const why = `${named.path} holds something else now than when it was given up${task.begun ? " or wiped" : ""}; nothing more was erased`;
    // Nothing of a locked disk is read, our mark neither.
    const mayBeLocked = task.begun && task.method === "secure" && /^\/dev\/sd[a-z]+$/.test(named.path);
    const locked = `. If the power went while it erased itself, ${unlockWords(named.path)}, and order it again`;
    return { do: "fail", why: mayBeLocked ? `${why}${locked}` : why };
  }
  return {
    do: "fail",
    why: `no disk here is the one of this order (${task.path}, ${task.serial ?? "no serial number"})`,
  };
}

function fit(disk: Disk, resumed: boolean): Found {
  if (disk.mounted) return { do: "wait", why: `${disk.path} is in use by this host` };
  const unfit = unfitBecause(disk);
  return unfit === undefined ? { do: "wipe", disk, resumed } : { do: "fail", why: `${disk.path} ${unfit}` };
}
