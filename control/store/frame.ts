// A frame: the records of one commit group as one run of bytes, the same in the journal and in LevelDB. `#<first seq>
// <records> <bytes> <hash before>`, the records one line each, then the frame's own hash: sha256 over all of the frame
// before it. A frame verifies by itself, and each names the one before it, so a record that is missing, changed or out of
// place breaks the chain where it happened. Pure.
import { hash } from "node:crypto";

/** What the first frame names as the one before it. */
export const GENESIS = "0".repeat(64);
const HASH_LENGTH = 64;
const TRAILER_BYTES = HASH_LENGTH + 1;
const MAX_HEAD_BYTES = 128;
const NEWLINE = 10;
const HEAD = new RegExp(`^#(\\d{1,16}) (\\d{1,7}) (\\d{1,10}) ([0-9a-f]{${HASH_LENGTH}})$`);

export interface Frame {
  firstSeq: number;
  lastSeq: number;
  /** Hash of the frame before it. */
  before: string;
  hash: string;
  bytes: Buffer;
}

/** What a frame's first line says of it, true or not. */
export interface FrameHead {
  firstSeq: number;
  count: number;
  payloadBytes: number;
  before: string;
  /** Where the records begin. */
  payloadAt: number;
}

/** `lines` are the records, each ended by a newline. */
export function encodeFrame(firstSeq: number, count: number, lines: string, before: string): Frame {
  const payloadBytes = Buffer.byteLength(lines);
  const head = `#${firstSeq} ${count} ${payloadBytes} ${before}\n`;
  const hashAt = head.length + payloadBytes;
  const bytes = Buffer.allocUnsafe(hashAt + TRAILER_BYTES);
  bytes.write(head, 0, "latin1");
  bytes.write(lines, head.length, "utf8");
  const own = hash("sha256", bytes.subarray(0, hashAt), "hex");
  bytes.write(`${own}\n`, hashAt, "latin1");
  return { firstSeq, lastSeq: firstSeq + count - 1, before, hash: own, bytes };
}

/** The frame at this place; undefined when it does not verify. */
export function parseFrame(bytes: Buffer, at = 0): Frame | undefined {
  const head = parseFrameHead(bytes, at);
  if (head === undefined) return undefined;
  const { firstSeq, count, payloadBytes, before, payloadAt } = head;
  const hashAt = payloadAt + payloadBytes;
  const end = hashAt + TRAILER_BYTES;
  if (count === 0 || end > bytes.length || bytes[end - 1] !== NEWLINE || bytes[hashAt - 1] !== NEWLINE)
    return undefined;
  const own = hash("sha256", bytes.subarray(at, hashAt), "hex");
  if (own !== bytes.toString("latin1", hashAt, hashAt + HASH_LENGTH)) return undefined;
  return { firstSeq, lastSeq: firstSeq + count - 1, before, hash: own, bytes: bytes.subarray(at, end) };
}

export function parseFrameHead(bytes: Buffer, at: number): FrameHead | undefined {
  const lineEnd = bytes.subarray(at, at + MAX_HEAD_BYTES).indexOf(NEWLINE);
  const match = lineEnd === -1 ? null : HEAD.exec(bytes.toString("latin1", at, at + lineEnd));
  if (match === null) return undefined;
  return {
    firstSeq: Number(match[1]),
    count: Number(match[2]),
    payloadBytes: Number(match[3]),
    before: match[4]!,
    payloadAt: at + lineEnd + 1,
  };
}

/** The records' texts, in seq order; throws when there are not as many as the frame says. */
export function frameTexts({ bytes, firstSeq, lastSeq }: Frame): string[] {
  const from = bytes.indexOf(NEWLINE) + 1;
  const texts = bytes.toString("utf8", from, bytes.length - TRAILER_BYTES - 1).split("\n");
  if (texts.length !== lastSeq - firstSeq + 1)
    throw new Error(
      `the group at record ${firstSeq} holds ${texts.length} records instead of ${lastSeq - firstSeq + 1}`,
    );
  return texts;
}
