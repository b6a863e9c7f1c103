import { readFile } from "node:fs/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { markdown, outcome, ROWS } from "../../lab/reach-table.ts";

test("the table of what a tenant reaches stands in the documents as it is seen in the kernel", async () => {
  const readme = await readFile(new URL("../../../hostd/README.md", import.meta.url), "utf8");
  assert.ok(readme.includes(markdown(ROWS)), `hostd/README.md has another table than\n${markdown(ROWS)}`);
});

test("an outcome is named by the policies under which it was reached", () => {
  assert.is(outcome([]), "no");
  assert.is(outcome(["none", "all", "internet"]), "yes");
  assert.is(outcome(["internet", "all"]), "all, internet");
  assert.is(outcome(["none"]), "none", "no outcome that anybody wants, and seen as such");
});

test.run();
