// How much of control's disks must stay free, and what follows from what is. Pure. Below the floor no bulk bytes come in until
// there is a tenth more than the floor: a disk at its edge would open and close at every upload's end otherwise.
import { Fault } from "#api/fault.ts";
import type { Part } from "#api/status.ts";
import { formatSize } from "#lib/units.ts";

/** One file system that uploads fill. */
export interface Reading {
  path: string;
  freeBytes: number;
  totalBytes: number;
  /** Files that it can have, and how many more; absent or 0 where it knows no such bound. */
  inodes?: number;
  freeInodes?: number;
}

export interface DiskState extends Reading {
  /** Bulk bytes are refused. */
  low: boolean;
  floorBytes: number;
  /** Free bytes at which they are taken again. */
  resumeBytes: number;
}

const GIB = 1024 ** 3;
const RESUME_SHARE = 1.1;
const INODES_SHARE = 0.02;

/** A file system without inodes takes no file, however many bytes are free. */
const shortOfInodes = ({ inodes = 0, freeInodes = 0 }: Reading, share = 1): boolean =>
  freeInodes < inodes * INODES_SHARE * share;

/** The configured floor, or 2 % of the file system, at least 1 GiB and at most 10 GiB. */
export function floorOf(totalBytes: number, configuredBytes: number): number {
  if (configuredBytes > 0) return configuredBytes;
  return Math.min(Math.max(GIB, Math.ceil(totalBytes * 0.02)), 10 * GIB);
}

/** The file system that is nearest to its floor; undefined when none could be read. */
export function nextState(
  wasLow: ReadonlySet<string>,
  readings: readonly Reading[],
  configuredBytes: number,
): DiskState | undefined {
  const states = readings.map((reading): DiskState => {
    const floorBytes = floorOf(reading.totalBytes, configuredBytes);
    const resumeBytes = Math.ceil(floorBytes * RESUME_SHARE);
    const was = wasLow.has(reading.path);
    const low = reading.freeBytes < (was ? resumeBytes : floorBytes) || shortOfInodes(reading, was ? RESUME_SHARE : 1);
    return { ...reading, low, floorBytes, resumeBytes };
  });
  const margin = ({ freeBytes, floorBytes }: DiskState) => freeBytes - floorBytes;
  return states.reduce<DiskState | undefined>((worst, state) => {
    if (worst === undefined || (state.low && !worst.low)) return state;
    return state.low === worst.low && margin(state) < margin(worst) ? state : worst;
  }, undefined);
}

const WAYS = "Free space there: delete an app (flynn -a APP delete), or give control a larger disk";

const standing = (reading: Reading): string =>
  `control has ${formatSize(reading.freeBytes)}${inodesText(reading)} free on ${reading.path}`;
const inodesText = (reading: Reading): string =>
  shortOfInodes(reading, RESUME_SHARE) ? ` and ${reading.freeInodes} of ${reading.inodes} inodes` : "";

/** Why bulk bytes are not taken now. */
export function lowFault(state: DiskState): Fault {
  return new Fault(
    "no-capacity",
    `${standing(state)}; uploads start again at ${formatSize(state.resumeBytes)}. ${WAYS}`,
    { details: { freeBytes: state.freeBytes, floorBytes: state.floorBytes, resumeBytes: state.resumeBytes } },
  );
}

/** Why an upload of a known size is not begun, though smaller ones are taken. */
export function roomFault(state: DiskState, needBytes: number): Fault {
  return new Fault(
    "no-capacity",
    `${standing(state)}; an upload of ${formatSize(needBytes)} would leave less than the ${formatSize(state.floorBytes)} that stay free. ${WAYS}`,
    { details: { freeBytes: state.freeBytes, floorBytes: state.floorBytes, needBytes } },
  );
}

export function diskPart(state: DiskState | undefined): Part {
  const name = "disk";
  if (state === undefined)
    return { name, state: "degraded", message: "the free space of control's disk cannot be read" };
  const { low, freeBytes, totalBytes, path, floorBytes, resumeBytes } = state;
  const free = `${formatSize(freeBytes)} of ${formatSize(totalBytes)}${inodesText(state)} free on ${path}`;
  return low
    ? {
        name,
        state: "degraded",
        message: `${free}; uploads and pushes are refused until ${formatSize(resumeBytes)} are`,
      }
    : { name, state: "ok", message: `${free}; uploads and pushes are refused below ${formatSize(floorBytes)}` };
}
