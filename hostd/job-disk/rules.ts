// What a job may have on the disk, as rules: when it has to be counted anew, when it is warned, when it ends, and who ends when the
// host itself runs short. Counting walks a job's files and costs; looking at the file system's use costs nothing, so that is looked at
// each second and a job is counted when so much was written, by anybody, that it may have passed its limit.
import { formatSize } from "#lib/units.ts";

export interface DiskCount {
  usedBytes: number;
  /** When, on the monotonic clock, and how long the counting took. */
  atMs: number;
  tookMs: number;
  /** What everybody had written by then, as `DiskTrace.writtenBytes`. */
  writtenBytes: number;
  inodes?: number;
  /** What everybody had taken by then, as `DiskTrace.takenInodes`. */
  takenInodes?: number;
  ownBytes?: number;
  parkedFiles?: number;
}

/** What everybody together has taken of a file system, from looks at what is free: what was freed takes nothing back. */
export interface DiskTrace {
  writtenBytes: number;
  freeBytes: number;
  takenInodes: number;
  freeInodes: number;
}

export const WARN_AT = 0.8;
const SLOW_EVERY_MS = 300_000;
const EVERY_MS = 30_000;
const LEAST_APART_MS = 900;
/** Below it, growth is what any host does: logs, state. */
const STIR_BYTES = 4 << 20;
const STIR_INODES = 10_000;
const INODES_LEAST = 100_000;
const BYTES_PER_INODE = 8 << 10;

/** Files and directories that a job may have: small ones take inodes, which a file system has so many of, and hardly a byte. */
export const inodeLimit = (limitBytes: number): number =>
  Math.max(INODES_LEAST, Math.floor(limitBytes / BYTES_PER_INODE));

/** Whether the job must be counted now. A walk takes a tenth of the time at most, however many files there are. */
export function isDue(
  count: DiskCount | undefined,
  {
    limitBytes,
    writtenBytes,
    takenInodes,
    nowMs,
  }: { limitBytes: number; writtenBytes: number; takenInodes: number; nowMs: number },
): boolean {
  if (count === undefined) return true;
  const sinceMs = nowMs - count.atMs;
  if (sinceMs < Math.max(LEAST_APART_MS, 10 * count.tookMs)) return false;
  const grownBytes = writtenBytes - count.writtenBytes;
  const warnBytes = limitBytes * WARN_AT;
  const lineBytes = count.usedBytes < warnBytes ? warnBytes : limitBytes;
  if (grownBytes >= Math.max(1, lineBytes - count.usedBytes)) return true;
  const grownInodes = takenInodes - (count.takenInodes ?? 0);
  if (grownInodes >= Math.max(1, inodeLimit(limitBytes) - (count.inodes ?? 0))) return true;
  return sinceMs >= (grownBytes < STIR_BYTES && grownInodes < STIR_INODES ? SLOW_EVERY_MS : EVERY_MS);
}

export function written(
  before: DiskTrace | undefined,
  { freeBytes, freeInodes = 0 }: { freeBytes: number; freeInodes?: number },
): DiskTrace {
  const taken = (was: number | undefined, is: number) => Math.max(0, (was ?? is) - is);
  return {
    writtenBytes: (before?.writtenBytes ?? 0) + taken(before?.freeBytes, freeBytes),
    freeBytes,
    takenInodes: (before?.takenInodes ?? 0) + taken(before?.freeInodes, freeInodes),
    freeInodes,
  };
}

export function excessReason(process: string, usedBytes: number, limitBytes: number): string {
  return `used ${formatSize(usedBytes)} of disk; its limit is ${formatSize(limitBytes)}. Raise it: flynn limit set ${process} disk=${sizeWord(limitBytes * 2)}`;
}

export function inodesReason(process: string, inodes: number, limitBytes: number): string {
  return `has ${inodes} files and directories; its limit is ${inodeLimit(limitBytes)}. Raise it: flynn limit set ${process} disk=${sizeWord(Math.max(limitBytes, INODES_LEAST * BYTES_PER_INODE) * 2)}`;
}

export function warning(process: string, usedBytes: number, limitBytes: number): string {
  return `Disk is ${Math.floor((100 * usedBytes) / limitBytes)} % full: ${formatSize(usedBytes)} of ${formatSize(limitBytes)}; beyond it the job ends. Raise it: flynn limit set ${process} disk=${sizeWord(limitBytes * 2)}`;
}

/** A size as `flynn limit set` takes it: whole, rounded up. */
export function sizeWord(bytes: number): string {
  return bytes >= 1e9 ? `${Math.ceil(bytes / 1e9)}GB` : `${Math.ceil(bytes / 1e6)}MB`;
}

