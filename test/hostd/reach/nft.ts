// What `nft -f -` makes of a table: the few commands that hostd gives it, on the text of one table, all of them or none.

export function nft(table: string | undefined, input: string): string {
  if (input.includes("delete table inet flynn")) return input;
  if (table === undefined) throw new Error("No such file or directory");
  const blocks = blocksOf(table);
  const outside = input.replace(/^table inet flynn \{\n([\s\S]*?)^\}\n/m, (_, declared: string) => {
    for (const [name, body] of blocksOf(declared)) blocks.set(name, [...(blocks.get(name) ?? []), ...body]);
    return "";
  });
  // A chain is flushed before it gets its new rules.
  for (const line of outside.split("\n").filter(Boolean)) {
    const [, verb, kind, name = "", list = ""] = /^(\w+) (\w+) inet flynn (\S+)(?: \{ (.*) \})?$/.exec(line) ?? [];
    const full = [`set ${name}`, `map ${name}`, `chain ${name}`].find((each) => blocks.has(each));
    if (full === undefined) throw new Error(`${line}: No such file or directory`);
    const body = blocks.get(full)!;
    if (verb === "flush" && kind === "chain") blocks.set(full, [...(blocksOf(input).get(full) ?? [])]);
    else if (kind === "element") blocks.set(full, withElements(body, verb!, list.split(", ")));
    else throw new Error(`what is ${line}`);
  }
  const texts = [...blocks].map(([name, body]) => [`  ${name} {`, ...body, "  }"].join("\n"));
  return `table inet flynn\ndelete table inet flynn\ntable inet flynn {\n${texts.join("\n")}\n}\n`;
}

/** Blocks in the order of their names, elements in theirs: what two tables that do the same have in common. */
export const normal = (table: string): [string, string[]][] =>
  [...blocksOf(table)]
    .map(([name, body]): [string, string[]] => [
      name,
      [...body.filter((line) => !isElements(line)), ...elementsOf(body)],
    ])
    .sort(([a], [b]) => (a < b ? -1 : 1));

function blocksOf(text: string): Map<string, string[]> {
  const found = text.matchAll(/^ {2}((?:set|map|chain) \S+) \{\n((?: {4}.*\n)*) {2}\}$/gm);
  return new Map([...found].map(([, name = "", body = ""]) => [name, body.split("\n").filter(Boolean)]));
}

const isElements = (line: string): boolean => line.startsWith("    elements = {");
const elementsOf = (body: readonly string[]): string[] =>
  body.filter(isElements).flatMap((line) =>
    line
      .slice(line.indexOf("{") + 2, -2)
      .split(", ")
      .sort(),
  );

function withElements(body: readonly string[], verb: string, elements: readonly string[]): string[] {
  const had = elementsOf(body);
  const key = (element: string) => element.replace(/ : .*/, "");
  for (const element of elements) {
    const there = had.some((each) => key(each) === key(element));
    if (there !== (verb === "delete")) throw new Error(`${verb} ${element}: ${there ? "it exists" : "there is none"}`);
  }
  const left = verb === "add" ? [...had, ...elements] : had.filter((each) => !elements.includes(each));
  const rest = body.filter((line) => !isElements(line));
  return left.length === 0 ? rest : [...rest, `    elements = { ${left.sort().join(", ")} }`];
}
