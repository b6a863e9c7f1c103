// Patterns as in .gitignore (gitignore(5)): which paths of a tree they name. Matched part by part, without regular expressions: the
// patterns are strangers', and none may take long.

type Glob = (name: string) => boolean;
type Part = "**" | Glob;

interface Rule {
  parts: Part[];
  takesBack: boolean;
  onlyFolders: boolean;
}

/** True of paths that the last pattern that fits names, and of all that is below such a folder. */
export function gitignore(patterns: readonly string[]): (path: string, isFolder: boolean) => boolean {
  const rules = patterns.map((pattern) => ruleOf(bytes(pattern))).filter((rule) => rule !== undefined);
  const named = (parts: readonly string[], isFolder: boolean): boolean =>
    rules.findLast((rule) => (isFolder || !rule.onlyFolders) && fits(rule.parts, parts))?.takesBack === false;
  return (path, isFolder) => {
    const parts = bytes(path).split("/");
    return parts.some((_, at) => named(parts.slice(0, at + 1), at + 1 < parts.length || isFolder));
  };
}

/** Git compares bytes: one sign each. */
const bytes = (text: string): string => Buffer.from(text).toString("latin1");

function ruleOf(pattern: string): Rule | undefined {
  let text = withoutTail(pattern);
  if (text.startsWith("#")) return undefined;
  const takesBack = text.startsWith("!");
  if (takesBack) text = text.slice(1);
  const onlyFolders = text.endsWith("/");
  if (onlyFolders) text = text.slice(0, -1);
  const isRooted = text.includes("/");
  if (text.startsWith("/")) text = text.slice(1);
  text = text.replace(/\\(.)/g, (both, sign: string) => (sign === "/" ? sign : both));
  if (text === "" || /^\/|\/$/.test(text) || text.includes("//")) return undefined;
  const parts = text.split("/").map((part): Part => (isRooted && part === "**" ? "**" : globOf(part)));
  return { parts: isRooted ? parts : ["**", ...parts], takesBack, onlyFolders };
}

/** Spaces at the end count when a backslash is before them. */
function withoutTail(pattern: string): string {
  let end = pattern.length;
  while (end > 0 && pattern[end - 1] === " ") {
    let slashes = 0;
    while (pattern[end - 2 - slashes] === "\\") slashes++;
    if (slashes % 2 === 1) break;
    end--;
  }
  return pattern.slice(0, end);
}

/** Star-like steps are tried greedily, and the last one alone takes more: never more than the product of both lengths. */
function greedy<Step, Item>(
  steps: readonly Step[],
  items: readonly Item[],
  isStar: (step: Step) => boolean,
  fit: (step: Step, item: Item) => boolean,
): boolean {
  let step = 0;
  let item = 0;
  let star = -1;
  let from = 0;
  while (item < items.length) {
    if (step < steps.length && isStar(steps[step]!)) {
      star = step++;
      from = item;
    } else if (step < steps.length && fit(steps[step]!, items[item]!)) {
      step++;
      item++;
    } else if (star >= 0) {
      step = star + 1;
      item = ++from;
    } else return false;
  }
  while (step < steps.length && isStar(steps[step]!)) step++;
  return step === steps.length;
}

/** A `**` at the end stands for what is below, and so for one name at least. */
function fits(parts: readonly Part[], path: readonly string[]): boolean {
  const steps = parts.at(-1) === "**" ? [...parts, () => true] : parts;
  return greedy<Part, string>(
    steps,
    path,
    (part) => part === "**",
    (part, name) => (part as Glob)(name),
  );
}

type Step = "*" | ((character: string) => boolean);

function globOf(part: string): Glob {
  const steps = stepsOf([...part]);
  if (steps === undefined) return () => false;
  return (name) =>
    greedy<Step, string>(
      steps,
      [...name],
      (step) => step === "*",
      (step, character) => (step as (character: string) => boolean)(character),
    );
}

function stepsOf(signs: readonly string[]): Step[] | undefined {
  const steps: Step[] = [];
  for (let at = 0; at < signs.length; at++) {
    const sign = signs[at]!;
    if (sign === "*") steps.push("*");
    else if (sign === "?") steps.push(() => true);
    else if (sign === "[") {
      const found = setAt(signs, at + 1);
      if (found === undefined) return undefined;
      steps.push(found.has);
      at = found.end;
    } else {
      const meant = sign === "\\" ? signs[++at] : sign;
      if (meant === undefined) return undefined;
      steps.push((character) => character === meant);
    }
  }
  return steps;
}

const CLASSES: Readonly<Record<string, RegExp>> = {
  alnum: /[A-Za-z0-9]/,
  alpha: /[A-Za-z]/,
  blank: /[ \t]/,
  cntrl: /[\0-\x1f\x7f]/,
  digit: /[0-9]/,
  graph: /[!-~]/,
  lower: /[a-z]/,
  print: /[ -~]/,
  punct: /[!-/:-@[-`{-~]/,
  space: /[ \t-\r]/,
  upper: /[A-Z]/,
  xdigit: /[A-Fa-f0-9]/,
};

/** The set that begins there: `[a-c]`, `[!a]`, `[[:digit:]]`. Undefined: it has no end, and the pattern fits nothing. */
function setAt(
  signs: readonly string[],
  start: number,
): { has: (character: string) => boolean; end: number } | undefined {
  const tests: ((character: string) => boolean)[] = [];
  let at = start;
  const isNot = signs[at] === "!" || signs[at] === "^";
  if (isNot) at++;
  for (let isFirst = true; ; isFirst = false) {
    let sign = signs[at];
    if (sign === undefined) return undefined;
    if (sign === "]" && !isFirst) break;
    if (sign === "[" && signs[at + 1] === ":") {
      const end = signs.indexOf("]", at + 2);
      if (end < 0) return undefined;
      if (signs[end - 1] === ":" && end - 1 > at + 1) {
        const known = CLASSES[signs.slice(at + 2, end - 1).join("")];
        if (known === undefined) return undefined;
        tests.push((character) => known.test(character));
        at = end + 1;
        continue;
      }
    }
    if (sign === "\\") sign = signs[++at];
    if (sign === undefined) return undefined;
    const low = sign;
    if (signs[at + 1] === "-" && signs[at + 2] !== undefined && signs[at + 2] !== "]") {
      at += 2;
      const high = signs[at] === "\\" ? signs[++at] : signs[at];
      if (high === undefined) return undefined;
      tests.push((character) => character >= low && character <= high);
    } else tests.push((character) => character === low);
    at++;
  }
  return { has: (character) => tests.some((test) => test(character)) !== isNot, end: at };
}
