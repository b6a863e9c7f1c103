import { test } from "uvu";
import * as assert from "uvu/assert";
import { withLastWords } from "../../../control/builds/last-words.ts";
import { bang, detail, step } from "../../../control/builds/words.ts";

const reason = "failed to compile Python app: bin/compile of python ended with code 1";
const words = (...before: string[]) => withLastWords(reason, `${before.join("")}${bang(reason)}`);

test("who failed with a code is quoted with what it said last", () => {
  const said = "failed to compile Python app: No version of nope fits.";
  assert.is(words(step("Installing"), detail("nope"), bang("No version of nope fits.")), said);
  assert.is(words(bang("First."), bang("No version of nope fits."), " !\n", "\n"), said);
});

test("without words right before it the code is all there is", () => {
  assert.is(words(step("Installing")), reason);
  assert.is(words(bang("A warning of long ago"), detail("went on")), reason);
  assert.is(withLastWords(reason, bang("Words.")), reason, "its line did not come through");
});

test("other reasons stay as they are", () => {
  for (const other of ["took longer than 15m", "the disk that this build may use is full"])
    assert.is(withLastWords(other, `${bang("Words.")}${bang(other)}`), other);
});

test.run();
