// Dockerfiles as their instructions, one logical line each: continuation lines, comments, the escape directive, words with
// variables. BuildKit's heredocs are not read: the hosts' builder has none.
export interface Instruction {
  /** Upper case. */
  name: string;
  /** Words that begin with `--` before the rest. */
  flags: string[];
  rest: string;
  /** The first of its lines, from 1. */
  line: number;
}

export interface Dockerfile {
  escapeMark: "\\" | "`";
  instructions: Instruction[];
}

/** `# name = value`: undefined for any other line. */
function directiveOf(line: string): { name: string; value: string } | undefined {
  const at = line.indexOf("=");
  if (!line.startsWith("#") || at < 0) return undefined;
  const [name, value] = [line.slice(1, at).trim(), line.slice(at + 1).trim()];
  return /^[a-zA-Z][a-zA-Z0-9]*$/.test(name) && value !== "" ? { name, value } : undefined;
}

export class DockerfileError extends Error {}

export function parseDockerfile(text: string): Dockerfile {
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/);
  let escapeMark: Dockerfile["escapeMark"] = "\\";
  let directives = true;
  const instructions: Instruction[] = [];
  let open: { text: string; line: number } | undefined;
  const close = () => {
    if (open !== undefined && open.text.trim() !== "") instructions.push(readInstruction(open.text.trim(), open.line));
    open = undefined;
  };
  for (const [n, line] of lines.entries()) {
    if (line.includes("\0")) throw new DockerfileError(`line ${n + 1} holds a NUL character`);
    const trimmed = line.trimStart();
    const directive = directives ? directiveOf(trimmed) : undefined;
    if (directive === undefined) directives = false;
    if (directive?.name.toLowerCase() === "escape") {
      const { value } = directive;
      if (value !== "\\" && value !== "`") throw new DockerfileError("escape is neither \\ nor `");
      escapeMark = value;
    }
    if (trimmed.startsWith("#")) continue;
    // An empty line within a continuation is passed over, as Docker does with a warning.
    if (trimmed === "") continue;
    const continued = trimmed.trimEnd().endsWith(escapeMark);
    const part = continued ? line.trimEnd().slice(0, -1) : line;
    open = open === undefined ? { text: part.trimStart(), line: n + 1 } : { ...open, text: open.text + part };
    if (!continued) close();
  }
  close();
  return { escapeMark, instructions };
}

function readInstruction(text: string, line: number): Instruction {
  const [, name = "", args = ""] = /^(\S+)\s*(.*)$/s.exec(text) ?? [];
  if (!/^[A-Za-z]+$/.test(name)) throw new DockerfileError(`line ${line}: unknown instruction ${name.slice(0, 40)}`);
  const flags: string[] = [];
  let rest = args.trim();
  for (let match = /^(--\S*)\s*/.exec(rest); match; match = /^(--\S*)\s*/.exec(rest)) {
    rest = rest.slice(match[0].length);
    if (match[1] === "--") break;
    flags.push(match[1]!);
  }
  return { name: name.toUpperCase(), flags, rest, line };
}

export const formatInstruction = ({ name, flags, rest }: Instruction): string =>
  [name, ...flags, rest].join(" ").trim();

/** A word with its quotes taken off and its variables filled in; undefined when it is of a kind not read here. */
export function expandWord(
  word: string,
  escapeMark: string,
  variables: Readonly<Record<string, string>>,
): string | undefined {
  let out = "";
  let quote = "";
  for (let at = 0; at < word.length; at++) {
    const char = word[at]!;
    if (quote === "'") {
      if (char === "'") quote = "";
      else out += char;
      continue;
    }
    if (char === escapeMark) {
      out += word[++at] ?? "";
      continue;
    }
    if (char === '"') {
      quote = quote === "" ? '"' : "";
      continue;
    }
    if (char === "'" && quote === "") {
      quote = "'";
      continue;
    }
    if (char !== "$") {
      out += char;
      continue;
    }
    const found = /^\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?::([-+])([^{}$"'\\`]*))?\})/.exec(
      word.slice(at),
    );
    if (found === null) return undefined;
    const [whole, plain, braced, kind, other = ""] = found;
    const name = plain ?? braced ?? "";
    const value = Object.hasOwn(variables, name) ? variables[name]! : "";
    if (kind === "-") out += value === "" ? other : value;
    else if (kind === "+") out += value === "" ? "" : other;
    else out += value;
    at += whole.length - 1;
  }
  return quote === "" ? out : undefined;
}

/** The words of an instruction's rest: a JSON list, or words between spaces. */
export function wordsOf(rest: string): string[] {
  if (rest.startsWith("["))
    try {
      const list: unknown = JSON.parse(rest);
      if (Array.isArray(list) && list.every((word) => typeof word === "string")) return list;
    } catch {
      // Docker takes it for plain words then, and so do we.
    }
  return rest.split(/\s+/).filter((word) => word !== "");
}

/** Names that a word's `$NAME` and `${NAME...}` stand for, or may. */
export const variablesOf = (word: string): string[] =>
  [...word.matchAll(/\$\{?([A-Za-z_][A-Za-z0-9_]*)/g)].map(([, name]) => name!);

/** Words at blanks outside of quotes, their quotes left on. */
export function quotedWords(text: string, escapeMark: string): string[] {
  const words: string[] = [];
  let word = "";
  let quote = "";
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (quote === "" && /\s/.test(char)) {
      if (word !== "") words.push(word);
      word = "";
      continue;
    }
    word += char;
    if (char === escapeMark && quote !== "'" && at + 1 < text.length) word += text[++at]!;
    else if (quote === char) quote = "";
    else if (quote === "" && (char === "'" || char === '"')) quote = char;
  }
  return word === "" ? words : [...words, word];
}
