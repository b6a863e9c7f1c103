// What control sends to a relay: one byte of kind, four of length (big-endian), the payload. Node's own modules only: the
// relay is started alone, as git's hook and as sshd's forced command.
export const KIND = { stdout: 1, stderr: 2, exit: 3 } as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

const HEAD_BYTES = 5;
const PAYLOAD_MOST_BYTES = 1 << 20;

export function frame(kind: Kind, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(kind, 0);
  head.writeUInt32BE(payload.length, 1);
  return Buffer.concat([head, payload]);
}

export const exitFrame = (code: number): Buffer => frame(KIND.exit, Uint8Array.of(code & 0xff));

/** Takes bytes as they arrive, gives the frames that are whole; throws on one that no control sends. */
export function frameReader(): (chunk: Uint8Array) => { kind: number; payload: Buffer }[] {
  let kept: Buffer = Buffer.alloc(0);
  return (chunk) => {
    kept = kept.length === 0 ? Buffer.from(chunk) : Buffer.concat([kept, chunk]);
    const frames: { kind: number; payload: Buffer }[] = [];
    while (kept.length >= HEAD_BYTES) {
      const length = kept.readUInt32BE(1);
      if (length > PAYLOAD_MOST_BYTES) throw new Error(`a frame of ${length} bytes`);
      if (kept.length < HEAD_BYTES + length) break;
      frames.push({ kind: kept[0]!, payload: kept.subarray(HEAD_BYTES, HEAD_BYTES + length) });
      kept = kept.subarray(HEAD_BYTES + length);
    }
    return frames;
  };
}
