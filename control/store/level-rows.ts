// Rows in LevelDB: `l/<seq>` a record with its chain hash, `v/<key>` a view entry, `m` the head. LevelDB does not verify
// its block checksums on reads, so view rows and the head carry their own, and the head a digest over the whole view.
import { crc32 } from "node:zlib";
import { type ChainLink, HASH_LENGTH, paddedSeq } from "./record.ts";

export const HEAD_ROW = "m";
export const LOG_ROWS = { gte: "l/", lt: "l0" };
export const VIEW_ROWS = { gte: "v/", lt: "v0" };
const FORMAT = 1;

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
  /** Chain hash of record `seq`. */
  hash: string;
  term: number;
  oldestSeq: number;
  /** Chain hash of record `oldestSeq - 1`. */
  baseHash: string;
  view: ViewDigest;
}

export const logKey = (seq: number): string => `l/${paddedSeq(seq)}`;
export const viewKey = (key: string): string => `v/${key}`;
export const logRow = (link: ChainLink): string => link.hash + link.text;

export function parseLogRow(key: string, row: string): ChainLink {
  return { seq: Number(key.slice(2)), hash: row.slice(0, HASH_LENGTH), text: row.slice(HASH_LENGTH) };
}

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

export function headRow(head: Omit<Head, "format">): string {
  const body = JSON.stringify({ format: FORMAT, ...head });
  return hex(crc32(body)) + body;
}

/** Undefined when damaged; throws when written by a newer release. */
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
  digest.sum = (digest.sum + (check >>> 0)) % SUM_RANGE;
}

export function removeRow(digest: ViewDigest, check: number): void {
  digest.count--;
  digest.sum = (digest.sum - (check >>> 0) + SUM_RANGE) % SUM_RANGE;
}

function hex(check: number): string {
  return (check >>> 0).toString(16).padStart(8, "0");
}
