// Progress of long waits on stderr: one line drawn over on a terminal, plain lines anywhere else. A terminal that says it has 0
// columns (serial consoles) gets plain lines too: spinners of libraries never end there.
import { formatDuration, formatSize } from "#lib/units.ts";
import type { Cli } from "../parse/command.ts";
import { plain } from "./text.ts";

export interface Progress {
  /** What it is doing now. Said once, however often it is told. */
  step(text: string): void;
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

export function progress(cli: Pick<Cli, "say" | "draw" | "terminal">, now = () => performance.now()): Progress {
  return cli.terminal.err && cli.terminal.errColumns > 0 ? drawn(cli, now) : lines(cli, now);
}

function lines({ say }: Pick<Cli, "say">, now: () => number): Progress {
  let last = "";
  let saidMs = Number.NEGATIVE_INFINITY;
  return {
    step(text) {
      if (text !== last) say(plain(text));
      last = text;
    },
    bytes(text, doneBytes, totalBytes) {
      if (now() - saidMs < PLAIN_EVERY_MS && doneBytes !== totalBytes) return;
      saidMs = now();
      say(`${plain(text)} ${amount(doneBytes, totalBytes)}`);
    },
    line: (text) => say(plain(text)),
    end: () => undefined,
  };
}

function drawn({ say, draw, terminal }: Pick<Cli, "say" | "draw" | "terminal">, now: () => number): Progress {
  const startedMs = now();
  let text = "";
  let frame = 0;
  const paintLine = () => {
    const shown = `${FRAMES[frame % FRAMES.length]} ${text} ${formatDuration(now() - startedMs)}`;
    if (text !== "") draw(`\r\x1b[K${shown.slice(0, terminal.errColumns - 1)}`);
  };
  const timer = setInterval(() => {
    frame++;
    paintLine();
  }, FRAME_MS);
  timer.unref();
  const clear = () => draw("\r\x1b[K");
  return {
    step(next) {
      text = plain(next);
      paintLine();
    },
    bytes(what, doneBytes, totalBytes) {
      text = `${plain(what)} ${bar(doneBytes, totalBytes)}${amount(doneBytes, totalBytes)}`;
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

/** `12.3 MiB of 40 MiB (31 %)`, or the bytes alone. */
export function amount(doneBytes: number, totalBytes?: number): string {
  if (!totalBytes) return formatSize(doneBytes);
  return `${formatSize(doneBytes)} of ${formatSize(totalBytes)} (${Math.floor((100 * doneBytes) / totalBytes)} %)`;
}

function bar(doneBytes: number, totalBytes?: number): string {
  if (!totalBytes) return "";
  const full = Math.min(BAR_WIDTH, Math.floor((BAR_WIDTH * doneBytes) / totalBytes));
  return `[${"=".repeat(full)}${" ".repeat(BAR_WIDTH - full)}] `;
}
