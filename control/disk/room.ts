// The one gate for bulk bytes onto control's disks: asked before they come in, and watched while they do. State is not asked here:
// small writes go on, the floor is what they live on.
import { stat, statfs } from "node:fs/promises";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { every, joined, sleep } from "#lib/time.ts";
import { formatSize } from "#lib/units.ts";
import { eventChanges } from "../events.ts";
import type { Store } from "../store/store.ts";
import { type DiskState, lowFault, nextState, type Reading, roomFault } from "./floor.ts";

export interface DiskRoom {
  /** Fault `no-capacity` below the floor, or when `needBytes` more would lead there. */
  admit(needBytes?: number): Promise<void>;
  /** Work that brings bulk bytes: not begun below the floor, ended with the fault when the floor is passed meanwhile. */
  filling<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T> | T): Promise<T>;
  /** Undefined when no file system can be read. */
  state(): Promise<DiskState | undefined>;
  /** Watches until the signal aborts; beginning and end of low space are events. */
  run(signal: AbortSignal): Promise<void>;
}

export interface DiskRoomOptions {
  /** Directories that uploads fill; those that are not there are left out. */
  paths: readonly string[];
  /** 0: by the size of the file system. */
  freeFloorBytes: number;
  store: Store;
  log: Log;
  now: () => Date;
  read?: (path: string) => Promise<Reading>;
  watchMs?: number;
}

/** A reading is good for so long: uploads that begin together share one. */
const FRESH_MS = 200;

export function diskRoom(options: DiskRoomOptions): DiskRoom {
  const { paths, freeFloorBytes, store, log, now, read = readFileSystem, watchMs = 2_000 } = options;
  const low = new Set<string>();
  const active = new Set<AbortController>();
  let reading: Promise<DiskState | undefined> | undefined;
  let readMs = Number.NEGATIVE_INFINITY;
  let troubled = false;
  let watching = false;

  const look = async (): Promise<DiskState | undefined> => {
    const found = await Promise.all(
      paths.map((path) =>
        read(path).catch((error: unknown) => {
          if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
          if (!troubled) log.error({ causes: causeChain(error), path }, "free space cannot be read");
          troubled = true;
          return undefined;
        }),
      ),
    );
    const readings = found.filter((one) => one !== undefined);
    for (const one of readings) {
      if (nextState(low, [one], freeFloorBytes)?.low) low.add(one.path);
      else low.delete(one.path);
    }
    const state = nextState(low, readings, freeFloorBytes);
    if (state?.low) for (const each of active) each.abort(lowFault(state));
    return state;
  };
  const state = (): Promise<DiskState | undefined> => {
    if (reading === undefined || performance.now() - readMs > FRESH_MS) {
      readMs = performance.now();
      reading = look();
    }
    return reading;
  };
  const admit = async (needBytes = 0): Promise<void> => {
    const seen = await state();
    if (seen?.low) throw lowFault(seen);
    if (seen && seen.freeBytes - needBytes < seen.floorBytes) throw roomFault(seen, needBytes);
  };
  /** As long as anything comes in. */
  const watch = async (): Promise<void> => {
    if (watching) return;
    watching = true;
    for (; active.size > 0; await sleep(FRESH_MS + 10)) await state();
    watching = false;
  };

  const announce = async (seen: DiskState): Promise<void> => {
    const { path, freeBytes, floorBytes, resumeBytes } = seen;
    const free = `${formatSize(freeBytes)} free on ${path}`;
    const message = seen.low
      ? `control has ${free}, less than ${formatSize(floorBytes)}: uploads and pushes are refused until it has ${formatSize(resumeBytes)}`
      : `control has ${free}: uploads and pushes are taken again`;
    log.warn({ path, freeBytes, floorBytes, low: seen.low }, "free space passed the floor");
    const type = seen.low ? "disk.filled" : "disk.freed";
    const mutations = eventChanges(store, now(), { type, subject: "disk", message, actor: "control" });
    await store.commit({ actor: "control", mutations });
  };

  return {
    state,
    admit,
    async filling(signal, work) {
      await admit();
      const full = new AbortController();
      active.add(full);
      void watch();
      const either = joined(signal, full.signal);
      try {
        return await work(either.signal);
      } catch (error) {
        throw full.signal.aborted ? full.signal.reason : error;
      } finally {
        either.release();
        active.delete(full);
      }
    },
    async run(signal) {
      let wasLow = false;
      for await (const _ of every(watchMs, signal)) {
        const seen = await state();
        if (seen === undefined || seen.low === wasLow) continue;
        wasLow = seen.low;
        await announce(seen).catch((error: unknown) =>
          log.error({ causes: causeChain(error) }, "the event of low space could not be kept"),
        );
      }
    },
  };
}

async function readFileSystem(path: string): Promise<Reading> {
  await stat(path);
  const { bavail, blocks, bsize, files, ffree } = await statfs(path);
  return { path, freeBytes: bavail * bsize, totalBytes: blocks * bsize, inodes: files, freeInodes: ffree };
}
