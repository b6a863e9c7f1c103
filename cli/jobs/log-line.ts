// A log line as people and parsers know it: `2016-07-26T13:32:05.987763Z app[web.flynn-db0440f7]: listening on 8080`. What the
// platform says begins with `flynn[..]`: of a job by its name, else by its source, `flynn[router]`.
import type { LogLine } from "#api/logs.ts";
import { type Colour, paint, plain } from "../output/text.ts";

const JOB_COLOURS: readonly Colour[] = ["cyan", "green", "magenta", "blue"];

export interface LineForm {
  /** The app's own escape sequences are taken out, for terminals; else every byte is kept. */
  plainText: boolean;
  colour: boolean;
  /** The text alone. */
  raw?: boolean;
}

export function logLine(entry: LogLine, { plainText, colour, raw = false }: LineForm): string {
  const text = plainText ? plain(entry.line, { lines: true }) : entry.line;
  return raw ? text : `${paint(prefix(entry), lineColour(entry), colour)} ${text}`;
}

function prefix({ at, source, process, jobId }: LogLine): string {
  const isOfJob = (source === "app" || source === "system") && process !== undefined && jobId !== undefined;
  const who = isOfJob ? `${process}.${jobId}` : source;
  return `${at} ${source === "app" ? "app" : "flynn"}[${who}]:`;
}

/** Each job keeps its colour; the platform's is apart. */
function lineColour({ source, jobId = "" }: LogLine): Colour {
  if (source !== "app") return "yellow";
  const sum = [...jobId].reduce((hash, letter) => (hash * 31 + letter.charCodeAt(0)) >>> 0, 0);
  return JOB_COLOURS[sum % JOB_COLOURS.length]!;
}
