// Which programs a source starts, read from its text: the first words of argv arrays, of texts given to a shell and of whole shell
// scripts. Wrappers (nsenter, unshare ... --) are looked through. What is put together at run time is seen by started-programs.ts.
export type Found = { program: string; line: number };

type Token = { kind: "text" | "word" | "sign"; value: string; line: number };

const NODE_CALLS = ["spawn", "spawnSync", "execFile", "execFileSync"];
/** Names under which argv lies in data: `argv: [...]`, `check: [...]` of firewall rules, `const wrapper = [...]`. */
const ARGV_NAMES = /^(argv|own|apt|wrapper|namespaces|pack|check|add|drop|del|remove|create|probe|tool)$|Argv$/;
/** Takers of argv whose words are a command of `flynn`, or a call of another kind. */
const OTHERS = new Set(
  "ask call constructor edited flynn invoke options parse refused runCli runImageBuilder scan set tryFlynn".split(" "),
);
const PROGRAM = /^(\/[\w.+-]+)+$|^[a-z][a-z0-9_.+-]+$/;
/** Values of `stdio`. */
const STREAMS = new Set(["ignore", "inherit", "pipe"]);
const SHELLS = new Set(["sh", "bash", "dash", "/bin/sh", "/bin/bash"]);
const WRAPPERS = new Set(["nsenter", "unshare", "setpriv", "env", "prlimit", "chroot", "timeout", "setsid", "nice"]);

/** Functions of ours that take argv, by their declarations: `exec(argv: ...)`, `const run = (argv: ...) =>`. */
export function argvFunctions(source: string): string[] {
  const names: string[] = [];
  const parameter = /(?<![.\w])argv\??: (?:readonly )?string\[\]/g;
  for (const { index } of source.matchAll(parameter)) {
    const before = source.slice(Math.max(0, index - 200), index);
    const open = openParenthesis(before);
    if (open === undefined) continue;
    const name = /(?:(\w+)\s*(?:[=:]\s*(?:async\s*)?)?)(?:<[^()]*>)?$/.exec(before.slice(0, open))?.[1];
    if (name !== undefined && name !== "async" && !OTHERS.has(name)) names.push(name);
  }
  return names;
}

export function startedPrograms(source: string, functions: ReadonlySet<string>): Found[] {
  const tokens = tokensOf(source);
  const found: Found[] = [];
  const named = new Map<string, number[]>();
  const isCall = (index: number): boolean => {
    const name = tokens[index - 1];
    return name?.kind === "word" && (functions.has(name.value) || NODE_CALLS.includes(name.value));
  };
  const fromArray = (index: number): void => {
    const words: Token[] = [];
    let depth = 0;
    for (let at = index; at < tokens.length; at++) {
      const token = tokens[at]!;
      if (token.kind === "sign" && "[({".includes(token.value)) depth++;
      if (token.kind === "sign" && "])}".includes(token.value) && --depth === 0) break;
      if (depth === 1 && token.kind === "text") words.push(token);
    }
    if (tokens[index + 1]?.kind === "text") found.push(...programsOf(words));
  };
  tokens.forEach((token, index) => {
    if (token.value === "[" && tokens[index - 1]?.value === "=" && tokens[index - 2]?.kind === "word")
      named.set(tokens[index - 2]!.value, [...(named.get(tokens[index - 2]!.value) ?? []), index]);
  });
  tokens.forEach((token, index) => {
    const before = tokens[index - 1];
    if (token.value === "[" && (before?.value === ":" || before?.value === "=")) {
      const name = tokens[index - 2];
      if (name?.kind === "word" && ARGV_NAMES.test(name.value)) fromArray(index);
    }
    if (token.value !== "(" || !isCall(index)) return;
    const isNode = NODE_CALLS.includes(tokens[index - 1]!.value);
    let depth = 0;
    // Its first array is the argv; what comes after is options.
    for (let at = index; at < tokens.length; at++) {
      const here = tokens[at]!;
      const previous = tokens[at - 1]?.value ?? "";
      if (here.kind === "sign" && "({".includes(here.value)) depth++;
      if (here.kind === "sign" && ")}".includes(here.value) && --depth === 0) break;
      if (depth !== 1) continue;
      if (isNode && here.kind === "text" && at === index + 1) {
        const rest = tokens[at + 2]?.value === "[" ? texts(tokens, at + 2) : [];
        found.push(...programsOf([here, ...rest]));
        return;
      }
      if (isNode && at > index + 1) return;
      if (here.value === "[" && ["(", ",", "?", ":"].includes(previous)) {
        fromArray(at);
        if (previous !== "?") return;
      } else if (here.kind === "word" && ["(", ","].includes(previous)) {
        const places = [",", ")"].includes(tokens[at + 1]?.value ?? "") ? (named.get(here.value) ?? []) : [];
        for (const place of places) fromArray(place);
        if (places.length > 0) return;
      }
    }
  });
  return found;
}

