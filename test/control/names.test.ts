import { test } from "uvu";
import * as assert from "uvu/assert";
import { appName, checkAppName } from "../../control/names.ts";

test("an app whose maker gave no name gets two words and four signs, another one each time, that could be anybody's name", () => {
  const made = Array.from({ length: 200 }, () => appName());
  for (const name of made) {
    assert.match(name, /^[a-z]+-[a-z]+-[a-z0-9]{4}$/);
    checkAppName(name);
  }
  assert.ok(new Set(made).size > 190);
  for (const random of [0, 0.999_999])
    assert.match(
      appName(() => random),
      /^[a-z]+-[a-z]+-/,
    );
});

test.run();
