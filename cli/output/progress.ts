// Progress of long waits on stderr: one line drawn over on a terminal, plain lines anywhere else. A terminal that says it has 0
// columns (serial consoles) gets plain lines too: spinners of libraries never end there.
import { Transform } from "node:stream";
import { formatDuration, formatSize } from "#lib/units.ts";
import type { Cli } from "../parse/command.ts";
import { plain } from "./text.ts";

export interface Progress {
  /** What it is doing now. Said once, however often it is told. */
  step(text: string): void;
  /** The same on a terminal, and nothing elsewhere: for what a line says already. */
  doing(text: string): void;
  /** Bytes done, of a total when that is known. */
  bytes(text: string, doneBytes: number, totalBytes?: number): void;
  /** A line that stays. */
  line(text: string): void;
  /** Takes the drawn line away and stops. */
  end(): void;
}

const FRAMES = ["|", "/", "-", "\\"];
const FRAME_MS = 120;
const PLAIN_EVERY_MS = 5_000;
const BAR_WIDTH = 24;
/** Before that a rate says more of the first buffers than of the way. */
const RATE_AFTER_MS = 1_000;

export function progress(cli: Pick<Cli, "say" | "draw" | "terminal">, now = () => performance.now()): Progress {
  return cli.terminal.err && cli.terminal.errColumns > 0 ? drawn(cli, now) : lines(cli, now);
}

function lines({ say }: Pick<Cli, "say">, now: () => number): Progress {
  let last = "";
  // What is over before anybody waits is not worth a line.
  let saidMs: number | undefined;
  let said = false;
  const rate = rateOf(now);
  return {
    step(text) {
      if (text !== last) say(plain(text));
      last = text;
    },
    doing: () => undefined,
    bytes(text, doneBytes, totalBytes) {
      const bytesPerS = rate(text, doneBytes);
      saidMs ??= now();
      const isLast = said && doneBytes === totalBytes;
      if (now() - saidMs < PLAIN_EVERY_MS && !isLast) return;
      [saidMs, said] = [now(), true];
      say(`${plain(text)} ${amount(doneBytes, totalBytes, bytesPerS)}`);
    },
    line: (text) => say(plain(text)),
    end: () => undefined,
  };
}

function drawn({ say, draw, terminal }: Pick<Cli, "say" | "draw" | "terminal">, now: () => number): Progress {
  const startedMs = now();
  let text = "";
  let frame = 0;
  const rate = rateOf(now);
  const paintLine = () => {
    const shown = `${FRAMES[frame % FRAMES.length]} ${text} ${formatDuration(now() - startedMs)}`;
    if (text !== "") draw(`\r\x1b[K${shown.slice(0, terminal.errColumns - 1)}`);
  };
  const timer = setInterval(() => {
    frame++;
    paintLine();
  }, FRAME_MS);
  timer.unref();
  const draws = (next: string) => {
    text = plain(next);
    paintLine();
  };
  const clear = () => draw("\r\x1b[K");
  return {
    step: draws,
    doing: draws,
    bytes(what, doneBytes, totalBytes) {
      text = `${plain(what)} ${bar(doneBytes, totalBytes)}${amount(doneBytes, totalBytes, rate(what, doneBytes))}`;
    },
    line(next) {
      clear();
      say(plain(next));
      paintLine();
    },
    end() {
      clearInterval(timer);
      clear();
    },
  };
}

/** `12.3 MiB of 40 MiB (31 %), 8 MiB/s, 3.5s left`; without a total the bytes alone, without a rate no time. */
export function amount(doneBytes: number, totalBytes?: number, bytesPerS?: number): string {
  const total = totalBytes ? ` of ${formatSize(totalBytes)} (${Math.floor((100 * doneBytes) / totalBytes)} %)` : "";
  if (!bytesPerS) return `${formatSize(doneBytes)}${total}`;
  const leftBytes = totalBytes ? totalBytes - doneBytes : 0;
  const left = leftBytes > 0 ? `, ${formatDuration((leftBytes / bytesPerS) * 1_000)} left` : "";
  return `${formatSize(doneBytes)}${total}, ${formatSize(bytesPerS)}/s${left}`;
}

/** Bytes a second since this work began; undefined while that is too short to say. */
function rateOf(now: () => number): (what: string, doneBytes: number) => number | undefined {
  let begun: { what: string; ms: number; bytes: number } | undefined;
  return (what, doneBytes) => {
    if (begun?.what !== what) begun = { what, ms: now(), bytes: doneBytes };
    const tookMs = now() - begun.ms;
    return tookMs < RATE_AFTER_MS ? undefined : ((doneBytes - begun.bytes) * 1_000) / tookMs;
  };
}

/** Lets bytes through and shows them; `after` is what the other end does once it has them all. */
export function counting(
  shown: Pick<Progress, "bytes" | "doing">,
  { what, totalBytes, after }: { what: string; totalBytes?: number | undefined; after: string },
): Transform {
  let doneBytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      doneBytes += chunk.length;
      // A total that was passed was none: an image of Docker's is about as large as it said.
      shown.bytes(what, doneBytes, totalBytes !== undefined && totalBytes >= doneBytes ? totalBytes : undefined);
      done(null, chunk);
    },
    flush(done) {
      shown.doing(after);
      done();
    },
  });
}

function bar(doneBytes: number, totalBytes?: number): string {
  if (!totalBytes) return "";
  const full = Math.min(BAR_WIDTH, Math.floor((BAR_WIDTH * doneBytes) / totalBytes));
  return `[${"=".repeat(full)}${" ".repeat(BAR_WIDTH - full)}] `;
}
