// A buildpack that fails says why in its log and ends with a code; who reads one line is told the words, not the code.
import { bang } from "./words.ts";

const BANG = " !     ";
const BY_CODE = /^(.*): bin\/compile of .* ended with code \d+$/;

/** The reason with the buildpack's own last words, when it ended with a code and had said some just before in the build's log. */
export function withLastWords(reason: string, log: string): string {
  const what = BY_CODE.exec(reason)?.[1];
  const end = what === undefined ? -1 : log.lastIndexOf(bang(reason));
  if (end < 0) return reason;
  const last = log
    .slice(0, end)
    .split("\n")
    .findLast((line) => line.trim() !== "" && line.trim() !== "!");
  return last?.startsWith(BANG) === true ? `${what}: ${last.slice(BANG.length).trim()}` : reason;
}
