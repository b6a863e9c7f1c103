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
];
