// Text for people: colours, ages, and what must never reach a terminal from an app, a machine or a server (escape sequences).
import { shownText } from "#lib/output-text.ts";

/** Text that a terminal only shows: no escape sequences, no control characters; one line unless `lines`. */
export function plain(text: string, options: { lines?: boolean } = {}): string {
  const shown = shownText(text);
  return options.lines ? shown : shown.replace(/[\n\t]+/g, " ");
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 } as const;
export type Colour = keyof typeof CODES;

export function paint(text: string, colour: Colour | undefined, on: boolean): string {
  return on && colour !== undefined && text !== "" ? `\x1b[${CODES[colour]}m${text}\x1b[0m` : text;
}

const PAINTED = new RegExp(`(\\x1b\\[(?:${[0, ...Object.values(CODES)].join("|")})m)`);

/** Lines as a terminal may get them, whatever a server put into them: of escape sequences only colours are left. */
export const onTerminal = (text: string, colour: boolean): string =>
  text
    .split(PAINTED)
    .map((part, n) => (n % 2 === 0 ? shownText(part) : colour ? part : ""))
    .join("");

/** The colour of a state's word: green is well, yellow is under way, red needs somebody. */
export function stateColour(state: string): Colour | undefined {
  if (["ok", "up", "ready", "complete"].includes(state)) return "green";
  if (["down", "crashed", "lost", "failed", "unhealthy", "rejected", "error", "critical"].includes(state)) return "red";
  if (
    ["degraded", "pending", "starting", "stopping", "booting", "joining", "running", "discovered", "warning"].includes(
      state,
    )
  )
    return "yellow";
  return undefined;
}

/** `HH:MM:SS.mmm`, local time. */
export function clock(at: Date): string {
  const two = (n: number) => String(n).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}
