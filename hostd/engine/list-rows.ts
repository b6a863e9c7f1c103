// The engine's lists and its events, row by row as they come: of each row only the fields that are asked for are held. An image's labels, command and
// ports are a tenant's, stand in the row of each of its containers, and are of any size; they are stepped over.
import { Fault } from "#api/fault.ts";

export interface RowFields {
  fields: readonly string[];
  /** Of `Labels`, these. */
  labels?: readonly string[];
}

/** Of one value; a longer one counts as absent. */
const VALUE_MOST_BYTES = 64 << 10;
const [QUOTE, COMMA, COLON, BACKSLASH] = [0x22, 0x2c, 0x3a, 0x5c];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];
/** How deep the members of a list's row are, and those of its labels. */
const ROW = 2;
const LABEL = 3;

export async function listRows<T>(chunks: AsyncIterable<Buffer>, wanted: RowFields): Promise<Partial<T>[]> {
  const reader = rowReader(wanted);
  for await (const chunk of chunks) reader.push(chunk);
  return reader.end() as Partial<T>[];
}

/** One object after the other, without a list around them: a stream that has no end. */
export async function* streamRows<T>(chunks: AsyncIterable<Buffer>, wanted: RowFields): AsyncGenerator<Partial<T>> {
  const reader = rowReader(wanted, 1);
  for await (const chunk of chunks) {
    reader.push(chunk);
    yield* reader.taken() as Partial<T>[];
  }
}

function rowReader({ fields, labels = [] }: RowFields, outerDepth = 0) {
  let rows: Record<string, unknown>[] = [];
  const names = { [ROW]: new Set(fields), [LABEL]: new Set(labels) };
  let row: Record<string, unknown> = {};
  let ownLabels: Record<string, unknown> = {};
  let depth = outerDepth;
  let isOver = false;
  let level: 0 | typeof ROW | typeof LABEL = 0;
  let isInString = false;
  let isEscaped = false;
  // Of the member that is read: its name, then its value, as the engine wrote them.
  let key = "";
  let isKey = false;
  let isKept = false;
  let raw = "";

  const keep = (byte: number) => {
    if (!isKept || level === 0) return;
    raw += String.fromCharCode(byte);
    if (raw.length > VALUE_MOST_BYTES) isKept = false;
  };
  const parsed = (): unknown => JSON.parse(Buffer.from(raw, "latin1").toString("utf8"));
  const beginMember = () => {
    isKey = true;
    isKept = true;
    raw = "";
  };
  const beginValue = () => {
    key = isKept ? String(parsed()) : "";
    isKey = false;
    isKept = level !== 0 && names[level].has(key);
    raw = "";
  };
  const endMember = () => {
    if (!isKey && isKept) (level === LABEL ? ownLabels : row)[key] = parsed();
  };
  const open = (byte: number) => {
    depth++;
    if (byte === OPEN_OBJECT && depth === ROW) {
      row = {};
      ownLabels = {};
      level = ROW;
      return beginMember();
    }
    if (byte === OPEN_OBJECT && depth === LABEL && level === ROW && !isKey && key === "Labels") {
      level = LABEL;
      return beginMember();
    }
    keep(byte);
  };
  const close = (byte: number) => {
    if (depth !== level) keep(byte);
    else {
      endMember();
      if (level === ROW) rows.push({ ...row, Labels: ownLabels });
      isKey = false;
      isKept = false;
      level = level === LABEL ? ROW : 0;
    }
    depth--;
    isOver ||= depth === 0;
  };

  return {
    push(chunk: Buffer): void {
      for (let n = 0; n < chunk.length; n++) {
        // Most of a large answer is text that nobody asked for.
        if (isInString && !isKept && !isEscaped) n = endOfText(chunk, n);
        const byte = chunk[n];
        if (byte === undefined) return;
        if (isInString) {
          keep(byte);
          if (isEscaped) isEscaped = false;
          else if (byte === BACKSLASH) isEscaped = true;
          else if (byte === QUOTE) isInString = false;
        } else if (byte === QUOTE) {
          isInString = true;
          keep(byte);
        } else if (byte === OPEN_OBJECT || byte === OPEN_LIST) open(byte);
        else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) close(byte);
        else if (byte === COLON && depth === level && isKey) beginValue();
        else if (byte === COMMA && depth === level) {
          endMember();
          beginMember();
        } else keep(byte);
      }
    },
    /** The rows so far, which are then forgotten. */
    taken(): Record<string, unknown>[] {
      const taken = rows;
      rows = [];
      return taken;
    },
    end(): Record<string, unknown>[] {
      if (!isOver || depth !== 0) throw new Fault("unavailable", "the engine's list ended before its end");
      return rows;
    },
  };
}

/** Where a text ends, or escapes a character; past the chunk when it does neither. */
function endOfText(chunk: Buffer, from: number): number {
  let n = from;
  while (n < chunk.length && chunk[n] !== QUOTE && chunk[n] !== BACKSLASH) n++;
  return n;
}
