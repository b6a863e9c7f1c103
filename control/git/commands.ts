// The head of what `git push` sends (gitprotocol-pack(5), "Reference Update Request"): pkt-lines, one per ref, until a flush,
// then the pack. The gate lets whole lines and the pack through as they come and ends a push of too many refs before git holds them
// in memory. Lines of a shallow clone (gitprotocol-pack(5), `shallow`) are kept from git and told to control: `shallow.ts`.
import { Transform } from "node:stream";
import { Fault } from "#api/fault.ts";

export interface CommandGate {
  /** Ends for its reader at a refusal, and goes on swallowing what the client sends: only so it hears the words. */
  stream: Transform;
  refused(): Fault | undefined;
  /** Ends it as a refusal of its own does. */
  refuse(fault: Fault): void;
  /** What the client can be told, as it said in its first line. */
  capabilities(): ReadonlySet<string>;
}

const LENGTH_BYTES = 4;
const LINE_MOST_BYTES = 65_520;

export interface GateOptions {
  /** Hears of bytes before they pass; rejects with what the push is ended with when they may not. */
  admit: (bytes: number) => Promise<void>;
  onRefused?: () => void;
  /**
   * The commits that the client's history ends with (a clone of some depth): git does not hear of them in the stream, and reads no
   * further before this resolves.
   */
  onShallow?: undefined | ((commits: readonly string[]) => Promise<void>);
}

const NO_BOUNDS: GateOptions = {
  admit: async () => undefined,
};
const SHALLOW_MOST = 100;

/** `most`: refs. */
export function commandGate(most: number, options: GateOptions = NO_BOUNDS): CommandGate {
  let kept: Buffer = Buffer.alloc(0);
  let count = 0;
  let open = true;
  let offered: ReadonlySet<string> = new Set();
  let refused: Fault | undefined;
  let ended = false;
  let shallow: string[] = [];

  /** The whole lines, for git; throws on what no git sends. */
  const look = (chunk: Buffer): Buffer => {
    kept = Buffer.concat([kept, chunk]);
    const lines: Buffer[] = [];
    let at = 0;
    while (open && kept.length - at >= LENGTH_BYTES) {
      const digits = kept.toString("latin1", at, at + LENGTH_BYTES);
      const length = /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1;
      if (length === 0) open = false;
      else if (length <= LENGTH_BYTES || length > LINE_MOST_BYTES)
        throw new Fault("invalid", "this is not what git push sends: a line has no sound length");
      else if (kept.length - at < length) break;
      const end = at + (length === 0 ? LENGTH_BYTES : length);
      const line = kept.subarray(at + LENGTH_BYTES, end);
      const [, commit] = /^shallow ([0-9a-f]{40}|[0-9a-f]{64})\n?$/.exec(line.toString("latin1", 0, 80)) ?? [];
      if (commit !== undefined && count === 0) {
        if (shallow.push(commit) > SHALLOW_MOST)
          throw new Fault(
            "too-large",
            "this clone is shallow in too many places: git fetch --unshallow, then push again",
          );
      } else {
        if (length > 0 && ++count > most)
          throw new Fault("too-large", `a push of more than ${most} refs; push the deploy branch alone`);
        if (length > 0 && count === 1) offered = capabilitiesOf(line);
        lines.push(kept.subarray(at, end));
      }
      at = end;
    }
    if (!open) lines.push(kept.subarray(at));
    kept = open ? kept.subarray(at) : Buffer.alloc(0);
    return Buffer.concat(lines);
  };
  const pass = async (chunk: Buffer): Promise<Buffer> => {
    const bytes = open ? look(chunk) : chunk;
    if (shallow.length > 0 && (count > 0 || !open)) {
      const commits = shallow;
      shallow = [];
      await options.onShallow?.(commits);
    }
    await options.admit(chunk.length);
    return bytes;
  };

  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (refused) return done();
      pass(chunk).then(
        (bytes) => (refused || bytes.length === 0 ? done() : done(null, bytes)),
        (error: unknown) => {
          refuse(error as Fault);
          done();
        },
      );
    },
    flush(done) {
      ended = true;
      // What is no whole line is git's to judge.
      done(null, refused || kept.length === 0 ? undefined : kept);
    },
  });
  const refuse = (fault: Fault): void => {
    if (refused || ended) return;
    refused = fault;
    stream.push(null);
    options.onRefused?.();
  };
  return { stream, refuse, refused: () => refused, capabilities: () => offered };
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
