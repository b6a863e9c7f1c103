// Docker's log stream: 8-byte headers (stream, 0, 0, 0, length) before each entry, and a timestamp before each text.
// An entry is at most 16 KiB; a longer line comes as several entries, and so as several lines here, all but the last `partial`. Docker
// cuts between bytes: a character that is cut goes with the piece that ends it.
import { toMicroseconds } from "#lib/time.ts";
import type { EngineLogLine } from "./engine.ts";
import { repeats } from "./log-repeats.ts";

const HEADER_BYTES = 8;
const FULL_ENTRY_BYTES = 16 << 10;
const MAX_ENTRY_BYTES = 4 << 20;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;

export async function* parseLogFrames(chunks: AsyncIterable<Buffer>): AsyncGenerator<EngineLogLine> {
  let pending: Buffer = Buffer.alloc(0);
  const streams = { stdout: pieces("stdout"), stderr: pieces("stderr") };
  for await (const chunk of chunks) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    let at = 0;
    while (pending.length - at >= HEADER_BYTES) {
      const length = pending.readUInt32BE(at + 4);
      if (length > MAX_ENTRY_BYTES) throw new Error(`log entry of ${length} bytes: the stream is out of step`);
      if (pending.length - at < HEADER_BYTES + length) break;
      const stream = pending[at] === 2 ? "stderr" : "stdout";
      const entry = pending.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length);
      at += HEADER_BYTES + length;
      const line = streams[stream](entry);
      if (line !== undefined) yield line;
    }
    pending = pending.subarray(at);
  }
}

/** Entries of one stream to lines; undefined for one that came before. */
function pieces(stream: EngineLogLine["stream"]): (entry: Buffer) => EngineLogLine | undefined {
  const isRepeated = repeats();
  let cut: Buffer = Buffer.alloc(0);
  return (entry) => {
    const space = entry.indexOf(SPACE);
    const time = entry.toString("latin1", 0, Math.max(0, space));
    const text = entry.subarray(space + 1);
    const ends = text.at(-1) === NEWLINE;
    // The last line of a process may lack its newline too; only a full entry without one is a piece.
    const partial = !ends && text.length >= FULL_ENTRY_BYTES;
    if (isRepeated(time, text, partial)) return undefined;
    const whole = cut.length === 0 ? text : Buffer.concat([cut, text]);
    const keep = partial ? incompleteBytes(whole) : 0;
    cut = Buffer.from(whole.subarray(whole.length - keep));
    const end = ends ? whole.length - (whole.at(-2) === RETURN ? 2 : 1) : whole.length - keep;
    const line = whole.toString("utf8", 0, end);
    return { at: toMicroseconds(time), stream, line, ...(partial ? { partial } : {}) };
  };
}

/** How many bytes at the end are the beginning of a UTF-8 character (RFC 3629) that goes on after them. */
export function incompleteBytes(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}
