// Divides an empty disk for an installation, before anything of it is used. A mark of ours stands in the first sector from before the first
// write to after the last, so that a power cut at any point leaves a disk that is known as begun here and is gone on with at the next boot.
import { constants, stat } from "node:fs/promises";
import { exec } from "#lib/exec.ts";
import { retry } from "#lib/retry.ts";
import type { Disk } from "../state-disk/disk.ts";
import { type DiskOwner, encodeMark, fileSystemOf } from "../state-disk/mark.ts";
import type { Prepared, PrepareOptions } from "../state-disk/prepare.ts";
import { openDirect, scan } from "../state-disk/scan.ts";
import { sizeAt } from "../state-disk/words.ts";
import { gptOf } from "./gpt.ts";
import { diskIdOf, type Layout, layoutOf, partsOf, uuidOf } from "./layout.ts";
import { writeAt, writeTable } from "./write.ts";

export interface DivideOptions extends Pick<PrepareOptions, "withinMs" | "onProgress" | "verify" | "signal"> {
  disk: Disk;
  owner: DiskOwner;
  /** All files of an image of today. */
  imageBytes: number;
  onStep?: (step: string) => void;
}

/** `verify`: of a disk that nothing was begun on. */
export async function divideDisk(options: DivideOptions): Promise<Prepared & { layout?: Layout }> {
  const { disk, owner, imageBytes, verify, withinMs, onProgress, onStep, signal } = options;
  const { path, sizeBytes } = disk;
  const diskId = diskIdOf(owner, disk);
  const layout = layoutOf({ sizeBytes, imageBytes, diskId });
  const diskUuid = uuidOf(diskId);
  const begun = isDividing(disk, owner);
  const table = gptOf(partsOf(layout), sizeBytes, diskUuid);
  // O_EXCL on a block device: until we let go nobody mounts it or builds on it.
  const held = await openDirect(path, constants.O_RDONLY | constants.O_EXCL);
  try {
    const found = await scan({
      ...{ disk: held, sizeBytes, verify, withinMs, signal },
      ...(begun ? { begun: asImage(table) } : {}),
      onProgress: (progress) => onProgress?.("read", progress),
    });
    if (found.end === "late") return found;
    if (found.end === "data")
      return { end: "refused", why: `holds data at ${sizeAt(found.byte)}; nothing was written` };
    const mark = {
      ...owner,
      state: "dividing" as const,
      fileSystem: fileSystemOf(owner, disk),
      sizeBytes,
      orderId: "",
    };
    onStep?.("mark");
    await writeAt(path, encodeMark(mark), 0);
    onStep?.("table");
    await writeTable({ path, sizeBytes, layout }, diskUuid);
    onStep?.("end");
  } finally {
    await held.close();
  }
  await readTableAnew(path, signal);
  return { end: "ready", layout };
}

/** This machine began to divide it. */
export const isDividing = ({ mark }: Disk, owner: DiskOwner): boolean =>
  typeof mark === "object" &&
  mark.state === "dividing" &&
  mark.cluster === owner.cluster &&
  mark.machineId === owner.machineId;

/** The kernel sees the parts. udev reads the table at the same time, and only one can. */
async function readTableAnew(path: string, signal: AbortSignal): Promise<void> {
  if (!(await stat(path)).isBlockDevice()) return;
  await retry(() => exec(["blockdev", "--rereadpt", path], { timeoutMs: 30_000, signal }), {
    ...{ signal, attempts: 10, maxMs: 1_000 },
    retryable: () => true,
  });
  await exec(["udevadm", "settle", "--timeout=30"], { timeoutMs: 60_000, signal });
}

function asImage(pieces: readonly { at: number; bytes: Buffer }[]) {
  return {
    extents: pieces.map(({ at, bytes }) => ({ at, length: bytes.length })),
    async read(into: Buffer, at: number): Promise<void> {
      into.fill(0);
      for (const piece of pieces) {
        const [from, to] = [Math.max(at, piece.at), Math.min(at + into.length, piece.at + piece.bytes.length)];
        if (from < to) piece.bytes.copy(into, from - at, from - piece.at, to - piece.at);
      }
    },
  };
}
