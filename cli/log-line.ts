// A log line as people and parsers know it: `2016-07-26T13:32:05.987763Z app[web.flynn-db0440f7]: listening on 8080`.
import type { LogLine } from "#api/logs.ts";
import { paint, plain } from "./output/text.ts";

/** `plainText`: the app's own escape sequences are taken out, for terminals; else every byte is kept. */
export function logLine(
  { at, source, process, jobId, line }: LogLine,
  { plainText, colour }: { plainText: boolean; colour: boolean },
): string {
  const prefix = `${at} ${source === "app" ? "app" : "flynn"}[${process}.${jobId}]:`;
  return `${paint(prefix, source === "app" ? "cyan" : "yellow", colour)} ${plainText ? plain(line, { lines: true }) : line}`;
}
