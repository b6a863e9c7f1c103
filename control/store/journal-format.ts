// The journal's bytes: a segment is a header line, then one frame per commit group: `#<first seq> <records> <bytes> <chain
// hash after>` and the records, one line each. The chain hash verifies a frame and its place. Pure.
import { type ChainLink, chainHash, HASH_LENGTH } from "./record.ts";

export interface SegmentHeader {
  format: 1;
  id: string;
  term: number;
  firstSeq: number;
  /** Chain hash of record `firstSeq - 1`. */
  baseHash: string;
}

export interface Scan {
  header: SegmentHeader | undefined;
  links: ChainLink[];
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

export function encodeHeader(header: SegmentHeader): string {
  return `${JSON.stringify(header)}\n`;
}

export function encodeFrame(firstSeq: number, texts: readonly string[], hashAfter: string): Buffer {
  const payload = Buffer.from(`${texts.join("\n")}\n`);
  const head = Buffer.from(`#${firstSeq} ${texts.length} ${payload.length} ${hashAfter}\n`);
  return Buffer.concat([head, payload]);
}

const FRAME = new RegExp(`^#(\\d{1,16}) (\\d{1,7}) (\\d{1,10}) ([0-9a-f]{${HASH_LENGTH}})$`);
const NEWLINE = 10;
const HASH_SIGN = 35;

export function scanSegment(bytes: Buffer): Scan {
  const headerEnd = bytes.indexOf(NEWLINE);
  const header = headerEnd === -1 ? undefined : parseHeader(bytes.toString("utf8", 0, headerEnd));
  const scan: Scan = {
    header,
    links: [],
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

/** Adds the frame at `soundBytes` to the scan; false when it does not verify. */
function readFrame(bytes: Buffer, scan: Scan): boolean {
  const lineEnd = bytes.indexOf(NEWLINE, scan.soundBytes);
  if (lineEnd === -1 || lineEnd - scan.soundBytes > 128) return false;
  const match = FRAME.exec(bytes.toString("latin1", scan.soundBytes, lineEnd));
  if (match === null || Number(match[1]) !== scan.headSeq + 1) return false;
  const end = lineEnd + 1 + Number(match[3]);
  if (end > bytes.length || bytes[end - 1] !== NEWLINE) return false;
  const texts = bytes.toString("utf8", lineEnd + 1, end - 1).split("\n");
  if (texts.length !== Number(match[2])) return false;
  const links: ChainLink[] = [];
  let hash = scan.headHash;
  let seq = scan.headSeq;
  for (const text of texts) {
    hash = chainHash(hash, text);
    links.push({ seq: ++seq, text, hash });
  }
  if (hash !== match[4]) return false;
  for (const link of links) scan.links.push(link);
  scan.lastFrameSeq = scan.headSeq + 1;
  scan.headSeq = seq;
  scan.headHash = hash;
  scan.soundBytes = end;
  return true;
}

function parseHeader(line: string): SegmentHeader | undefined {
  try {
    const header = JSON.parse(line) as SegmentHeader;
    return header.format === 1 && Number.isSafeInteger(header.firstSeq) ? header : undefined;
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
    const line = bytes.toString("latin1", at, at + 128).split("\n", 1)[0]!;
    const match = FRAME.exec(line);
    if (match !== null) claimed = Math.max(claimed, Number(match[1]) + Number(match[2]) - 1);
  }
  return claimed;
}

/** Records are JSON objects, so a line that starts with `#` is a frame. */
function nextFrame(bytes: Buffer, from: number): number {
  const newline = bytes.indexOf("\n#", from);
  return newline === -1 ? -1 : newline + 1;
}
