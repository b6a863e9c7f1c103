// The cpio segment that ties an initrd to its root image: /etc/flynn/image.conf, a file of shell assignments that
// usr/lib/live/boot/9991-flynn-verified-fetch.sh reads. Only hex and decimal digits get in.
import { type CpioEntry, cpioArchive } from "./cpio.ts";

export interface ImageTie {
  squashfsSha256: string;
  squashfsBytes: number;
  memoryNeedBytes: number;
}

export function imageConf({ squashfsSha256, squashfsBytes, memoryNeedBytes }: ImageTie): string {
  if (!/^[0-9a-f]{64}$/.test(squashfsSha256)) throw new Error("squashfs sha256 must be 64 hex digits");
  for (const size of [squashfsBytes, memoryNeedBytes]) {
    if (!Number.isSafeInteger(size) || size <= 0) throw new Error(`not a size in bytes: ${size}`);
  }
  return `SQUASHFS_SHA256=${squashfsSha256}\nSQUASHFS_BYTES=${squashfsBytes}\nMEMORY_NEED_BYTES=${memoryNeedBytes}\n`;
}

/** `microcode`: it is looked for in what is not compressed, so it stands here (microcode.ts). */
export function tieSegment(tie: ImageTie, mtimeSeconds: number, microcode: readonly CpioEntry[] = []): Buffer {
  return cpioArchive(
    [...microcode, { path: "etc" }, { path: "etc/flynn" }, { path: "etc/flynn/image.conf", content: imageConf(tie) }],
    mtimeSeconds,
  );
}
