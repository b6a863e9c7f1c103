import { createHash } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createManifest, type Manifest, manifestText, parseManifest } from "../../../images/host/manifest.ts";
import { manifestBody } from "../support/manifest.ts";

test("the id is what images/README.md says: 16 hex digits of the sha256 of the sorted JSON without the id", () => {
  const { id, ...rest } = JSON.parse(manifestText(createManifest(manifestBody)));
  assert.is(
    id,
    createHash("sha256")
      .update(JSON.stringify(rest, undefined, 2))
      .digest("hex")
      .slice(0, 16),
  );
});

test("the order in which fields were set changes neither id nor text", () => {
  const shuffled = Object.fromEntries(Object.entries(manifestBody).reverse()) as unknown as typeof manifestBody;
  assert.is(manifestText(createManifest(shuffled)), manifestText(createManifest(manifestBody)));
});

test("what was written is read back", () => {
  const manifest = createManifest(manifestBody);
  assert.equal(parseManifest(manifestText(manifest)), JSON.parse(JSON.stringify(manifest)));
});

const broken: [string, (manifest: Manifest) => unknown, RegExp][] = [
  ["a changed size", (m) => ({ ...m, squashfs: { ...m.squashfs, sizeBytes: 1 } }), /id does not belong/],
  ["a hash that is not one", (m) => ({ ...m, initrd: { ...m.initrd, sha256: "../x" } }), /initrd.sha256/],
  ["a missing file", (m) => ({ ...m, kernel: undefined }), /kernel is missing/],
  ["a kernel argument with a newline", (m) => ({ ...m, cmdline: ["a\nb"] }), /cmdline/],
  ["a kernel argument with a space", (m) => ({ ...m, cmdline: ["a init=/bin/sh"] }), /cmdline/],
  ["a negative memory need", (m) => ({ ...m, memoryNeedBytes: -1 }), /memoryNeedBytes/],
  ["a list", () => [], /must be an object/],
  ["null", () => null, /must be an object/],
];
for (const [what, change, message] of broken) {
  test(`a manifest with ${what} is refused`, () => {
    assert.throws(() => parseManifest(JSON.stringify(change(createManifest(manifestBody)))), message);
  });
}

test("text that is not JSON is refused", () => {
  assert.throws(() => parseManifest("{"), /not JSON/);
});

test.run();
