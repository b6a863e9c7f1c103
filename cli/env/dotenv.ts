// Variables as lines of text, read and written: what `env --shell` prints, sh can read, `.env` files mostly hold, and `env edit`
// shows. A value is bare to the end of its line, or quoted as sh quotes, and then may go on over lines.
import { Fault } from "#api/fault.ts";
import { envName } from "./name.ts";

const BARE = /^[A-Za-z0-9_./:,@%+=-]*$/;
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

export function formatDotenv(env: Readonly<Record<string, string>>): string {
  const names = Object.keys(env).sort();
  return names.map((name) => `${name}=${quoteForShell(env[name]!)}\n`).join("");
}

const quoteForShell = (value: string): string => (BARE.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`);

/** Fault `invalid` with the line's number and never its text: that may be a secret. */
export function parseDotenv(source: string): Record<string, string> {
  const text = source.startsWith("\ufeff") ? source.slice(1) : source;
  const values = new Map<string, string>();
  const lines = new Map<string, number>();
  let at = 0;
  let line = 1;
  while (at < text.length) {
    const begins = line;
    const end = endOfLine(text, at);
    const head = /^([^\S\n]*(?:export[^\S\n]+)?([^\s=#]+)[^\S\n]*=)[^\S\n]*/.exec(text.slice(at, end));
    if (head === null) {
      if (!/^\s*(#|$)/.test(text.slice(at, end))) throw wrong(begins, "write a variable as NAME=VALUE");
      at = end + 1;
      line++;
      continue;
    }
    const name = named(head[2]!, begins);
    const first = lines.get(name);
    if (first !== undefined) throw wrong(begins, `${name} is there twice (first on line ${first})`);
    const start = at + head[0].length;
    const read = /['"]/.test(text[start] ?? "") ? quoted(text, start, begins) : bare(text, at + head[1]!.length, end);
    if (read.value.includes("\0")) throw wrong(begins, `the value of ${name} holds a NUL character`);
    values.set(name, read.value);
    lines.set(name, begins);
    line += text.slice(at, read.end).split("\n").length;
    at = read.end + 1;
  }
  return Object.fromEntries(values);
}

interface Read {
  value: string;
  /** Where its last line ends. */
  end: number;
}

/** To the end of the line, without blanks around it and without a comment, which begins after a blank: `A=#1e90ff` is a value. */
function bare(text: string, start: number, end: number): Read {
  const value = text.slice(start, end).replace(/\s+#.*$/s, "");
  return { value: value.trim(), end };
}

/** Pieces in quotes and escaped characters, one after the other, as sh joins them. */
function quoted(text: string, start: number, line: number): Read {
  let value = "";
  let at = start;
  while (at < text.length && !/\s/.test(text[at]!)) {
    const quote = text[at]!;
    if (quote === "'") {
      const close = text.indexOf("'", at + 1);
      if (close < 0) throw wrong(line, "a ' is not closed");
      value += text.slice(at + 1, close);
      at = close + 1;
    } else if (quote === '"') {
      const piece = doubleQuoted(text, at + 1, line);
      value += piece.value;
      at = piece.end;
    } else if (quote === "\\" && at + 1 < text.length) {
      value += text[at + 1]!;
      at += 2;
    } else throw wrong(line, "something follows the closing quote");
  }
  const end = endOfLine(text, at);
  // Lines may end in CRLF, and a comment takes all of its line.
  if (!/^(\s*|\s+#.*)$/s.test(text.slice(at, end))) throw wrong(line, "something follows the closing quote");
  return { value, end };
}

function doubleQuoted(text: string, start: number, line: number): Read {
  let value = "";
  for (let at = start; at < text.length; at++) {
    const one = text[at]!;
    if (one === '"') return { value, end: at + 1 };
    if (one !== "\\") {
      value += one;
      continue;
    }
    const next = text[++at] ?? "";
    value += ESCAPES[next] ?? ('"\\$`'.includes(next) ? next : `\\${next}`);
  }
  throw wrong(line, 'a " is not closed');
}

function endOfLine(text: string, from: number): number {
  const end = text.indexOf("\n", from);
  return end < 0 ? text.length : end;
}

function named(name: string, line: number): string {
  try {
    return envName(name);
  } catch {
    throw wrong(line, "the name is not one of a variable: letters, digits and _, no digit first");
  }
}

const wrong = (line: number, words: string): Fault =>
  new Fault("invalid", `line ${line}: ${words}`, { details: { line } });
