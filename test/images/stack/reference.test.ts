// What may stand where a buildpack is named.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { builtIn, parseBuildpacksFile, parseReference } from "../../../images/stack/program/reference.ts";

for (const name of builtIn) {
  test(`${name} is one of ours, with or without a registry's prefix`, () => {
    for (const text of [name, `heroku/${name}`, `flynn/${name}`])
      assert.equal(parseReference(text), { kind: "built-in", name, shown: name });
  });
}

test("an https, http or git address is a repository, with the ref after #", () => {
  assert.equal(parseReference("https://code.test/a/b.git#v1.2"), {
    kind: "git",
    url: "https://code.test/a/b.git",
    ref: "v1.2",
    shown: "https://code.test/a/b.git#v1.2",
  });
  assert.is(parseReference("git://code.test/a/b").kind, "git");
  assert.is(parseReference("http://code.test/a/b#feature/x").kind, "git");
});

test("an address that ends in .tgz, .tar.gz or .tar is an archive, whatever its query", () => {
  for (const [address, compressed] of [
    ["https://code.test/a.tgz", true],
    ["https://code.test/a.tar.gz?token=abc", true],
    ["http://code.test/a.TAR", false],
  ] as const) {
    const found = parseReference(address);
    assert.is(found.kind, "archive", address);
    assert.is(found.kind === "archive" && found.compressed, compressed);
  }
});

test("what is shown of an address holds no password, token or query", () => {
  for (const address of [
    "https://me:s3cret@code.test/a.git",
    "https://s3cret@code.test/a.git",
    "https://x.test/a.tgz?s3cret",
  ]) {
    const found = parseReference(address);
    assert.ok("shown" in found);
    assert.not.match("shown" in found ? found.shown : "s3cret", "s3cret");
  }
});

for (const [address, why] of [
  ["", /1 to 1024/],
  [`https://code.test/${"a".repeat(1024)}`, /1 to 1024/],
  ["-x", /begin with -/],
  ["--upload-pack=touch", /begin with -/],
  ["ext::sh", /program to run/],
  ["https::evil", /program to run/],
  ["file:///etc/passwd", /begins with https/],
  ["/etc", /begins with https/],
  ["../up", /begins with https/],
  ["ssh://git@code.test/a", /SSH key/],
  ["git+ssh://code.test/a", /SSH key/],
  ["git@code.test:a/b.git", /SSH key/],
  ["javascript:alert(1)", /begins with https/],
  ["https:code.test/a", /no address/],
  ["https://-oProxyCommand=x/a", /no address|begin with -/],
  ["https://code.test/a#-x", /branch, a tag/],
  ["https://code.test/a#a..b", /branch, a tag/],
  ["https://code.test/a#%", /branch, a tag/],
  ["https://code.test/a#$(id)", /branch, a tag/],
  ["https://code.test/a.tgz#v1", /no #ref/],
  ["https://code.test/a.zip", /\.tgz/],
  ["https://code.test/a b", /without spaces/],
  ["https://code.test/a\nb", /without spaces/],
  ["php", /no buildpack php/],
] as const) {
  test(`${JSON.stringify(address.slice(0, 40))} is refused in words`, () => {
    const found = parseReference(address);
    assert.is(found.kind, "refused");
    assert.match(found.kind === "refused" ? found.why : "", why);
  });
}

test("whatever is taken is a plain http, https or git address without a leading dash, or one of ours", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.webUrl({ withFragments: true, withQueryParameters: true })), (text) => {
      const found = parseReference(text);
      if (found.kind === "refused") return assert.ok(found.why);
      if (found.kind === "built-in") return assert.ok(builtIn.includes(found.name));
      assert.match(found.url, /^(https?|git):\/\/[^-]/);
      if (found.kind === "git") assert.not.match(found.ref ?? "", /^-|\.\.|\s/);
    }),
  );
});

test("a .buildpacks file: one a line, comments, empty lines, Windows line ends and a byte order mark are passed over", () => {
  const text = "\ufeff# ours\r\nnodejs\r\n\r\n https://code.test/a.git#v1  # pinned\r\n";
  assert.equal(parseBuildpacksFile(text), ["nodejs", "https://code.test/a.git#v1"]);
});

test.run();
