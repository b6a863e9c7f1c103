// How this machine was started, as far as its installation needs it: the boot server that images come from, and the seed.
import type { InstallImage } from "#api/host-agents.ts";
import { squashfsOfUrl } from "#api/image-peers.ts";
import { readText } from "#lib/files.ts";
import { slotOf } from "../facts.ts";
import type { Slot } from "./slots.ts";

export interface BootedFrom {
  /** Undefined when it booted from the network. */
  slot: Slot | undefined;
  /** `http://10.77.0.1:7780`; undefined where no word of the kernel's command line says it. */
  server: string | undefined;
  /** The root image that it runs. */
  squashfsSha256?: string;
}

/** In order: what the disk was told, the boot server's own root image, where the seed came from, and the root image (of no host beside it). */
const WORDS = [
  /(?:^|\s)flynn\.server=(http:\/\/[^/\s]+)/,
  /(?:^|\s)flynn\.root=(http:\/\/[^/\s]+)\//,
  /(?:^|\s)ds=nocloud-net;s=(http:\/\/[^/\s]+)\//,
];

export function readBoot(cmdline: string): BootedFrom {
  const server = WORDS.map((word) => word.exec(cmdline)?.[1]).find((found) => found !== undefined);
  const { slot } = slotOf(cmdline);
  const fetched = squashfsOfUrl(/(?:^|\s)fetch=(\S+)/.exec(cmdline)?.[1] ?? "");
  const sha256 = fetched ?? /(?:^|\s)flynn\.squashfs=([0-9a-f]{64})(?:\s|$)/.exec(cmdline)?.[1];
  return { ...{ slot: slot?.slot, server }, ...(sha256 === undefined ? {} : { squashfsSha256: sha256 }) };
}

/** Its root image is in this machine's memory. */
export const runs = ({ squashfsSha256 }: BootedFrom, { squashfs }: InstallImage): boolean =>
  squashfsSha256 === squashfs.sha256;

/** What the disk starts its hosts with: the seed of this boot. Its one secret was used up when this host joined. */
export async function seedFor(hostname: string, places: readonly string[]): Promise<Record<string, string>> {
  for (const place of places) {
    const userData = await readText(place);
    if (userData !== undefined)
      return {
        "user-data": userData,
        "meta-data": `instance-id: i-disk\nlocal-hostname: ${hostname}\ndsmode: net\n`,
      };
  }
  throw new Error("the seed of this boot is not to be found");
}
