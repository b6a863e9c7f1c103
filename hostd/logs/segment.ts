// A log segment's text: NDJSON, one kept line each, first a header with the cursors of all containers at the time it was begun.
// So one look at the newest segment tells where to go on with each container, however much was dropped before it.
import type { LogLine } from "#api/logs.ts";

/** Where the reading of one container's log stands: the last line's time, and how many lines had exactly that time. */
export interface Cursor {
  at: string;
  count: number;
}

export interface KeptLine extends LogLine {
  /** Container the line was read from; absent on lines of the platform. */
  container?: string;
}

type Header = { cursors: Record<string, Cursor> };

export const formatLine = (line: KeptLine): string => `${JSON.stringify(line)}\n`;
export const formatHeader = (cursors: ReadonlyMap<string, Cursor>): string =>
  `${JSON.stringify({ cursors: Object.fromEntries(cursors) } satisfies Header)}\n`;

export function advance(cursors: Map<string, Cursor>, line: KeptLine): void {
  if (line.container === undefined) return;
  const before = cursors.get(line.container);
  cursors.set(line.container, { at: line.at, count: before?.at === line.at ? before.count + 1 : 1 });
}

export interface Segment {
  cursors: Map<string, Cursor>;
  lines: KeptLine[];
  /** Bytes up to the last whole line; what follows was torn off by a power cut. */
  soundBytes: number;
}

export function parseSegment(text: string): Segment {
  const end = text.lastIndexOf("\n") + 1;
  const segment: Segment = { cursors: new Map(), lines: [], soundBytes: Buffer.byteLength(text.slice(0, end)) };
  for (const row of text.slice(0, end).split("\n")) {
    const value = parseRow(row);
    if (value === undefined) continue;
    if ("cursors" in value) segment.cursors = new Map(Object.entries(value.cursors));
    else {
      segment.lines.push(value);
      advance(segment.cursors, value);
    }
  }
  return segment;
}

/** A row that is not ours (zeroed by a power cut) is stepped over: a log loses that line, not the rest. */
function parseRow(row: string): KeptLine | Header | undefined {
  if (!row.startsWith("{")) return undefined;
  try {
    const value = JSON.parse(row) as Record<string, unknown>;
    if (typeof value["cursors"] === "object" && value["cursors"] !== null) return value as unknown as Header;
    return typeof value["at"] === "string" && typeof value["line"] === "string"
      ? (value as unknown as KeptLine)
      : undefined;
  } catch {
    return undefined;
  }
}
