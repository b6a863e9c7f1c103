// Bounds on bytes that stream by: so many as sent, so many once unpacked, and so many for each that was sent. What goes beyond ends
// the stream with words before it reaches the disk.
import { Transform } from "node:stream";
import { Fault } from "#api/fault.ts";
import { formatSize } from "#lib/units.ts";

export interface Counted {
  stream: Transform;
  /** Bytes that went through. */
  passed(): number;
}

/** Passes at most so many bytes, and says what it is of which there was more. */
export function atMost(mostBytes: number, fault: () => Fault): Counted {
  let passed = 0;
  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      passed += chunk.length;
      done(passed > mostBytes ? fault() : null, chunk);
    },
  });
  return { stream, passed: () => passed };
}

export interface UnpackLimits {
  /** Bytes it may unpack to for each byte it was packed in, once it unpacks to more than `freeBytes`. */
  ratio: number;
  freeBytes: number;
}

export const isBomb = ({ ratio, freeBytes }: UnpackLimits, packedBytes: number, unpackedBytes: number): boolean =>
  unpackedBytes > freeBytes && unpackedBytes > ratio * packedBytes;

export const bombFault = (what: string, { ratio, freeBytes }: UnpackLimits): Fault =>
  new Fault(
    "too-large",
    `${what} unpacks to more than ${ratio} times what it was packed in, and to more than ${formatSize(freeBytes)}: take out files that are all zeros or one line again and again`,
  );

/** Passes what is unpacked as long as that is no bomb; `packedBytes` is asked at each chunk. */
export function noBomb(what: string, limits: UnpackLimits, packedBytes: () => number): Transform {
  let passed = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      passed += chunk.length;
      done(isBomb(limits, packedBytes(), passed) ? bombFault(what, limits) : null, chunk);
    },
  });
}
