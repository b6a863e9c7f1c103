// Pieces of large files, read once for all readers that are at the same place: constant memory however many there are.
import type { FileHandle } from "node:fs/promises";

export const CHUNK_BYTES = 1 << 20;

export interface ChunkCache {
  /** Piece `index` of the file; `key` names its content, so that readers of different handles share it. */
  read(key: string, file: FileHandle, index: number, sizeBytes: number): Promise<Buffer>;
  readonly sizeBytes: number;
}

/** Keeps the most recently used pieces, at most `maxBytes` of them. */
export function chunkCache({ maxBytes }: { maxBytes: number }): ChunkCache {
  const pieces = new Map<string, Promise<Buffer>>();
  const maxPieces = Math.max(2, Math.floor(maxBytes / CHUNK_BYTES));
  return {
    get sizeBytes() {
      return pieces.size * CHUNK_BYTES;
    },
    read(key, file, index, sizeBytes) {
      const name = `${key}:${index}`;
      const kept = pieces.get(name);
      const piece = kept ?? readPiece(file, index, sizeBytes);
      if (kept) pieces.delete(name);
      else piece.catch(() => pieces.delete(name));
      pieces.set(name, piece);
      if (pieces.size > maxPieces) pieces.delete(pieces.keys().next().value!);
      return piece;
    },
  };
}

async function readPiece(file: FileHandle, index: number, sizeBytes: number): Promise<Buffer> {
  const start = index * CHUNK_BYTES;
  const length = Math.min(CHUNK_BYTES, sizeBytes - start);
  const piece = Buffer.allocUnsafeSlow(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(piece, done, length - done, start + done);
    if (bytesRead === 0) throw new Error(`file ends at ${start + done} of ${sizeBytes} bytes`);
    done += bytesRead;
  }
  return piece;
}
