// The head of what `git push` sends (gitprotocol-pack(5), "Reference Update Request"): pkt-lines, one per ref, until a flush,
// then the pack. The gate lets bytes through as they come and ends a push of too many refs before git holds them in memory.
import { Transform } from "node:stream";
import { Fault } from "#api/fault.ts";

export interface CommandGate {
  /** Ends for its reader at a refusal, and goes on swallowing what the client sends: only so it hears the words. */
  stream: Transform;
  refused(): Fault | undefined;
  /** What the client can be told, as it said in its first line. */
  capabilities(): ReadonlySet<string>;
}

const LENGTH_BYTES = 4;
const LINE_MOST_BYTES = 65_520;

export function commandGate(most: number): CommandGate {
  let kept: Buffer = Buffer.alloc(0);
  let count = 0;
  let open = true;
  let offered: ReadonlySet<string> = new Set();
  let refused: Fault | undefined;

  /** Looks at every whole line; throws on what no git sends. */
  const look = (chunk: Buffer): void => {
    kept = Buffer.concat([kept, chunk]);
    let at = 0;
    while (open && kept.length - at >= LENGTH_BYTES) {
      const digits = kept.toString("latin1", at, at + LENGTH_BYTES);
      const length = /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1;
      if (length === 0) open = false;
      else if (length <= LENGTH_BYTES || length > LINE_MOST_BYTES)
        throw new Fault("invalid", "this is not what git push sends: a line has no sound length");
      else if (kept.length - at < length) break;
      else if (++count > most)
        throw new Fault("too-large", `a push of more than ${most} refs; push the deploy branch alone`);
      else if (count === 1) offered = capabilitiesOf(kept.subarray(at + LENGTH_BYTES, at + length));
      at += length === 0 ? LENGTH_BYTES : length;
    }
    kept = open ? kept.subarray(at) : Buffer.alloc(0);
  };

  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (refused) return done();
      try {
        if (open) look(chunk);
        done(null, chunk);
      } catch (error) {
        refused = error as Fault;
        this.push(null);
        done();
      }
    },
  });
  return { stream, refused: () => refused, capabilities: () => offered };
}

function capabilitiesOf(line: Buffer): ReadonlySet<string> {
  const nul = line.indexOf(0);
  return new Set(
    nul < 0
      ? []
      : line
          .toString("utf8", nul + 1)
          .trim()
          .split(" "),
  );
}

export const pktLine = (payload: Buffer): Buffer =>
  Buffer.concat([Buffer.from((payload.length + LENGTH_BYTES).toString(16).padStart(4, "0")), payload]);
const FLUSH = Buffer.from("0000");

/** The answer of a receive-pack that takes nothing, for a client with these capabilities: the words, then the refusal. */
export function refusal(capabilities: ReadonlySet<string>, text: string): Buffer {
  const report = Buffer.concat([pktLine(Buffer.from(`unpack ${text.slice(0, 900)}\n`)), FLUSH]);
  if (!capabilities.has("side-band-64k")) return report;
  const words = Buffer.from(`\u0002 !     ${text.slice(0, 900)}\n`);
  return Buffer.concat([pktLine(words), pktLine(Buffer.concat([Buffer.of(1), report])), FLUSH]);
}