/** A job whose last counts failed. */
export interface Unknown {
  id: string;
  /** In a row. */
  times: number;
  reason: string;
  /** What everybody has written since it was last counted, and how much it then had left of its limit: 0 if never. */
  grownBytes: number;
  leftBytes: number;
}

export interface Standing {
  freeBytes: number;
  reserveBytes: number;
  inodes?: number;
  freeInodes?: number;
}

const UNKNOWN_MOST = 2;

/** Free inodes that are kept: a fiftieth. Where a file system knows no number of them, it is short of none. */
export const shortOfInodes = ({ inodes = 0, freeInodes = 0 }: { inodes?: number; freeInodes?: number }, share = 1) =>
  inodes > 0 && freeInodes < (inodes / 50) * share;

const almostFull = (standing: Standing): boolean =>
  standing.freeBytes < standing.reserveBytes / 2 || shortOfInodes(standing, 0.5);

/**
 * Who ends for not being countable, before anybody who is counted: one that may have passed its limit by what was written since, and
 * any while the disk is almost full. Of several, the one during whose silence most was written.
 */
export function uncounted(unknown: readonly Unknown[], standing: Standing): Unknown | undefined {
  const full = almostFull(standing);
  const stirring = standing.freeBytes < standing.reserveBytes || shortOfInodes(standing);
  const [most] = unknown
    .filter(({ times, grownBytes, leftBytes }) => {
      if (times === 0) return false;
      if (full || (stirring && grownBytes >= STIR_BYTES)) return true;
      return times >= UNKNOWN_MOST && grownBytes >= Math.max(STIR_BYTES, leftBytes);
    })
    .sort((a, b) => b.grownBytes - a.grownBytes);
  return most;
}

export interface Growth {
  id: string;
  process: string;
  /** In the last minute. */
  grownBytes: number;
  grownInodes?: number;
  /** Files that stood in its sockets at each of its last counts. */
  parkedFiles?: number;
}

const GREEDY_BYTES = 64 << 20;

/**
 * Who ends when the host has less than half of its reserve left: whoever grew most of late, and nobody who did not. If what was written
 * in the last minute is in nobody's count, it is whoever keeps most files where no count finds them.
 */
export function greediest(
  growths: readonly Growth[],
  standing: Standing & { writtenBytes?: number },
): (Growth & { reason: string }) | undefined {
  if (!almostFull(standing)) return undefined;
  const most = (of: (growth: Growth) => number, least: number): Growth | undefined =>
    growths.filter((growth) => of(growth) >= least).sort((a, b) => of(b) - of(a))[0];
  const left = `the host's disk is almost full (${formatSize(standing.freeBytes)} left)`;
  if (shortOfInodes(standing, 0.5)) {
    const found = most(({ grownInodes = 0 }) => grownInodes, STIR_INODES);
    const reason = `the host's disk has almost no inodes left (${standing.freeInodes}), and this job grew most: ${found?.grownInodes} files and directories in the last minute`;
    if (found !== undefined) return { ...found, reason };
  }
  if (standing.freeBytes >= standing.reserveBytes / 2) return undefined;
  const grown = most(({ grownBytes }) => grownBytes, GREEDY_BYTES);
  if (grown !== undefined)
    return { ...grown, reason: `${left}, and this job grew most: ${formatSize(grown.grownBytes)} in the last minute` };
  const counted = growths.reduce((sum, { grownBytes }) => sum + Math.max(0, grownBytes), 0);
  if ((standing.writtenBytes ?? 0) - counted < GREEDY_BYTES) return undefined;
  const parked = most(({ parkedFiles = 0 }) => parkedFiles, 1);
  return parked && { ...parked, reason: `${left}, and this job keeps files in sockets, where they cannot be counted` };
}

/** Beyond what Docker keeps of a job's output there. */
const OWN_BYTES = 24 << 20;

/** Who ends when the memory that Docker keeps containers' own directories in is seven eighths full. */
export function largestOwn<T extends { ownBytes: number }>(
  owns: readonly T[],
  { sizeBytes, freeBytes }: { sizeBytes: number; freeBytes: number },
): (T & { reason: string }) | undefined {
  if (freeBytes >= sizeBytes / 8) return undefined;
  const [most] = owns.filter(({ ownBytes }) => ownBytes >= OWN_BYTES).sort((a, b) => b.ownBytes - a.ownBytes);
  return (
    most && {
      ...most,
      reason: `the host's memory for containers' own files is almost full (${formatSize(freeBytes)} left), and this job has most of it: ${formatSize(most.ownBytes)} in /etc/hosts, /etc/hostname, /etc/resolv.conf`,
    }
  );
}
