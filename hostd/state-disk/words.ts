// How disks and places on them are named to people.
import { formatSize } from "#lib/units.ts";

/** `100 MiB (byte 104857600)` */
export const sizeAt = (byte: number): string => `${formatSize(byte)} (byte ${byte})`;

/** The command by which a person gives the disk up. */
export const wipeHint = (machineName: string, path: string): string =>
  `To give it to Flynn: flynn machine wipe ${machineName} ${path} --take`;
