// What git and its proc-receive hook say to one another (githooks(5)): pkt-lines; the version, then the commands, then what became
// of each. With this hook it is the hook that moves refs, and git tells its client what the hook reports.
import type { Readable } from "node:stream";
import { pktLine } from "./commands.ts";
import type { Update } from "./updates.ts";
import { parseUpdates } from "./updates.ts";

const LENGTH_BYTES = 4;
const MOST_BYTES = 1 << 20;
const FLUSH = Buffer.from("0000");

/** Lines until a flush, each without its end; throws on what no git sends. */
export type Section = () => Promise<string[]>;

export function pktSections(input: Readable): Section {
  const chunks = (input.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  let kept: Buffer = Buffer.alloc(0);
  const fill = async (bytes: number): Promise<void> => {
    while (kept.length < bytes) {
      const { value, done } = await chunks.next();
      if (done) throw new Error("git ended before it had said everything");
      kept = Buffer.concat([kept, value as Buffer]);
    }
  };
  return async () => {
    const lines: string[] = [];
    for (let size = 0; size < MOST_BYTES; ) {
      await fill(LENGTH_BYTES);
      const digits = kept.toString("latin1", 0, LENGTH_BYTES);
      const length = /^[0-9a-f]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1;
      if (length !== 0 && length <= LENGTH_BYTES) throw new Error("git sent a line of no sound length");
      await fill(Math.max(length, LENGTH_BYTES));
      if (length > 0) lines.push(kept.toString("utf8", LENGTH_BYTES, length).replace(/\n$/, ""));
      kept = kept.subarray(Math.max(length, LENGTH_BYTES));
      if (length === 0) return lines;
      size += length;
    }
    throw new Error("git sent too much to its hook");
  };
}

/** The updates, once the version is agreed on. */
export async function receiveCommands(next: Section, answer: (bytes: Buffer) => void): Promise<Update[]> {
  const [version] = await next();
  if (!/^version=1(\0|$)/.test(version ?? "")) throw new Error("git speaks another version to its proc-receive hook");
  answer(Buffer.concat([pktLine(Buffer.from("version=1\n")), FLUSH]));
  const updates = parseUpdates((await next()).join("\n"));
  if (updates === undefined) throw new Error("git sent a command that is none");
  return updates;
}

export interface Outcome {
  ref: string;
  /** Left out: it moved. */
  refused?: string;
  /** Where the ref is, when that is not what was pushed. */
  at?: string;
}

export function report(outcomes: readonly Outcome[]): Buffer {
  const lines = outcomes.flatMap(({ ref, refused, at }) => {
    if (refused !== undefined) return [`ng ${ref} ${refused}`];
    return [`ok ${ref}`, ...(at === undefined ? [] : [`option new-oid ${at}`])];
  });
  return Buffer.concat([...lines.map((line) => pktLine(Buffer.from(`${line}\n`))), FLUSH]);
}
