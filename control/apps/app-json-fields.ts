// Reading fields of a JSON file that a stranger wrote: each is of the kind asked for, or refused by its name in plain words.
import { Fault } from "#api/fault.ts";
import { EnvName, isProcessName } from "#api/schema.ts";

/** What JSON.parse gives; `undefined` for a field that is not there. */
export type Json = string | number | boolean | null | undefined | Json[] | { [name: string]: Json };
export type Note = (words: string) => void;

export const ENV_NAME = new RegExp(EnvName);

export const refuse = (where: string, words: string): Fault => new Fault("invalid", `app.json: ${where} ${words}`);

/** A word of the file as it may be shown: short, and printable. */
export const plainWord = (word: string, most = 60): string => {
  const plain = word.slice(0, most).replaceAll(/[^\x20-\x7e]/g, "?");
  return word.length > most ? `${plain}...` : plain;
};

export function record(value: Json, where: string): Record<string, Json> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw refuse(where, "is to be an object: {...}");
  return value;
}

export function text(value: Json, where: string, most: number): string {
  if (typeof value !== "string") throw refuse(where, "is to be text in quotes");
  if (value.length > most) throw refuse(where, `is longer than ${most} characters`);
  if (value.includes("\0")) throw refuse(where, "holds a NUL character");
  return value;
}

export function whole(value: Json, where: string, least: number, most: number): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most)
    throw refuse(where, `is to be a whole number from ${least} to ${most}`);
  return value;
}

/** Made small as in a Procfile; refused when it is no name of a process type. */
export function processName(written: string, where: string, note: Note): string {
  const name = written.toLowerCase();
  if (!isProcessName(name))
    throw refuse(where, "is no process type: 1-30 of a-z, 0-9, - and _, beginning with a letter");
  if (name !== written) note(`${where} is read as ${name}`);
  return name;
}
