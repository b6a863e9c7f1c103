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

/** What a job prints, without what moves a terminal's cursor: escape sequences and control characters go, CR ends a line. */
export function cleanOutput(text: string): string {
  return text
    .replace(/\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])?/g, "")
    .replace(/\r\n?/g, "\n")
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, "");
}

/** Waiting in the words of people: `15m`, `90s`. */
export function span(ms: number): string {
  return ms % 60_000 === 0 ? `${ms / 60_000}m` : `${Math.round(ms / 1_000)}s`;
}
