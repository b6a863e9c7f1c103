// What the initrd of a signed image (UKI) is told: as KEY=value lines, of which it takes those it knows and whose value has no byte that
// a shell would read as more than text (images/host/rootfs/usr/lib/live/boot/9991-flynn-verified-fetch.sh).
import { type BootOptions, consoleText, digest, word } from "./boot-words.ts";

/** The root image and this boot's seed. The profile's kernel arguments are not passed on: the signature covers the command line. */
export function bootUki({ base, token, image }: BootOptions): string {
  return told({
    DO: "boot",
    FETCH: `${base}/a/sha256-${digest(image.squashfsSha256)}/root.squashfs`,
    SEED: `${base}/s/${word(token)}/`,
  });
}

export const waitUki = (lines: readonly string[]): string => told({ DO: "wait", WHY: consoleText(lines.join(". ")) });

export const rescueUki = (): string =>
  told({ DO: "stop", WHY: "a rescue shell is not in a signed image, boot this machine by iPXE for one" });

export const localDiskUki = (): string =>
  told({ DO: "stop", WHY: "it is told to boot its own disk, put that first in its boot order" });

export const refusalUki = (lines: readonly string[]): string =>
  told({ DO: "stop", WHY: consoleText(lines.join(". ")) });

function told(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([key, value]) => `${key}=${value}\n`)
    .join("");
}
