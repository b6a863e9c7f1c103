// Which disk of this machine is installed to, and its state's part, as the rules of state disks take it.
import { open } from "node:fs/promises";
import { partitionTable } from "../disk-contents/tables.ts";
import type { Disk } from "../state-disk/disk.ts";
import type { DiskOwner, Mark } from "../state-disk/mark.ts";
import { readDisk } from "../state-disk/probe.ts";
import { possibleMarks } from "../state-disk/take.ts";
import { diskUuidOf } from "./gpt.ts";
import { diskIdOf, type Layout, layoutFrom, uuidOf } from "./layout.ts";
import { partitionPath } from "./write.ts";

/** Divided by this machine as a member of this cluster, as its table says; undefined for every other disk. */
export async function layoutOn(disk: Disk, owner: DiskOwner): Promise<Layout | undefined> {
  const { path, sizeBytes, type } = disk;
  if (type !== "disk" || !(sizeBytes > 0) || disk.mark !== undefined) return undefined;
  const diskId = diskIdOf(owner, disk);
  const file = await open(path, "r").catch(() => undefined); // one that cannot be read is not ours
  if (file === undefined) return undefined;
  try {
    const read = async (at: number, length: number): Promise<Buffer> => {
      const bytes = Buffer.alloc(length);
      const { bytesRead } = await file.read(bytes, 0, length, at);
      return bytes.subarray(0, bytesRead);
    };
    if (diskUuidOf(await read(512, 92)) !== uuidOf(diskId)) return undefined;
    const table = await partitionTable({ sizeBytes, read });
    return table && layoutFrom(table.partitions, diskId);
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
}

/** Its state's part, looked at as a disk of its own. */
export async function statePart(
  whole: Disk,
  { state }: Layout,
  { owner, signal }: { owner: DiskOwner; signal: AbortSignal },
): Promise<Disk> {
  const row = {
    ...{ path: partitionPath(whole.path, state.number), sizeBytes: state.sizeBytes },
    ...{ type: "disk", readOnly: whole.readOnly, removable: whole.removable },
    ...(whole.serial ? { serial: whole.serial } : {}),
    ...(whole.wwn ? { wwn: whole.wwn } : {}),
    ...(whole.model ? { model: whole.model } : {}),
    ...(whole.givenUp ? { givenUp: true } : {}),
    ...{ mounted: whole.mounted, holders: [], builtOn: whole.builtOn },
  };
  const possible: readonly Mark[] = possibleMarks(owner, row, undefined);
  return { ...(await readDisk(row, possible, signal)), whole };
}
