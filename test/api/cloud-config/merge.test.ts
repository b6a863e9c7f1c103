// The platform's cloud-config and a profile's own, as one: the rules of README's "Your own cloud-config", each as a case.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { merged } from "#api/cloud-config/merge.ts";

const CASES: [rule: string, ours: object, theirs: object, result: object][] = [
  ["lists are appended, the user's first", { write_files: ["o"] }, { write_files: ["t"] }, { write_files: ["t", "o"] }],
  ["commands: the platform's first", { runcmd: ["o"] }, { runcmd: ["t1", "t2"] }, { runcmd: ["o", "t1", "t2"] }],
  ["what only one of them says stands", { a: 1 }, { b: [2] }, { a: 1, b: [2] }],
  [
    "maps are joined key by key",
    { m: { a: 1, c: { x: 1 } } },
    { m: { b: 2, c: { y: 2 } } },
    { m: { a: 1, c: { x: 1, y: 2 }, b: 2 } },
  ],
  ["the platform's word stands", { a: 1, m: { k: "o" } }, { a: 2, m: { k: "t" } }, { a: 1, m: { k: "o" } }],
  ["and where one is a list and the other is not", { a: ["o"] }, { a: "t" }, { a: ["o"] }],
  ["nothing of the user's changes nothing", { runcmd: ["o"] }, {}, { runcmd: ["o"] }],
];
for (const [rule, ours, theirs, result] of CASES)
  test(rule, () => assert.equal(merged(ours as never, theirs as never, ["runcmd"]), result));

test("property: nothing of the platform's is lost, whatever the user says, and neither document is changed", () => {
  const document = fc.dictionary(fc.constantFrom("a", "b", "runcmd", "write_files", "m", "__proto__"), fc.jsonValue());
  fc.assert(
    fc.property(document, document, (ours, theirs) => {
      const [before, beforeTheirs] = [JSON.stringify(ours), JSON.stringify(theirs)];
      const result = merged(ours, theirs, ["runcmd"]);
      for (const [key, value] of Object.entries(ours)) {
        const kept: unknown = Object.getOwnPropertyDescriptor(result, key)!.value;
        if (Array.isArray(value)) for (const one of value) assert.ok((kept as unknown[]).includes(one));
        else if (typeof value !== "object" || value === null) assert.is(kept, value);
      }
      assert.equal([JSON.stringify(ours), JSON.stringify(theirs)], [before, beforeTheirs]);
    }),
  );
});

test.run();
