// Watches what each running job has on disk, by rules.ts: warns in the app's log, and says which containers have to
// end. The file system is looked at each second; at most a few jobs are counted at once.
import type { JobDisk } from "#api/jobs.ts";
import type { Log } from "#lib/log.ts";
import { every } from "#lib/time.ts";
import { type Container, LABELS } from "../engine/engine.ts";
import {
  type DiskCount,
  type DiskTrace,
  excessReason,
  greediest,
  inodeLimit,
  inodesReason,
  isDue,
  largestOwn,
  shortOfInodes,
  uncounted,
  WARN_AT,
  warning,
  written,
} from "./rules.ts";
import { type DiskSpace, type DiskUse, diskUse, Uncountable } from "./use.ts";

export interface DiskWatchOptions {
  running: () => readonly Container[];
  limitOf: (jobId: string) => number | undefined;
  /** Of the file system that containers write to. */
  space: () => Promise<DiskSpace>;
  reserveBytes: (sizeBytes: number) => number;
  /** Of the memory that the engine keeps containers' own directories in; undefined where it keeps them on the disk. */
  ownSpace?: () => Promise<DiskSpace | undefined>;
  count?: (container: Container, signal: AbortSignal) => Promise<DiskUse | undefined>;
  /** A line for the app's log. */
  say: (job: { jobId: string; app: string; appId?: string; process: string }, line: string) => void;
  /** There is a container that has to end. */
  onExcess: () => void;
  log: Log;
  everyMs?: number;
  nowMs?: () => number;
}

export interface DiskWatch {
  of(jobId: string): JobDisk | undefined;
  /** Why each has to end, by container. */
  excess(): ReadonlyMap<string, string>;
  run(signal: AbortSignal): Promise<void>;
}

interface Watched {
  counts: DiskCount[];
  counting: boolean;
  warned: boolean;
  /** Counts that failed in a row since the last that did not. */
  unknown: { times: number; reason: string; writtenBytes: number; atMs: number; tookMs: number };
}

const KNOWN: Watched["unknown"] = { times: 0, reason: "", writtenBytes: 0, atMs: 0, tookMs: 0 };
/** What makes that no job can be counted, and none is to blame for. */
const HOST_CODES = ["ENOENT", "EMFILE", "ENFILE", "EAGAIN", "ENOMEM"];
const isHosts = (error: unknown): boolean => {
  const { code, cause } = error as { code?: string; cause?: { code?: string } };
  return !(error instanceof Uncountable) && HOST_CODES.includes(cause?.code ?? code ?? "");
};

const WALKS_AT_ONCE = 4;
const MINUTE_MS = 60_000;
const COUNTS_KEPT = 20;
/** One ends for the host's sake, and its room comes back, before the next is chosen. */
const BETWEEN_ENDS_MS = 5_000;
const LEAST_REST_MS = 5_000;