function texts(tokens: readonly Token[], from: number): Token[] {
  const end = tokens.findIndex((token, index) => index > from && token.value === "]");
  return tokens.slice(from, end).filter(({ kind }) => kind === "text");
}

/** The program of an argv, of the argv that it wraps, and of the text that it hands to a shell. */
function programsOf(words: readonly Token[]): Found[] {
  const [first, ...rest] = words;
  if (first === undefined || !PROGRAM.test(first.value) || STREAMS.has(first.value)) return [];
  const found = [{ program: first.value, line: first.line }];
  const end = rest.findIndex(({ value }) => value === "--");
  if (WRAPPERS.has(first.value) && end >= 0) found.push(...programsOf(rest.slice(end + 1)));
  if (first.value === "busybox") return found;
  const shell = rest.findIndex(({ value }) => /^-[a-z]*c$/.test(value));
  const script = rest[shell + 1];
  if (SHELLS.has(first.value) && shell >= 0 && script !== undefined)
    found.push(...shellPrograms(script.value).map((program) => ({ program, line: script.line })));
  return found;
}

/** The program of a process's argv, and of the argv that it wraps. */
export function startedBy(argv: readonly string[]): string[] {
  const [first, ...rest] = argv;
  if (first === undefined) return [];
  const end = rest.indexOf("--");
  return WRAPPERS.has(first.split("/").at(-1)!) && end >= 0 ? [first, ...startedBy(rest.slice(end + 1))] : [first];
}

const KEYWORDS = new Set(
  "if then elif else fi while until for in do done case esac { } ! exec command builtin set shift local export readonly unset return exit cd trap wait : . [ [[ test echo printf read eval true false umask type let declare source continue break ulimit kill pwd hash getopts".split(
    " ",
  ),
);

/** First words of the simple commands of a script, without what a shell has built in and its own functions. */
export function shellPrograms(script: string): string[] {
  const own = new Set([...script.matchAll(/^\s*(?:function\s+)?([A-Za-z_][\w-]*)\s*\(\)/gm)].map(([, name]) => name));
  const plain = script
    .replace(/\\\n/g, " ")
    .replace(/<<-?\s*["']?(\w+)["']?[\s\S]*?^\s*\1$/gm, " ")
    .replace(/'[^']*'/g, "q")
    .replace(/(^|\s)#.*$/gm, "$1")
    .replace(/\$\(\(.*?\)\)|\$\{[^{}]*\}/g, "v")
    .replace(/\$\(/g, "\n")
    .replace(/"([^"\n]*)"/g, "q")
    .replace(/&&|\|\||[;|&()]/g, "\n");
  const found = new Set<string>();
  for (const line of plain.split("\n")) {
    const words = line.trim().split(/\s+/);
    while (
      words[0] !== undefined &&
      (/^\w+=/.test(words[0]) ||
        ["if", "while", "until", "then", "do", "else", "elif", "!", "exec", "{", "command"].includes(words[0]))
    )
      words.shift();
    const [word = ""] = words;
    if (!/^[a-z][a-z0-9_.+-]*$|^(\/[A-Za-z0-9_.+-]+)+$/.test(word) || KEYWORDS.has(word) || own.has(word)) continue;
    if (/^[qv]$/.test(word) || words.some((each) => each === ")")) continue;
    found.add(word);
  }
  return [...found];
}

function openParenthesis(text: string): number | undefined {
  let depth = 0;
  for (let at = text.length - 1; at >= 0; at--) {
    if (text[at] === ")") depth++;
    if (text[at] === "(" && depth-- === 0) return at;
  }
  return undefined;
}

/** Texts, words and signs of a source without its comments and regular expressions. */
function tokensOf(source: string): Token[] {
  const pattern =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|`((?:[^`\\]|\\[\s\S])*)`|([A-Za-z_$][\w$]*)|(\s+)|([^\s\w])|\d[\w.]*/g;
  const tokens: Token[] = [];
  let line = 1;
  let after = 0;
  for (;;) {
    pattern.lastIndex = after;
    const match = pattern.exec(source);
    if (match === null) return tokens;
    const [whole, double, single, template, word, , sign] = match;
    const before = tokens.at(-1);
    if (sign === "/" && (before === undefined || /^(\(|,|=|:|\[|!|&|\||\?|\{|\}|;|>|return)$/.test(before.value))) {
      const regex = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
      regex.lastIndex = match.index;
      after = regex.exec(source) === null ? match.index + 1 : regex.lastIndex;
      tokens.push({ kind: "sign", value: "regex", line });
      continue;
    }
    const text = double ?? single ?? template;
    if (text !== undefined) tokens.push({ kind: "text", value: text, line });
    else if (word !== undefined) tokens.push({ kind: "word", value: word, line });
    else if (sign !== undefined) tokens.push({ kind: "sign", value: sign, line });
    line += whole.split("\n").length - 1;
    after = match.index + whole.length;
  }
}
