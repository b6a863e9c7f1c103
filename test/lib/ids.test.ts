import { test } from "uvu";
import * as assert from "uvu/assert";
import { newId, newSecret, randomText } from "#lib/ids.ts";

test("ids of later seconds sort after those of earlier ones", () => {
  const at = [0, 1_000, 60_000, 1e9, 1e12, Date.UTC(2100, 0)];
  const ids = at.map((ms) => newId("job", ms));
  assert.equal([...ids].sort(), ids);
});

test("an id is safe in host names, paths and URLs", () => {
  for (let n = 0; n < 200; n++) assert.match(newId("host"), /^host-[0-9a-v]{16}$/);
});

test("a thousand ids of one second are all different", () => {
  assert.is(new Set(Array.from({ length: 1_000 }, () => newId("a", 1))).size, 1_000);
});

test("secrets have 256 bits and random text the length asked for", () => {
  assert.is(Buffer.from(newSecret(), "base64url").length, 32);
  assert.match(randomText(40), /^[0-9a-v]{40}$/);
});

test("a secret is never taken for a flag when it is given to a command", () => {
  for (let n = 0; n < 2_000; n++) assert.match(newSecret(), /^[A-Za-z0-9_][A-Za-z0-9_-]{42}$/);
});

test.run();
