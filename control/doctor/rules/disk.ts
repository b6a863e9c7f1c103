// What a host says of its disks. None of it keeps it from being a host: its state is in memory then.

import type { BootCode } from "#api/boot-codes.ts";
import { codeOf } from "../boot.ts";
import type { Found, Rule } from "../rule.ts";

const NAMED = "flynn machine disks NAME shows every disk and what the policy does with it";

const noted = (code: BootCode, words: (message: string) => Omit<Found, "seen">): Rule => ({
  id: code,
  kind: "told",
  follows: `the newest boot's agent told ${code}`,
  find({ current }) {
    const event = current.findLast((one) => codeOf(one) === code);
    return event === undefined ? undefined : { ...words(event.message), seen: [event] };
  },
});

export const DISK_RULES: readonly Rule[] = [
  noted("disk-none", (message) => ({
    what: `it has no disk that its policy may use; its state is in memory: ${message}`,
    todo: `put one in, or give its profile the policy ram, which is what it has now; ${NAMED}`,
  })),
  noted("disk-not-empty", (message) => ({
    what: `its disk holds something and is left alone; its state is in memory: ${message}`,
    todo: `if nobody needs what is on it: flynn machine wipe; ${NAMED}`,
  })),
  noted("disk-missing", (message) => ({
    what: `the disk that its policy names is not there; its state is in memory: ${message}`,
    todo: `look whether the disk was moved or failed, or name another: flynn profile set; ${NAMED}`,
  })),
  noted("disk-failed", (message) => ({
    what: `its disk could not be used; its state is in memory: ${message}`,
    todo: `look at its console for I/O errors, and replace the disk if it fails; ${NAMED}`,
  })),
  noted("wipe-refused", (message) => ({
    what: `nothing was wiped: ${message}`,
    todo: `${NAMED}; order it again for the disk that is there now: flynn machine wipe`,
  })),
  noted("install-refused", (message) => ({
    what: `it does not boot from a disk of its own: ${message}`,
    todo: `give it an empty disk that the policy of its profile names, or wipe one that nobody needs (flynn machine wipe), and boot it anew: flynn machine reprovision NAME; ${NAMED}`,
  })),
  noted("install-failed", (message) => ({
    what: `a boot image could not be written to its disk: ${message}`,
    todo: "see that its boot server answers and that the disk has no I/O errors; it is tried again with the next boot or reprovision, and what it booted from is as it was",
  })),
  noted("slot-fell-back", (message) => ({
    what: `it went back to the other image of its disk by itself: ${message}`,
    todo: "flynn machine console NAME shows where the boots ended; with an image that works: flynn machine reprovision NAME",
  })),
];
