// Records as text, and the hash chain over them: each hash covers the one before it, so a record that is missing,
// changed or out of place breaks the chain where it happened.
import { hash } from "node:crypto";
import type { LogRecord } from "./log.ts";

/** What the first record's hash covers. */
export const GENESIS = "0".repeat(64);
export const HASH_LENGTH = 64;

/** One record with its text and place in the chain. */
export interface ChainLink {
  seq: number;
  text: string;
  /** sha256 in hex over the previous hash and the text. */
  hash: string;
}

/** A record as JSON on one line, and the JSON of each mutation's value, made only once. */
export interface EncodedRecord {
  text: string;
  values: string[];
}

export function encodeRecord(record: LogRecord): EncodedRecord {
  const { seq, term, at, actor, mutations, idempotency } = record;
  const values: string[] = [];
  let list = "";
  for (const { key, value } of mutations) {
    const text = JSON.stringify(value);
    values.push(text);
    list += `${list === "" ? "" : ","}{"key":${JSON.stringify(key)},"value":${text}}`;
  }
  const head = `{"seq":${seq},"term":${term},"at":${JSON.stringify(at)},"actor":${JSON.stringify(actor)},"mutations":[${list}]`;
  return {
    text: idempotency === undefined ? `${head}}` : `${head},"idempotency":${JSON.stringify(idempotency)}}`,
    values,
  };
}

export function decodeRecord(text: string): LogRecord {
  return JSON.parse(text) as LogRecord;
}

export function chainHash(previous: string, text: string): string {
  return hash("sha256", previous + text, "hex");
}

/** A seq as 16 digits, so that text order is number order. */
export function paddedSeq(seq: number): string {
  return String(seq).padStart(16, "0");
}
