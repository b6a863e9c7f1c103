// How much a push may bring: the app's quota of repository bytes, and the free space of control's disk.
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import { formatSize } from "#lib/units.ts";
import type { DiskRoom } from "../disk/room.ts";

/** Called with bytes of a push as they come. Rejects with the fault that ends the push when they are too many. */
export type Incoming = (bytes: number) => Promise<void>;

export interface PushSpace {
  /**
   * The count of one push's bytes. Faults, now and as they come: `too-large` (the repository is full with them), `rate-limited`
   * (with those of the app's other pushes that are under way), `no-capacity` (the disk is full).
   */
  bring(repository: string): Promise<Incoming>;
  /** Bytes of the repository's objects and of the push's own. Fault `too-large` when that is more than there may be. */
  check(repository: string, quarantine: string | undefined): Promise<number>;
  /** Nearly full: what nothing names any more is worth a look through everything. */
  isTight(repository: string): Promise<boolean>;
  filling: DiskRoom["filling"];
}

const TIGHT_SHARE = 0.8;
/** What git makes inside of objects/ for a push that is not decided. */
const QUARANTINE = /^(tmp_objdir-)?incoming-/;

export function pushSpace(room: Pick<DiskRoom, "admit" | "filling">, quotaBytes: number): PushSpace {
  const limit = formatSize(quotaBytes);
  const tooMuch = () =>
    new Fault(
      "too-large",
      `this push would bring the app's git repository beyond the ${limit} it may hold. Take large files out of the commits ` +
        "(git filter-repo --strip-blobs-bigger-than 10M) and push again with --force, or have the limit raised: flynn up --app-git-limit 2GiB",
    );
  const crowded = () =>
    new Fault(
      "rate-limited",
      `other pushes to this app are under way, and with them its git repository would hold more than the ${limit} it may. Push again when they have ended: flynn build list`,
    );
  /** By repository: what is on the disk, of pushes under way too, and what has come since it was looked at. */
  const accounts = new Map<string, { allBytes: number; comeBytes: number }>();
  const accountOf = (repository: string) => {
    const account = accounts.get(repository) ?? { allBytes: 0, comeBytes: 0 };
    accounts.set(repository, account);
    return account;
  };
  const look = async (repository: string): Promise<void> => {
    const account = accountOf(repository);
    const before = account.comeBytes;
    const bytes = await treeBytes(join(repository, "objects"));
    account.allBytes = bytes + account.comeBytes - before; // what comes meanwhile may be seen, or not: it counts
  };
  return {
    filling: room.filling,
    async bring(repository) {
      await room.admit();
      const used = await objectBytes(repository);
      if (used >= quotaBytes)
        throw new Fault(
          "too-large",
          `the app's git repository holds ${formatSize(used)} and may hold ${limit}: no push is taken. Have the limit raised (flynn up --app-git-limit 2GiB), or deploy without git: flynn deploy .`,
        );
      const account = accountOf(repository);
      await look(repository);
      if (account.allBytes >= quotaBytes) throw crowded();
      let ownBytes = 0;
      return async (bytes) => {
        ownBytes += bytes;
        account.comeBytes += bytes;
        account.allBytes += bytes;
        if (used + ownBytes > quotaBytes) throw tooMuch();
        if (account.allBytes <= quotaBytes) return;
        await look(repository); // another's may have gone
        if (account.allBytes + bytes > quotaBytes) throw crowded();
      };
    },
    async check(repository, quarantine) {
      const used = await objectBytes(repository, quarantine);
      if (used > quotaBytes) throw tooMuch();
      return used;
    },
    isTight: async (repository) => (await objectBytes(repository)) > quotaBytes * TIGHT_SHARE,
  };
}

/** Of all objects, but for those of other pushes that are under way. */
export async function objectBytes(repository: string, quarantine?: string): Promise<number> {
  const objects = join(repository, "objects");
  let sum = 0;
  for (const name of await readdir(objects)) {
    const path = join(objects, name);
    if (QUARANTINE.test(name) && path !== quarantine) continue;
    sum += await treeBytes(path);
  }
  return sum;
}

/** Bytes of a directory's files; what goes meanwhile counts nothing. */
export async function treeBytes(path: string): Promise<number> {
  const names = await readdir(path, { recursive: true }).catch(() => []);
  let sum = 0;
  for (const name of names) {
    const found = await stat(join(path, name)).catch(() => undefined);
    if (found?.isFile()) sum += found.size;
  }
  return sum;
}
