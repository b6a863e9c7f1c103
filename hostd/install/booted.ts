// How this machine was started, as far as its installation needs it: the boot server that images come from, and the seed.
import { readText } from "#lib/files.ts";
import type { Slot } from "./slots.ts";

export interface BootedFrom {
  /** Undefined when it booted from the network. */
  slot: Slot | undefined;
  /** `http://10.77.0.1:7780`; undefined where no word of the kernel's command line says it. */
  server: string | undefined;
}

/** In order: what the disk was told, the boot server's own root image, where the seed came from, and the root image (of no host beside it). */
const WORDS = [
  /(?:^|\s)flynn\.server=(http:\/\/[^/\s]+)/,
  /(?:^|\s)flynn\.root=(http:\/\/[^/\s]+)\//,
  /(?:^|\s)ds=nocloud-net;s=(http:\/\/[^/\s]+)\//,
];

export function bootServerOf(cmdline: string): string | undefined {
  for (const word of WORDS) {
    const found = word.exec(cmdline)?.[1];
    if (found !== undefined) return found;
  }
  return undefined;
}

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