export function watchDisk(options: DiskWatchOptions): DiskWatch {
  const { running, limitOf, space, reserveBytes, say, onExcess, log, everyMs = 1_000 } = options;
  const { ownSpace = async () => undefined } = options;
  const { count = diskUse, nowMs = () => performance.now() } = options;
  const watched = new Map<string, Watched>();
  const excess = new Map<string, string>();
  let walking = 0;
  let trace: DiskTrace | undefined;
  let ownTrace: DiskTrace | undefined;
  let looks: { atMs: number; writtenBytes: number }[] = [];
  let endedMs = Number.NEGATIVE_INFINITY;
  let ownEndedMs = Number.NEGATIVE_INFINITY;
  let trouble = "";

  const everythingWritten = (): number => (trace?.writtenBytes ?? 0) + (ownTrace?.writtenBytes ?? 0);

  const tell = (error: unknown): void => {
    if (trouble !== String(error)) log.warn({ err: error }, "disk use is not known");
    trouble = String(error);
  };
  const jobOf = ({ labels }: Container) => ({
    jobId: labels[LABELS.job] ?? "",
    app: labels[LABELS.app] ?? "",
    process: labels[LABELS.process] ?? "",
  });
  const last = (id: string): DiskCount | undefined => watched.get(id)?.counts.at(-1);
  const end = (id: string, reason: string): void => {
    if (excess.has(id)) return;
    excess.set(id, reason);
    log.info({ containerId: id, reason }, "job ends for its use of the disk");
    onExcess();
  };

  const countOne = async (container: Container, limitBytes: number, signal: AbortSignal): Promise<void> => {
    const entry = watched.get(container.id);
    if (entry === undefined || entry.counting || walking >= WALKS_AT_ONCE) return; // it is as due a second later
    entry.counting = true;
    walking++;
    const beganMs = nowMs();
    const { takenInodes } = trace!;
    const writtenBytes = everythingWritten();
    try {
      const use = await count(container, signal);
      if (use === undefined) return;
      const { usedBytes, inodes = 0 } = use;
      entry.counts.push({ ...use, writtenBytes, takenInodes, atMs: beganMs, tookMs: nowMs() - beganMs });
      entry.unknown = KNOWN;
      if (entry.counts.length > COUNTS_KEPT) entry.counts.shift();
      const job = jobOf(container);
      if (usedBytes > limitBytes) end(container.id, excessReason(job.process, usedBytes, limitBytes));
      else if (inodes > inodeLimit(limitBytes)) end(container.id, inodesReason(job.process, inodes, limitBytes));
      else if (usedBytes < limitBytes * WARN_AT) entry.warned = false;
      else if (!entry.warned) {
        entry.warned = true;
        say(job, warning(job.process, usedBytes, limitBytes));
      }
    } catch (error) {
      if (signal.aborted) return;
      tell(error);
      const { times, writtenBytes: sinceBytes } = entry.unknown;
      entry.unknown = {
        times: isHosts(error) ? times : times + 1,
        reason: error instanceof Uncountable ? error.message : "its files could not be counted",
        writtenBytes: entry.counts.at(-1)?.writtenBytes ?? (times === 0 ? writtenBytes : sinceBytes),
        atMs: beganMs,
        tookMs: nowMs() - beganMs,
      };
    } finally {
      entry.counting = false;
      walking--;
    }
  };

  const relieve = (containers: readonly Container[], { sizeBytes, ...free }: DiskSpace): void => {
    const now = nowMs();
    if (now - endedMs < BETWEEN_ENDS_MS) return;
    const living = containers.filter(({ id }) => !excess.has(id));
    const growths = living.map((container) => {
      const counts = watched.get(container.id)?.counts ?? [];
      const latest = counts.at(-1);
      const first = counts.find(({ atMs }) => now - atMs <= MINUTE_MS) ?? latest;
      return {
        id: container.id,
        process: jobOf(container).process,
        grownBytes: (latest?.usedBytes ?? 0) - (first?.usedBytes ?? 0),
        grownInodes: (latest?.inodes ?? 0) - (first?.inodes ?? 0),
        parkedFiles: Math.min(latest?.parkedFiles ?? 0, counts.at(-2)?.parkedFiles ?? 0),
      };
    });
    const unknown = living.flatMap((container) => {
      const limitBytes = limitOf(jobOf(container).jobId);
      const entry = watched.get(container.id);
      if (limitBytes === undefined || entry === undefined) return [];
      const { times, reason, writtenBytes } = entry.unknown;
      const before = entry.counts.at(-1);
      const leftBytes = before === undefined ? 0 : limitBytes - before.usedBytes;
      return [{ id: container.id, times, reason, grownBytes: everythingWritten() - writtenBytes, leftBytes }];
    });
    const writtenBytes = trace!.writtenBytes - (looks[0]?.writtenBytes ?? 0);
    const standing = { ...free, reserveBytes: reserveBytes(sizeBytes), writtenBytes };
    const chosen = uncounted(unknown, standing) ?? greediest(growths, standing);
    if (chosen === undefined) return;
    endedMs = now;
    end(chosen.id, chosen.reason);
  };

  const relieveOwn = (containers: readonly Container[], own: DiskSpace | undefined): void => {
    const now = nowMs();
    if (own === undefined || now - ownEndedMs < BETWEEN_ENDS_MS) return;
    const owns = containers
      .filter(({ id }) => !excess.has(id))
      .map(({ id }) => ({ id, ownBytes: last(id)?.ownBytes ?? 0 }));
    const chosen = largestOwn(owns, own);
    if (chosen === undefined) return;
    ownEndedMs = now;
    end(chosen.id, chosen.reason);
  };

  const restedFor = ({ counts, unknown }: Watched): boolean => {
    // One that could not be counted is tried again soon: it may be anything by then.
    if (unknown !== KNOWN) return nowMs() - unknown.atMs >= Math.max(LEAST_REST_MS, 2 * unknown.tookMs);
    const before = counts.at(-1);
    return before === undefined || nowMs() - before.atMs >= Math.max(LEAST_REST_MS, 10 * before.tookMs);
  };

  const look = async (signal: AbortSignal): Promise<void> => {
    const containers = running();
    const ids = new Set(containers.map(({ id }) => id));
    for (const id of watched.keys()) if (!ids.has(id)) watched.delete(id);
    for (const id of excess.keys()) if (!ids.has(id)) excess.delete(id);
    const [now, own] = await Promise.all([space(), ownSpace()]);
    trace = written(trace, now);
    ownTrace = own && written(ownTrace, own);
    const { takenInodes } = trace;
    const atMs = nowMs();
    looks = [...looks.filter((one) => atMs - one.atMs <= MINUTE_MS), { atMs, writtenBytes: trace.writtenBytes }];
    const isShort =
      now.freeBytes < reserveBytes(now.sizeBytes) ||
      shortOfInodes(now) ||
      (own !== undefined && own.freeBytes < own.sizeBytes / 4);
    for (const container of containers) {
      const entry = watched.get(container.id) ?? { counts: [], counting: false, warned: false, unknown: KNOWN };
      watched.set(container.id, entry);
      const limitBytes = limitOf(jobOf(container).jobId);
      if (limitBytes === undefined || entry.counting || excess.has(container.id)) continue;
      const rested = restedFor(entry);
      const writtenBytes = everythingWritten();
      const due =
        entry.unknown === KNOWN && isDue(entry.counts.at(-1), { limitBytes, writtenBytes, takenInodes, nowMs: atMs });
      if (due || (rested && (isShort || entry.unknown !== KNOWN))) void countOne(container, limitBytes, signal);
    }
    relieve(containers, now);
    relieveOwn(containers, own);
  };

  return {
    of(jobId) {
      const container = running().find(({ labels }) => labels[LABELS.job] === jobId);
      const limitBytes = limitOf(jobId);
      const counted = container && last(container.id);
      if (container === undefined || counted === undefined || limitBytes === undefined) return undefined;
      return { usedBytes: counted.usedBytes, limitBytes, enforcedBy: container.disk?.quota ? "kernel" : "watch" };
    },
    excess: () => excess,
    async run(signal) {
      for await (const _ of every(everyMs, signal))
        await look(signal).then(
          () => {
            trouble = "";
          },
          (error: unknown) => tell(error),
        );
    },
  };
}
