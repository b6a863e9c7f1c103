// Every small fault that somebody could have written into a source: what is replaced, by what. Pure; the parser gives the places.
import { parseSync } from "oxc-parser";

export interface Mutant {
  /** Path relative to the root. */
  path: string;
  operator: string;
  /** From 1. */
  line: number;
  start: number;
  end: number;
  replacement: string;
}

interface Node {
  type: string;
  start: number;
  end: number;
  [key: string]: unknown;
}
interface Edit {
  operator: string;
  start: number;
  end: number;
  replacement: string;
}
interface Place {
  parent: Node | undefined;
  text: (node: Node) => string;
}
type Operator = (node: Node, place: Place) => Edit[];

const COMPARISONS: Record<string, string> = {
  "<": "<=",
  "<=": "<",
  ">": ">=",
  ">=": ">",
  "===": "!==",
  "!==": "===",
};
const ARITHMETIC: Record<string, string> = { "+": "-", "-": "+", "*": "/", "/": "*" };
/** Calls that give back something like what they were called on. */
const NARROWING = ["filter", "sort", "toSorted", "slice", "reverse", "toReversed", "trim", "toLowerCase"];
const SWAPPED: Record<string, string> = { every: "some", some: "every", min: "max", max: "min" };
/** Statements that only tell people something. */
const SPEAKS = /^(await )?(this\.)?(context\.|options\.)?(log|console|say)\b/;
/** Where types go on as values. */
const TRANSPARENT = ["TSAsExpression", "TSNonNullExpression", "TSSatisfiesExpression"];
const TYPE_PARTS = ["typeAnnotation", "typeArguments", "typeParameters", "returnType"];

const edit = ({ start, end }: Node, operator: string, replacement: string): Edit[] => [
  { operator, start, end, replacement },
];
const part = (node: Node, key: string): Node => node[key] as Node;

const negate: Operator = (node, { text }) => {
  const test = part(node, "test");
  return edit(test, "negate a condition", `!(${text(test)})`);
};

const dropStatement: Operator = (node, { parent, text }) =>
  node["directive"] || SPEAKS.test(text(node)) || parent?.type === "Program" ? [] : edit(node, "drop a statement", ";");

const binary: Operator = (node, { text }) => {
  const operator = String(node["operator"]);
  const sides = [part(node, "left"), part(node, "right")] as const;
  const isText = sides.some(({ type, value }) => type === "TemplateLiteral" || typeof value === "string");
  const other = COMPARISONS[operator] ?? (isText ? undefined : ARITHMETIC[operator]);
  if (other === undefined) return [];
  return edit(node, `${operator} becomes ${other}`, `${text(sides[0])} ${other} ${text(sides[1])}`);
};

const logical: Operator = (node, { text }) => {
  const [left, right] = [text(part(node, "left")), text(part(node, "right"))];
  if (node["operator"] === "??") return edit(node, "drop a default", `(${left})!`);
  const other = node["operator"] === "&&" ? "||" : "&&";
  return edit(node, `${node["operator"]} becomes ${other}`, `((${left}) ${other} (${right}))`);
};

const literal: Operator = (node, { parent, text }) => {
  if (parent?.type === "Property" && parent["key"] === node) return [];
  if (typeof node["value"] === "number") return edit(node, "change a number", `(${text(node)} + 1)`);
  return typeof node["value"] === "boolean" ? edit(node, "change a boolean", String(!node["value"])) : [];
};

const returnEarly: Operator = (node, { text }) => {
  const body = node["body"] as Node | null;
  const isEmpty = body?.type !== "BlockStatement" || (body["body"] as Node[]).length === 0;
  if (isEmpty || node["generator"]) return [];
  return edit(body, "return early", `{ return undefined as never; ${text(body).slice(1)}`);
};

const call: Operator = (node, { text }) => {
  const callee = part(node, "callee");
  if (callee.type !== "MemberExpression") return [];
  const property = part(callee, "property");
  const [object, name] = [text(part(callee, "object")), text(property)];
  if (name === "catch") return edit(node, "drop a catch", object);
  const swapped = SWAPPED[name];
  if (swapped !== undefined) return edit(property, `${name} becomes ${swapped}`, swapped);
  return NARROWING.includes(name) ? edit(node, `drop .${name}()`, object) : [];
};

const dropCatch: Operator = (node, { text }) => {
  if (!node["handler"]) return [];
  const [block, finalizer] = [text(part(node, "block")), node["finalizer"] as Node | null];
  return edit(node, "drop a catch", finalizer ? `try ${block} finally ${text(finalizer)}` : block);
};

const OPERATORS: Record<string, Operator> = {
  IfStatement: negate,
  ConditionalExpression: negate,
  WhileStatement: negate,
  ExpressionStatement: dropStatement,
  AwaitExpression: (node, { text }) => edit(node, "drop an await", text(part(node, "argument"))),
  BinaryExpression: binary,
  LogicalExpression: logical,
  Literal: literal,
  ReturnStatement: (node, { text }) =>
    node["argument"] && text(part(node, "argument")) !== "undefined"
      ? edit(node, "return nothing", "return undefined as never;")
      : [],
  FunctionDeclaration: returnEarly,
  FunctionExpression: returnEarly,
  ArrowFunctionExpression: returnEarly,
  CallExpression: call,
  TryStatement: dropCatch,
  UnaryExpression: (node, { text }) =>
    node["operator"] === "!" ? edit(node, "drop a negation", `(${text(part(node, "argument"))})`) : [],
};

/** Every mutant of a source, in its order. Those that could not be parsed, and second ways to the same text, are left out. */
export function mutantsOf(path: string, source: string): Mutant[] {
  const { program, errors } = parseSync(path, source);
  if (errors.length > 0) throw new Error(`${path} cannot be parsed: ${errors[0]!.message}`);
  const text = ({ start, end }: Node) => source.slice(start, end);
  const edits: Edit[] = [];
  walk(program as unknown as Node, (node, parent) => {
    edits.push(...(OPERATORS[node.type]?.(node, { parent, text }) ?? []));
  });
  const seen = new Set<string>();
  return edits
    .map((each) => ({ path, line: source.slice(0, each.start).split("\n").length, ...each }))
    .filter((mutant) => {
      const result = mutated(source, mutant);
      if (result === source || seen.has(result)) return false;
      seen.add(result);
      return parseSync(path, result).errors.length === 0;
    })
    .sort((a, b) => a.start - b.start || a.end - b.end);
}

export const mutated = (source: string, { start, end, replacement }: Edit): string =>
  source.slice(0, start) + replacement + source.slice(end);

function walk(node: Node, see: (node: Node, parent: Node | undefined) => void, parent?: Node): void {
  const isType = node.type.startsWith("TS") && !TRANSPARENT.includes(node.type);
  if (isType || node.type === "ImportDeclaration") return;
  see(node, parent);
  for (const [key, value] of Object.entries(node)) {
    if (TYPE_PARTS.includes(key)) continue;
    for (const child of Array.isArray(value) ? value : [value])
      if (typeof child === "object" && child !== null && "type" in child) walk(child as Node, see, node);
  }
}
