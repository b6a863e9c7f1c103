import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { checkContent, contentVersion } from "../../control/content-version.ts";

test("the same content has the same version, other content another, and every version is an ETag of ours", () => {
  const digest = (text: string) => Buffer.from(text.padEnd(6, "-")).toString("hex");
  const [a, b] = [contentVersion({ digest }, "a"), contentVersion({ digest }, "b")];
  assert.is(contentVersion({ digest }, "a"), a);
  assert.is.not(a, b);
  for (const hex of ["0".repeat(64), "f".repeat(64)]) {
    const version = contentVersion({ digest: () => hex }, {});
    assert.ok(Number.isSafeInteger(version) && version >= 1 && /^[1-9]\d{0,14}$/.test(String(version)), `${version}`);
  }
});

test("who read another version than there is loses, who read this one or none does not", () => {
  checkContent("the environment", 7, undefined);
  checkContent("the environment", 7, 7);
  try {
    checkContent("the environment", 7, 6);
    assert.unreachable();
  } catch (error) {
    assert.ok(isFault(error, "precondition"));
    assert.match(error.message, "the environment changed since you read it");
  }
});

test.run();
