// The grammar of a push's text: a step, its details, a failure, a result. One line each, no escape codes.
import { plainText } from "../events.ts";

const LINE_MOST = 2_000;
const lines = (text: string): string[] => text.split("\n").map((line) => plainText(line, LINE_MOST));

/** `-----> Building hello` */
export const step = (text: string): string => `-----> ${plainText(text, LINE_MOST)}\n`;
/** Seven spaces before each line. */
export const detail = (text: string): string =>
  lines(text)
    .map((line) => `${`       ${line}`.trimEnd()}\n`)
    .join("");
/** ` !     Push rejected, ...` */
export const bang = (text: string): string =>
  lines(text)
    .map((line) => `${` !     ${line}`.trimEnd()}\n`)
    .join("");
/** `=====> hello v3 deployed` */
export const outcome = (text: string): string => `=====> ${plainText(text, LINE_MOST)}\n`;

/** Waiting in the words of people: `15m`, `90s`. */
export function span(ms: number): string {
  return ms % 60_000 === 0 ? `${ms / 60_000}m` : `${Math.round(ms / 1_000)}s`;
}
