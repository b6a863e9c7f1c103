// Takes a disk by the policy: chooses, prepares, and goes on to the next one when a disk turns out to hold something. With a limit
// of time it leaves what takes longer to a later run, which begins anew: nothing is remembered but the marks on the disks.
import type { DiskPolicy } from "#api/boot.ts";
import type { MachineDisk, WipeOrder, WipeOutcome } from "#api/disks.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import {
  chooseDisk,
  type Disk,
  type DiskChoice,
  diskHolds,
  isStateDisk,
  ordered,
  standingOf,
  unfitBecause,
} from "./disk.ts";
import { type DiskOwner, fileSystemOf, type Mark } from "./mark.ts";
import { type PrepareOptions, prepareDisk } from "./prepare.ts";
import { type MarksOf, readDisks } from "./probe.ts";

export interface TakeOptions {
  policy: DiskPolicy;
  owner: DiskOwner;
  order?: WipeOrder | undefined;
  /** Fingerprints of disks that are left to an order to wipe. */
  givenUp?: readonly string[];
  /** In memory; for the image of a new file system. */
  directory: string;
  /** The disks of this machine, unless given. */
  read?: typeof readDisks | undefined;
  withinMs?: number;
  onProgress: (path: string, ...progress: Parameters<NonNullable<PrepareOptions["onProgress"]>>) => void;
  /** A disk that was looked into and left alone, and why. */
  onRefused: (path: string, why: string) => void;
  /** What becomes of the order; before the disk is written. */
  onWipe: (outcome: WipeOutcome) => void | Promise<void>;
  log: Log;
  signal: AbortSignal;
}

export interface Taken {
  choice: DiskChoice;
  /** As they were before anything was done. */
  disks: readonly Disk[];
  /** A file system was made in this run. */
  made: boolean;
  /** It takes longer than there was time. */
  late?: { path: string; sizeBytes: number; msLeft: number };
}

export async function takeDisk(options: TakeOptions): Promise<Taken> {
  const { policy, owner, order, directory, withinMs, onProgress, onRefused, onWipe, log, signal } = options;
  const marksOf: MarksOf = (disk) => possibleMarks(owner, disk, order);
  const given = new Set(options.givenUp);
  const read = async () =>
    (await (options.read ?? readDisks)(marksOf, signal)).map((disk) =>
      given.has(disk.fingerprint) ? { ...disk, givenUp: true } : disk,
    );
  const endMs = withinMs === undefined ? undefined : performance.now() + withinMs;
  const refused = new Map<string, string>();
  // Also where none is used: what is on them is shown to people.
  const first = await read();
  await refuseOrder();
  let disks: readonly Disk[] = first;
  for (let made = false; ; disks = await read()) {
    const choice = chooseDisk(disks, policy, { owner, order, refused });
    log.info({ choice }, "state disk chosen");
    if (choice.do !== "take") return { choice, disks: first, made };
    const { path, begin, orderId } = choice;
    const disk = disks.find((one) => one.path === path)!;
    if (begin === "erase" && order?.id === orderId)
      await onWipe({ orderId, did: "begun", reason: `${path} is erased as ${order.orderedBy} ordered` });
    const leftMs = endMs === undefined ? undefined : Math.max(1, endMs - performance.now());
    try {
      const prepared = await prepareDisk({
        disk,
        owner,
        begin,
        orderId,
        verify: policy.verify ?? "all",
        directory,
        ...(leftMs === undefined ? {} : { withinMs: leftMs }),
        onProgress: (...progress) => onProgress(path, ...progress),
        signal,
      });
      if (prepared.end === "late")
        return {
          choice,
          disks: first,
          made: false,
          late: { path, sizeBytes: disk.sizeBytes, msLeft: prepared.msLeft },
        };
      if (prepared.end === "refused") refuse(path, prepared.why);
      else {
        const after = (await read()).find((one) => one.path === path);
        if (after === undefined || !isStateDisk(after, owner))
          throw new Error("what was written to it is not what is read from it");
        made = true;
        // Said in the words of how it came to be ours, not "from before".
        return { choice: { do: "use", path, reason: choice.reason }, disks: first, made };
      }
    } catch (error) {
      if (signal.aborted) throw error;
      log.error({ err: error, path }, "state disk could not be prepared");
      refuse(path, `could not be prepared: ${causeChain(error).join(": ")}`.slice(0, 250));
    }
  }

  function refuse(path: string, why: string): void {
    refused.set(path, why);
    onRefused(path, why);
  }

  async function refuseOrder(): Promise<void> {
    if (order === undefined) return;
    const found = ordered(first, order, owner);
    if (found.done) return void (await onWipe({ orderId: order.id, did: "begun", reason: found.why }));
    const choice = chooseDisk(first, policy, { owner, order });
    if (choice.do === "take" && choice.begin === "erase" && choice.orderId === order.id) return;
    const why =
      policy.mode === "ram"
        ? `policy ${policy.name} uses no disk`
        : found.why || `${found.path} is not the disk of policy ${policy.name}`;
    await onWipe({ orderId: order.id, did: "refused", reason: `nothing was wiped: ${why}`.slice(0, 400) });
  }
}

/** Those that we may have been writing when the power went. */
export function possibleMarks(
  owner: DiskOwner,
  disk: Pick<Disk, "serial" | "wwn" | "sizeBytes">,
  order: WipeOrder | undefined,
): Mark[] {
  const { sizeBytes } = disk;
  if (!(sizeBytes > 0)) return [];
  const fileSystem = fileSystemOf(owner, disk);
  return ["", ...(order ? [order.id] : [])].flatMap((orderId) =>
    (["erasing", "formatting", "ready"] as const).map((state) => ({ ...owner, state, fileSystem, sizeBytes, orderId })),
  );
}

/** As control and people are shown them. */
export function shownDisks(disks: readonly Disk[], owner: DiskOwner): MachineDisk[] {
  return disks.slice(0, 64).map((disk) => ({
    ...shownDisk(disk.whole ?? disk),
    ...(disk.whole === undefined
      ? { holds: diskHolds(disk, owner).slice(0, 300), standing: standingOf(disk, owner) }
      : { holds: `is installed to; its part ${disk.path} ${diskHolds(disk, owner)}`.slice(0, 300), standing: "ours" }),
  }));
}

function shownDisk(disk: Disk): Omit<MachineDisk, "holds" | "standing"> {
  return {
    path: disk.path.slice(0, 128),
    ...(disk.model ? { model: disk.model.slice(0, 128) } : {}),
    ...(disk.serial ? { serial: disk.serial.slice(0, 128) } : {}),
    ...(disk.wwn ? { wwn: disk.wwn.slice(0, 128) } : {}),
    sizeBytes: Number.isSafeInteger(disk.sizeBytes) ? disk.sizeBytes : 0,
    ...(disk.links?.length ? { links: disk.links.filter((link) => link.length <= 256).slice(0, 32) } : {}),
    ...(disk.transport ? { transport: disk.transport.slice(0, 16) } : {}),
    ...(disk.media ? { media: disk.media } : {}),
    ...(disk.contents?.length ? { contents: disk.contents.slice(0, 32).map((line) => line.slice(0, 300)) } : {}),
    canWipe: unfitBecause(disk) === undefined,
    fingerprint: disk.fingerprint,
  };
}
