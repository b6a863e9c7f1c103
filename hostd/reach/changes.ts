// What makes one table of rules.ts another in one transaction, without taking its hooks down: the kernel does that in a tenth of the time
// of a whole table, and a job waits for it. And whether the kernel's table is then what was meant. Pure; texts are ours, or nft's own.
import { TABLE } from "./rules.ts";

interface Block {
  /** All but its elements. */
  lines: string[];
  elements: string[];
}

interface Table {
  /** By `set jobs`, `chain input`. */
  blocks: Map<string, Block>;
  /** What stands in no block. */
  rest: string[];
}

/** Input of `nft -f -`; undefined when only a whole table will do: a hook, an interval or the meaning of an address has changed, or something goes. */
export function changesText(before: string, after: string): string | undefined {
  const [had, wants] = [tableOf(before), tableOf(after)];
  if ([...had.blocks.keys()].some((name) => !wants.blocks.has(name))) return undefined;
  const flushed: string[] = [];
  const declared: string[] = [];
  const elements: string[] = [];
  for (const [name, block] of wants.blocks) {
    const known = had.blocks.get(name);
    const isSameKind = known !== undefined && isSame(known.lines, block.lines);
    if (isSameKind && isSame(known.elements, block.elements)) continue;
    // The kernel's own way to write ranges is another one: what was meant would not be known again.
    if (block.lines.includes("flags interval")) return undefined;
    if (isSameKind) {
      const [removed, added] = [without(known.elements, block.elements), without(block.elements, known.elements)];
      const keys = new Set(removed.map(keyOf));
      if (added.some((element) => keys.has(keyOf(element)))) return undefined;
      const where = `element inet ${TABLE} ${nameOf(name)}`;
      // Removed first: what is added may stand where they stood.
      if (removed.length > 0) elements.unshift(`delete ${where} { ${removed.join(", ")} }`);
      if (added.length > 0) elements.push(`add ${where} { ${added.join(", ")} }`);
      continue;
    }
    const isRules = name.startsWith("chain ") && ![...block.lines, ...(known?.lines ?? [])].some(isHook);
    if (known !== undefined && !isRules) return undefined;
    if (known !== undefined) flushed.push(`flush chain inet ${TABLE} ${nameOf(name)}`);
    const own = block.elements.length === 0 ? [] : [`elements = { ${block.elements.join(", ")} }`];
    declared.push(`  ${name} {`, ...[...block.lines, ...own].map((line) => `    ${line}`), "  }");
  }
  const blocks = declared.length === 0 ? [] : [`table inet ${TABLE} {`, ...declared, "}"];
  return `${[...flushed, ...blocks, ...elements].join("\n")}\n`;
}

/**
 * Whether the kernel's table, read before and after the change from one text to another, has what was changed as it was meant, and all
 * else as it was: nobody else's change passes for ours.
 */
export function isAsMeant(change: { before: string; after: string; found: string; foundAfter: string }): boolean {
  const [before, after] = [tableOf(change.before), tableOf(change.after)];
  const [found, foundAfter] = [tableOf(change.found), tableOf(change.foundAfter)];
  if (!isSame(found.rest, foundAfter.rest) || foundAfter.blocks.size !== after.blocks.size) return false;
  return [...after.blocks].every(([name, block]) => {
    const [known, was, is] = [before.blocks.get(name), found.blocks.get(name), foundAfter.blocks.get(name)];
    if (is === undefined) return false;
    if (known !== undefined && isSame(known.lines, block.lines)) {
      if (was === undefined || !isSame(was.lines, is.lines)) return false;
      if (isSame(known.elements, block.elements)) return isSame(was.elements, is.elements);
    }
    return isSame(block.elements.toSorted(), is.elements.toSorted());
  });
}

function tableOf(text: string): Table {
  const table: Table = { blocks: new Map(), rest: [] };
  let block: Block | undefined;
  let elements: string | undefined;
  for (const line of text.split("\n").map((each) => each.trim())) {
    if (line === "" || line.startsWith("#")) continue;
    if (elements !== undefined || line.startsWith("elements = {")) {
      elements = `${elements ?? ""} ${line}`;
      if (!line.endsWith("}")) continue;
      const inner = elements.slice(elements.indexOf("{") + 1, -1);
      block?.elements.push(...inner.split(",").map((element) => element.trim()));
      elements = undefined;
    } else if (block === undefined) {
      const name = /^((?:set|map|chain) \S+) \{$/.exec(line)?.[1];
      if (name === undefined) table.rest.push(line);
      else {
        block = { lines: [], elements: [] };
        table.blocks.set(name, block);
      }
    } else if (line === "}") block = undefined;
    else block.lines.push(line);
  }
  return table;
}

const nameOf = (block: string): string => block.slice(block.indexOf(" ") + 1);
/** Of a map's element, what it is found by. */
const keyOf = (element: string): string => element.replace(/ : .*$/, "");
const isHook = (line: string): boolean => line.startsWith("type ");
const isSame = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((each, n) => each === b[n]);
function without(all: readonly string[], some: readonly string[]): string[] {
  const left = new Set(some);
  return all.filter((each) => !left.has(each));
}
