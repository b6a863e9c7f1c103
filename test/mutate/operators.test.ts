import { test } from "uvu";
import * as assert from "uvu/assert";
import { chosen } from "./choose.ts";
import { mutantsOf, mutated } from "./operators.ts";

/** What each mutant of a body makes of it, with the operator's name. */
function faults(source: string): string[] {
  return mutantsOf("rule.ts", source).map((mutant) => `${mutant.operator}: ${mutated(source, mutant)}`);
}
const has = (source: string, ...expected: string[]) => {
  const found = faults(source);
  for (const each of expected) assert.ok(found.includes(each), `${each}\nis not among\n${found.join("\n")}`);
};

test("each operator writes the fault that somebody could have written", () => {
  has("const a = b < 3;", "< becomes <=: const a = b <= 3;", "change a number: const a = b < (3 + 1);");
  has("const a = b === c;", "=== becomes !==: const a = b !== c;");
  has("const a = b && c;", "&& becomes ||: const a = ((b) || (c));");
  has("const a = b ?? 1;", "drop a default: const a = (b)!;");
  has("const a = !b;", "drop a negation: const a = (b);");
  has("const a = b - c;", "- becomes +: const a = b + c;");
  has("const a = b ? c : d;", "negate a condition: const a = !(b) ? c : d;");
  has("const a = { b: true };", "change a boolean: const a = { b: false };");
  has("if (a) b();", "negate a condition: if (!(a)) b();", "drop a statement: if (a) ;");
  has("async () => { await a(); };", "drop an await: async () => { a(); };", "drop a statement: async () => { ; };");
  has(
    "function f() { return a; }",
    "return early: function f() { return undefined as never;  return a; }",
    "return nothing: function f() { return undefined as never; }",
  );
  has("const a = b.filter(c);", "drop .filter(): const a = b;");
  has("const a = b.every(c);", "every becomes some: const a = b.some(c);");
  has("const a = Math.max(b, c);", "max becomes min: const a = Math.min(b, c);");
  has("const a = b().catch(c);", "drop a catch: const a = b();");
  has("try { a(); } catch { b(); }", "drop a catch: { a(); }");
  has("try { a(); } catch { b(); } finally { c(); }", "drop a catch: try { a(); } finally { c(); }");
});

test("types, imports, texts put together and lines that only tell people something are left alone", () => {
  assert.equal(faults('import { a } from "b";\ntype C = 1 | true;\ninterface D { e: 3 }'), []);
  assert.equal(faults("const a: 1 = b as 2;"), []);
  assert.equal(faults("const a = `x` + c;"), []);
  assert.equal(faults('log.info("a");'), []);
  assert.not.ok(faults("function f() { return undefined; }").some((each) => each.startsWith("return nothing")));
});

test("every mutant of a source of the product can be parsed, differs from it, and names its line", () => {
  const source = "const a = 1;\n\nexport function f(b: number): number {\n  if (b > a) return b;\n  return a;\n}\n";
  const mutants = mutantsOf("rule.ts", source);
  assert.is(new Set(mutants.map((each) => mutated(source, each))).size, mutants.length);
  assert.equal([...new Set(mutants.map(({ line }) => line))], [1, 3, 4, 5]);
});

test("a seed chooses the same mutants again, a longer run begins with those of a shorter one, another seed chooses others", () => {
  const source = Array.from({ length: 100 }, (_, n) => `export const c${n} = ${n};`).join("\n");
  const all = mutantsOf("rule.ts", source);
  assert.equal(chosen(all, 7, 20), chosen(all, 7, 20));
  assert.equal(chosen(all, 7, 20), chosen(all, 7, 50).slice(0, 20));
  assert.not.equal(chosen(all, 7, 20), chosen(all, 8, 20));
  assert.is(chosen(all, 7, 1_000).length, all.length);
});

test.run();
