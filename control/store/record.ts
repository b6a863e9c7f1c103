// Records as text. Each value's JSON is made once and used twice: in the record and in the row of the view.
import type { Json, LogRecord } from "./log.ts";

/** A record as JSON on one line, and the JSON of each mutation's value. */
export interface EncodedRecord {
  text: string;
  values: string[];
}

/** What surrounds the values is the same from one record to the next, so only what changes is made anew. */
export function encodeRecord(record: LogRecord, ready?: readonly string[]): EncodedRecord {
  const { seq, term, at, actor, mutations, idempotency } = record;
  const values: string[] = [];
  let list = "";
  for (let index = 0; index < mutations.length; index++) {
    const { key, value } = mutations[index]!;
    const text = ready?.[index] ?? jsonText(value);
    values.push(text);
    list += `${index === 0 ? "" : ","}{"key":${JSON.stringify(key)},"value":${text}}`;
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

/** A seq as 16 digits, so that text order is number order. */
export function paddedSeq(seq: number): string {
  return String(seq).padStart(16, "0");
}

function jsonText(value: Json): string {
  return JSON.stringify(value);
}
