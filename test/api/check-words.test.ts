// The six words: another claim or another key has others, the same have the same wherever they are made, and no two are alike to the eye.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkOf, sameWords } from "#api/check-words.ts";
import { WORDS } from "#api/words.ts";

const ONE = { mac: "52:54:00:00:00:01", uuid: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", serial: "CZ1234" };

function oneLetterApart(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1) return false;
  const [short, long] = a.length <= b.length ? [a, b] : [b, a];
  if (short.length === long.length) return [...short].filter((letter, n) => letter !== long[n]).length <= 1;
  return [...long].some((_, n) => long.slice(0, n) + long.slice(n + 1) === short);
}

test("there are 1,024 short words, in order, and no two differ by one letter", () => {
  assert.is(WORDS.length, 1024);
  assert.equal([...WORDS].sort(), WORDS);
  assert.ok(WORDS.every((word) => /^[a-z]{3,8}$/.test(word)));
  const near = WORDS.flatMap((a, n) => WORDS.slice(n + 1).flatMap((b) => (oneLetterApart(a, b) ? `${a} ${b}` : [])));
  assert.equal(near, []);
});

test("the words are part of the contract: another version of ours must show the same", () => {
  assert.equal(checkOf(ONE), { words: "cliff twig soap pillow shade meteor", claim: "f6305e6ec00c28cc" });
});

test("another card, UUID, serial or key has other words; what is missing is not the same as what is empty elsewhere", () => {
  const all = [
    checkOf(ONE),
    checkOf({ ...ONE, mac: "52:54:00:00:00:02" }),
    checkOf({ ...ONE, uuid: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f1" }),
    checkOf({ ...ONE, serial: "CZ1235" }),
    checkOf({ mac: ONE.mac, uuid: ONE.uuid }),
    checkOf({ mac: ONE.mac, serial: ONE.uuid }),
    checkOf(ONE, "key one"),
    checkOf(ONE, "key two"),
  ];
  assert.is(new Set(all.map(({ words }) => words)).size, all.length);
  assert.is(new Set(all.map(({ claim }) => claim)).size, all.length);
  for (const { words } of all) assert.match(words, /^[a-z]+( [a-z]+){5}$/);
});

test("words that a person types are the same with other case, commas and blanks, and no others are", () => {
  assert.ok(sameWords("acorn beach cedar delta ember fable", "  Acorn beach, CEDAR delta\tember fable "));
  assert.not.ok(sameWords("acorn beach cedar delta ember fable", "acorn beach cedar delta fable ember"));
  assert.not.ok(sameWords("acorn beach cedar delta ember fable", "acorn beach cedar delta ember"));
});

test.run();
