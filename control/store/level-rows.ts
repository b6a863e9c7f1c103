// Rows in LevelDB: `l/<last seq>` the frame of one commit group, `v/<key>` a view entry, `m` the head. LevelDB does not verify
// its block checksums on reads, so view rows and the head carry their own, and the head a digest over the whole view.
import { randomUUID } from "node:crypto";
import { crc32 } from "node:zlib";
import { GENESIS } from "./frame.ts";
import { paddedSeq } from "./record.ts";

export const HEAD_ROW = "m";
export const LOG_ROWS = { gte: "l/", lt: "l0" };
export const VIEW_ROWS = { gte: "v/", lt: "v0" };
const FORMAT = 2;

/** Number of rows and the sum of their checksums: what a missing, extra or stale row changes. */
export interface ViewDigest {
  count: number;
  sum: number;
}

export interface Head {
  format: number;
  /** Of this log, made once: copies of different logs are never mixed. */
  id: string;
  seq: number;
  /** Hash of the frame that ends with record `seq`. */
  hash: string;
  term: number;
  /** The oldest record that is kept. */
  oldestSeq: number;
  /** First record of the frame that holds it, the oldest frame there is. */
  baseSeq: number;
  /** Hash of the frame before that one. */
  baseHash: string;
  view: ViewDigest;
}

export function emptyHead(): Head {
  return {
    format: FORMAT,
    id: randomUUID(),
    seq: 0,
    hash: GENESIS,
    term: 0,
    oldestSeq: 1,
    baseSeq: 1,
    baseHash: GENESIS,
    view: { count: 0, sum: 0 },
  };
}

/** Under its last seq, so that the first row at or after a seq is the one that holds it. */
export const logKey = (lastSeq: number): string => `l/${paddedSeq(lastSeq)}`;
export const viewKey = (key: string): string => `v/${key}`;

/** `<checksum> <version> <value>`; the checksum, as a signed 32-bit integer (a small one to V8), also goes into the digest. */
export function viewRow(key: string, version: number, valueText: string): { row: string; check: number } {
  const body = `${version} ${valueText}`;
  const check = crc32(`${key}\n${body}`) | 0;
  return { row: `${check} ${body}`, check };
}

/** Undefined when the row's checksum does not match. */
export function parseViewRow(
  key: string,
  row: string,
): { version: number; valueText: string; check: number } | undefined {
  const bodyAt = row.indexOf(" ") + 1;
  const body = row.slice(bodyAt);
  const check = crc32(`${key}\n${body}`) | 0;
  if (bodyAt === 0 || row.slice(0, bodyAt - 1) !== String(check)) return undefined;
  const space = body.indexOf(" ");
  return { version: Number(body.slice(0, space)), valueText: body.slice(space + 1), check };
}

export function headRow(head: Head): string {
  const body = JSON.stringify(head);
  return hex(crc32(body)) + body;
}

/** Undefined when damaged; throws when written by another release. */
export function parseHead(row: string): Head | undefined {
  const body = row.slice(8);
  if (row.slice(0, 8) !== hex(crc32(body))) return undefined;
  const head = JSON.parse(body) as Head;
  if (head.format !== FORMAT) throw new Error(`state is of format ${head.format}; this release reads format ${FORMAT}`);
  return head;
}

const SUM_RANGE = 2 ** 48;

export function addRow(digest: ViewDigest, check: number): void {
  digest.count++;
  const sum = digest.sum + (check >>> 0);
  digest.sum = sum < SUM_RANGE ? sum : sum - SUM_RANGE;
}

export function removeRow(digest: ViewDigest, check: number): void {
  digest.count--;
  const sum = digest.sum - (check >>> 0);
  digest.sum = sum < 0 ? sum + SUM_RANGE : sum;
}

function hex(check: number): string {
  return (check >>> 0).toString(16).padStart(8, "0");
}
