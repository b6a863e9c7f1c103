// Pieces of large files in buffers that are made once and used again: read once for all readers at the same place, and held
// only while somebody sends them. Memory is the cache's, however many readers there are and however slow.
import type { FileHandle } from "node:fs/promises";

export const CHUNK_BYTES = 1 << 19;
/** What a reader gets for itself when every buffer of the cache is in use. */
const PRIVATE_BYTES = 1 << 16;

export interface Piece {
  bytes: Buffer;
  /** To be called once the bytes have left. */
  release(): void;
}

export interface ChunkCache {
  /**
   * Bytes of the file from `offset` to at most the end of its piece; `key` names the content, so that readers of different
   * handles share it.
   */
  take(key: string, file: FileHandle, offset: number, sizeBytes: number): Promise<Piece>;
  /** Bytes of memory the buffers hold. */
  readonly sizeBytes: number;
}

interface Slot {
  name: string;
  buffer: Buffer;
  users: number;
  filled: Promise<void>;
}

export function chunkCache({ maxBytes }: { maxBytes: number }): ChunkCache {
  const maxSlots = Math.max(4, Math.floor(maxBytes / CHUNK_BYTES));
  /** Least recently taken first. */
  const slots = new Map<string, Slot>();
  /** Buffers whose content is nobody's. */
  const idle: Buffer[] = [];
  let made = 0;

  /** A buffer to fill: an idle one, a new one, else that of the piece longest unused; undefined when all are in use. */
  function freeBuffer(): Buffer | undefined {
    const spare = idle.pop();
    if (spare) return spare;
    if (made < maxSlots) {
      made++;
      return Buffer.allocUnsafeSlow(CHUNK_BYTES);
    }
    for (const slot of slots.values()) {
      if (slot.users > 0) continue;
      slots.delete(slot.name);
      return slot.buffer;
    }
    return undefined;
  }

  function find(name: string, file: FileHandle, start: number, length: number): Slot | undefined {
    const kept = slots.get(name);
    if (kept) {
      slots.delete(name);
      slots.set(name, kept);
      return kept;
    }
    const buffer = freeBuffer();
    if (buffer === undefined) return undefined;
    const slot: Slot = { name, buffer, users: 0, filled: fill(file, buffer, start, length) };
    slots.set(name, slot);
    return slot;
  }

  return {
    get sizeBytes() {
      return made * CHUNK_BYTES;
    },
    async take(key, file, offset, sizeBytes) {
      const start = offset - (offset % CHUNK_BYTES);
      const length = Math.min(CHUNK_BYTES, sizeBytes - start);
      const slot = find(`${key}:${start}`, file, start, length);
      if (slot === undefined) {
        const bytes = Buffer.allocUnsafeSlow(Math.min(PRIVATE_BYTES, start + length - offset));
        await fill(file, bytes, offset, bytes.length);
        return { bytes, release: () => undefined };
      }
      slot.users++;
      const release = () => {
        slot.users--;
      };
      try {
        await slot.filled;
      } catch (error) {
        release();
        if (slots.get(slot.name) === slot) {
          slots.delete(slot.name);
          idle.push(slot.buffer); // its read has ended, if in failure
        }
        throw error;
      }
      return { bytes: slot.buffer.subarray(offset - start, length), release };
    },
  };
}

async function fill(file: FileHandle, buffer: Buffer, start: number, length: number): Promise<void> {
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(buffer, done, length - done, start + done);
    if (bytesRead === 0) throw new Error(`file ends at ${start + done}, before the ${length} bytes from ${start}`);
    done += bytesRead;
  }
}
