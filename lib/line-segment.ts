// A line log's segment on disk: NDJSON, one kept line each, first a header with the cursors of all sources at the time it was
// begun. So one look at the newest segment tells where to go on with each source, however much was dropped before it.

/** What every kept line has; programs add fields of their own. */
export interface Row {
  /** ISO 8601 UTC with six fraction digits, so that texts sort as times. */
  at: string;
  line: string;
  /** Number of the line, larger than those of all lines taken before it in any log of the store: a place to go on from. */
  n?: number;
  /** Container the line was read from, where reading goes on after the last one kept. */
  container?: string;
}

/** Where the reading of one container's log stands: the last line's time, and how many lines had exactly that time. */
export interface Cursor {
  at: string;
  count: number;
}

type Header = { cursors: Record<string, Cursor> };

export const formatLine = (line: Row): string => `${JSON.stringify(line)}\n`;
export const formatHeader = (cursors: ReadonlyMap<string, Cursor>): string =>
  `${JSON.stringify({ cursors: Object.fromEntries(cursors) } satisfies Header)}\n`;

export function advance(cursors: Map<string, Cursor>, line: Row): void {
  if (line.container === undefined) return;
  const before = cursors.get(line.container);
  cursors.set(line.container, { at: line.at, count: before?.at === line.at ? before.count + 1 : 1 });
}

export interface Segment<T extends Row> {
  cursors: Map<string, Cursor>;
  lines: T[];
  /** Bytes up to the last whole line; what follows was torn off by a power cut. */
  soundBytes: number;
}

export function parseSegment<T extends Row>(text: string): Segment<T> {
  const end = text.lastIndexOf("\n") + 1;
  const segment: Segment<T> = { cursors: new Map(), lines: [], soundBytes: Buffer.byteLength(text.slice(0, end)) };
  for (const row of text.slice(0, end).split("\n")) {
    const value = parseRow<T>(row);
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
function parseRow<T extends Row>(row: string): T | Header | undefined {
  if (!row.startsWith("{")) return undefined;
  try {
    const value = JSON.parse(row) as Record<string, unknown>;
    if (typeof value["cursors"] === "object" && value["cursors"] !== null) return value as unknown as Header;
    return typeof value["at"] === "string" && typeof value["line"] === "string" ? (value as unknown as T) : undefined;
  } catch {
    return undefined;
  }
}
