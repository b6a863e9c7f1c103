// The lines that git hands to its hook: read whole, or not at all.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isService } from "../../../control/git/access.ts";
import { parseUpdates } from "../../../control/git/updates.ts";

const [OLD, NEW] = ["a".repeat(40), "b".repeat(40)];

test("each line is an old and a new commit and a ref; an empty push has none", () => {
  assert.equal(parseUpdates(""), []);
  assert.equal(parseUpdates(`${OLD} ${NEW} refs/heads/main\n${NEW} ${OLD} refs/tags/v1\n`), [
    { from: OLD, to: NEW, ref: "refs/heads/main" },
    { from: NEW, to: OLD, ref: "refs/tags/v1" },
  ]);
  assert.is(parseUpdates(`${"a".repeat(64)} ${"b".repeat(64)} refs/heads/main`)?.length, 1, "SHA-256");
});

test("git has two services here, and no text that only looks like one, nor anything that is no text, is a third", () => {
  for (const service of ["git-upload-pack", "git-receive-pack"]) assert.ok(isService(service), service);
  for (const other of ["git-upload-archive", "toString", "__proto__", "", undefined, 1, ["git-upload-pack"]])
    assert.not(isService(other), String(other));
});

test("one line that is none spoils all of them", () => {
  const good = `${OLD} ${NEW} refs/heads/main`;
  for (const bad of [
    "x",
    `${OLD} refs/heads/main`,
    `${OLD} ${NEW} HEAD`,
    `${OLD} ${NEW} refs/a b`,
    `${"a".repeat(39)} ${NEW} refs/a`,
  ])
    assert.is(parseUpdates(`${good}\n${bad}\n`), undefined, bad);
});

test.run();
