// Which addresses of control a member tries, and in which order.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { knownUrls } from "#api/control-urls.ts";

test("configured addresses come first, those that control names follow, none twice", () => {
  assert.equal(knownUrls(["https://a:1"], ["https://b:2", "https://a:1"]), ["https://a:1", "https://b:2"]);
});

test("without a target, or with one of an older control, there is what was configured", () => {
  assert.equal(knownUrls(["https://a:1"], undefined), ["https://a:1"]);
});

test("what is no address of control is left out, and the list has an end", () => {
  const odd = ["http://a:1", "https://u:p@b", "https://c/path", "nothing", 7, null, "https://d?x=1"] as string[];
  assert.equal(knownUrls(["https://a:1"], odd), ["https://a:1"]);
  assert.equal(knownUrls(["https://a:1"], "https://b" as unknown as string[]), ["https://a:1"]);
  const many = Array.from({ length: 100 }, (_, n) => `https://h${n}:1`);
  assert.is(knownUrls(["https://a:1"], many).length, 16);
});

test.run();
