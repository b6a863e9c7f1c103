import { once } from "node:events";
import { PassThrough } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { deadline } from "#lib/time.ts";
import { feed } from "../../../control/git/feed.ts";

const fed = (source: PassThrough, target = new PassThrough()) =>
  deadline(feed(source, new PassThrough(), target), 2_000, "the end of the feed").then(
    () => "whole",
    (error: Error) => error.message,
  );

test("all of a source comes through, and the target is ended", async () => {
  const target = new PassThrough();
  const source = new PassThrough();
  source.end("all of it");
  assert.is(await fed(source, target), "whole");
  assert.is(String(target.read()), "all of it");
  assert.ok(target.writableEnded);
});

for (const [how, error] of [
  ["with an error", new Error("sent nothing for too long")],
  ["without a word", undefined],
] as const) {
  const words = error?.message ?? "the client went away";

  test(`a source that breaks off ${how} rejects, and leaves the target without an end`, async () => {
    const target = new PassThrough();
    const source = new PassThrough();
    const result = fed(source, target);
    source.write("some");
    await once(target, "readable");
    source.destroy(error);
    assert.is(await result, words);
    assert.not.ok(target.writableEnded);
  });

  test(`a source that broke off ${how} before it was read rejects as well`, async () => {
    const source = new PassThrough();
    source.on("error", () => undefined);
    source.write("some");
    source.destroy(error);
    await once(source, "close").catch(() => undefined);
    assert.is(await fed(source), words);
  });
}

test.run();
