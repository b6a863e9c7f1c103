// Disks as files: what is on them is looked at by the same programs as on devices.
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DiskPolicy } from "#api/boot.ts";
import type { WipeOrder, WipeOutcome } from "#api/disks.ts";
import { silentLog } from "#lib/log.ts";
import type { Disk } from "../../../hostd/state-disk/disk.ts";
import type { DiskOwner } from "../../../hostd/state-disk/mark.ts";
import { readDisk } from "../../../hostd/state-disk/probe.ts";
import { possibleMarks, type Taken, takeDisk } from "../../../hostd/state-disk/take.ts";

export const MIB = 1 << 20;
export const GIB = 1 << 30;
export const owner: DiskOwner = { cluster: "ab".repeat(32), machineId: "m_1", machineName: "node-1" };
export const findEmpty: DiskPolicy = { name: "find-empty", mode: "find-empty", minSizeBytes: 8 * MIB };
export const signal = new AbortController().signal;

export interface FileDisk {
  path: string;
  sizeBytes: number;
  serial?: string;
}

export async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "disk-test-"));
  try {
    await body(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Sparse, all zero but for `content`: offset to bytes; negative offsets count from the end. */
export async function makeDisk(
  path: string,
  options: { sizeBytes?: number; content?: readonly (readonly [at: number, bytes: Buffer | string])[] } = {},
): Promise<FileDisk> {
  const { sizeBytes = 16 * MIB, content = [] } = options;
  const file = await open(path, "w");
  try {
    await file.truncate(sizeBytes);
    for (const [at, bytes] of content) {
      const buffer = Buffer.from(bytes as Buffer);
      await file.write(buffer, 0, buffer.length, at < 0 ? sizeBytes + at : at);
    }
  } finally {
    await file.close();
  }
  return { path, sizeBytes, serial: "S1" };
}

export const rowOf = (disk: FileDisk) => ({
  ...disk,
  type: "disk",
  readOnly: false,
  removable: false,
  mounted: false,
  holders: [],
  builtOn: [],
});

export function look(disk: FileDisk, who = owner, order?: WipeOrder): Promise<Disk> {
  return readDisk(rowOf(disk), possibleMarks(who, disk, order), signal);
}

export interface Take {
  taken: Taken;
  refused: [path: string, why: string][];
  wipes: WipeOutcome[];
  progress: number[];
}

export async function take(
  disks: readonly FileDisk[],
  options: {
    folder: string;
    policy?: DiskPolicy;
    who?: DiskOwner;
    order?: WipeOrder;
    withinMs?: number;
    givenUp?: string[];
  },
): Promise<Take> {
  const { folder, policy = findEmpty, who = owner, order, withinMs, givenUp = [] } = options;
  const refused: Take["refused"] = [];
  const wipes: WipeOutcome[] = [];
  const progress: number[] = [];
  const taken = await takeDisk({
    policy,
    owner: who,
    order,
    givenUp,
    directory: folder,
    withinMs,
    read: (marksOf) => Promise.all(disks.map((disk) => readDisk(rowOf(disk), marksOf(disk), signal))),
    onProgress: (_path, _doing, { bytes }) => progress.push(bytes),
    onRefused: (path, why) => void refused.push([path, why]),
    onWipe: (outcome) => void wipes.push(outcome),
    log: silentLog(),
    signal,
  });
  return { taken, refused, wipes, progress };
}
