// The journal's bytes: a segment is a header line, then one frame per commit group. Pure.
import { type Frame, parseFrame, parseFrameHead } from "./frame.ts";

const FORMAT = 2;

export interface SegmentHeader {
  format: number;
  id: string;
  term: number;
  firstSeq: number;
  /** Hash of the frame that ends with record `firstSeq - 1`. */
  baseHash: string;
}

export interface Scan {
  header: SegmentHeader | undefined;
  frames: Frame[];
  headSeq: number;
  headHash: string;
  /** Length of the part that verifies. */
  soundBytes: number;
  /** `torn`: the last frame is incomplete, as a crash leaves it. `damaged`: more than that is wrong. */
  tail: "clean" | "torn" | "damaged";
  /** First seq of the newest frame that verifies; 0 when there is none. */
  lastFrameSeq: number;
  /** Highest seq that any frame header in the segment, readable or not, says was written. */
  claimedSeq: number;
}

export function encodeHeader(header: Omit<SegmentHeader, "format">): string {
  return `${JSON.stringify({ format: FORMAT, ...header })}\n`;
}

const NEWLINE = 10;
const HASH_SIGN = 35;

export function scanSegment(bytes: Buffer): Scan {
  const headerEnd = bytes.indexOf(NEWLINE);
  const header = headerEnd === -1 ? undefined : parseHeader(bytes.toString("utf8", 0, headerEnd));
  const scan: Scan = {
    header,
    frames: [],
    headSeq: 0,
    headHash: "",
    soundBytes: 0,
    tail: "clean",
    lastFrameSeq: 0,
    claimedSeq: 0,
  };
  if (header === undefined) {
    scan.claimedSeq = highestClaim(bytes, 0, 0);
    // A segment is created empty, so a header cut short with no frame after it is a crash, not a loss.
    scan.tail = headerEnd === -1 && scan.claimedSeq === 0 ? "torn" : "damaged";
    return scan;
  }
  scan.headSeq = header.firstSeq - 1;
  scan.headHash = header.baseHash;
  scan.soundBytes = headerEnd + 1;
  while (scan.soundBytes < bytes.length && readFrame(bytes, scan));
  scan.claimedSeq = highestClaim(bytes, scan.soundBytes, scan.headSeq);
  if (scan.soundBytes < bytes.length) scan.tail = tailKind(bytes, scan.soundBytes);
  return scan;
}

/** Adds the frame at `soundBytes` to the scan; false when it does not verify or does not go on from the one before. */
function readFrame(bytes: Buffer, scan: Scan): boolean {
  const frame = parseFrame(bytes, scan.soundBytes);
  if (frame === undefined || frame.firstSeq !== scan.headSeq + 1 || frame.before !== scan.headHash) return false;
  scan.frames.push(frame);
  scan.lastFrameSeq = frame.firstSeq;
  scan.headSeq = frame.lastSeq;
  scan.headHash = frame.hash;
  scan.soundBytes += frame.bytes.length;
  return true;
}

function parseHeader(line: string): SegmentHeader | undefined {
  try {
    const header = JSON.parse(line) as SegmentHeader;
    return header.format === FORMAT && Number.isSafeInteger(header.firstSeq) ? header : undefined;
  } catch {
    return undefined;
  }
}

/** Nothing that starts like a frame follows the bad bytes: they are the end, as a crash leaves it. */
function tailKind(bytes: Buffer, from: number): "torn" | "damaged" {
  return nextFrame(bytes, from) === -1 ? "torn" : "damaged";
}

function highestClaim(bytes: Buffer, from: number, floor: number): number {
  let claimed = floor;
  for (let at = bytes[from] === HASH_SIGN ? from : nextFrame(bytes, from); at !== -1; at = nextFrame(bytes, at)) {
    const head = parseFrameHead(bytes, at);
    if (head !== undefined) claimed = Math.max(claimed, head.firstSeq + head.count - 1);
  }
  return claimed;
}

/** Records are JSON objects, so a line that starts with `#` is a frame. */
function nextFrame(bytes: Buffer, from: number): number {
  const newline = bytes.indexOf("\n#", from);
  return newline === -1 ? -1 : newline + 1;
}
