// Docker's log stream: 8-byte headers (stream, 0, 0, 0, length) before each entry, and a timestamp before each text.
// An entry is at most 16 KiB; a longer line comes as several entries, and so as several lines here, all but the last `partial`.
import { toMicroseconds } from "#lib/time.ts";
import type { EngineLogLine } from "./engine.ts";

const HEADER_BYTES = 8;
const FULL_ENTRY_BYTES = 16 << 10;
const MAX_ENTRY_BYTES = 4 << 20;

export async function* parseLogFrames(chunks: AsyncIterable<Buffer>): AsyncGenerator<EngineLogLine> {
  let pending: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    let at = 0;
    while (pending.length - at >= HEADER_BYTES) {
      const length = pending.readUInt32BE(at + 4);
      if (length > MAX_ENTRY_BYTES) throw new Error(`log entry of ${length} bytes: the stream is out of step`);
      if (pending.length - at < HEADER_BYTES + length) break;
      const stream = pending[at] === 2 ? "stderr" : "stdout";
      const text = pending.toString("utf8", at + HEADER_BYTES, at + HEADER_BYTES + length);
      at += HEADER_BYTES + length;
      yield parseEntry(stream, text);
    }
    pending = pending.subarray(at);
  }
}

function parseEntry(stream: EngineLogLine["stream"], text: string): EngineLogLine {
  const space = text.indexOf(" ");
  const rest = text.slice(space + 1);
  const line = rest.replace(/\r?\n$/, "");
  // The last line of a process may lack its newline too; only a full entry without one is a piece.
  const partial = !rest.endsWith("\n") && Buffer.byteLength(rest) >= FULL_ENTRY_BYTES;
  return { at: toMicroseconds(text.slice(0, space)), stream, line, ...(partial ? { partial } : {}) };
}
