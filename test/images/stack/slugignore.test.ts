// .slugignore: which entries a pattern takes away.
import { mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { applySlugIgnore, parseSlugIgnore } from "../../../images/stack/program/slugignore.ts";

for (const [pattern, ignored, kept] of [
  ["*.psd", ["a.psd", "deep/b.psd"], ["a.psd.txt", "psd"]],
  ["/test", ["test"], ["deep/test", "testing"]],
  ["docs/api", ["docs/api"], ["deep/docs/api", "docs/api2"]],
  ["docs", ["docs", "deep/docs"], ["docs2", "mydocs"]],
  ["a?c", ["abc", "x/axc"], ["ac", "a/c"]],
  ["**/tmp", ["tmp", "a/tmp", "a/b/tmp"], ["tmpx"]],
  ["log/**", ["log/a", "log/a/b"], ["log"]],
  ["a.b+(c)", ["a.b+(c)"], ["axb+(c)", "a.bb(c)"]],
  ["spaced  ", ["spaced"], ["spaced  "]],
  ["*.py[co]", ["a.pyc", "deep/b.pyo"], ["a.py", "a.pyd"]],
  ["[Tt]est", ["test", "Test", "a/Test"], ["[Tt]est", "tests"]],
  ["test # why", ["test # why"], ["test"]],
  ["./img/", [], ["img", "img/a"]],
  ["vendor\\ x", ["vendor x"], ["vendor"]],
] as const) {
  test(`${JSON.stringify(pattern)} takes ${ignored.join(", ")} and leaves ${kept.join(", ") || "the rest"}`, () => {
    const { ignores } = parseSlugIgnore(pattern);
    for (const path of ignored) assert.ok(ignores(path, false), path);
    for (const path of kept) assert.not.ok(ignores(path, false), path);
  });
}

test("a pattern that ends in a slash takes folders only", () => {
  const { ignores } = parseSlugIgnore("build/");
  assert.ok(ignores("build", true));
  assert.not.ok(ignores("build", false));
});

test("comments and empty lines say nothing, a line with ! is warned about", () => {
  const { ignores, warnings } = parseSlugIgnore("\ufeff# all\r\n\r\n!kept\r\n/\r\n");
  assert.not.ok(ignores("kept", false));
  assert.not.ok(ignores("# all", false));
  assert.is(warnings.length, 1);
  assert.match(warnings[0]!, "line 3");
});

test("patterns that nothing was called by are named, and only they", () => {
  const rules = parseSlugIgnore("./img/\n*.py[co]\n# why\ntest # why\n");
  assert.ok(rules.ignores("a.pyc", false));
  assert.not.ok(rules.ignores("img", true));
  assert.equal(rules.unused(), ["./img/", "test # why"]);
});

test("any text is read without an error, and a pattern of plain letters takes just itself", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => void parseSlugIgnore(text).ignores("some/path", false)),
  );
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z]{1,8}$/), fc.stringMatching(/^[a-z]{1,8}$/), (pattern, name) =>
      assert.is(parseSlugIgnore(pattern).ignores(name, false), pattern === name),
    ),
  );
});

test("only what is below the folder is removed: a link goes, what it points to stays", async () => {
  const directory = await mkdtemp(join(tmpdir(), "slugignore-"));
  try {
    const app = join(directory, "app");
    await mkdir(join(app, "sub"), { recursive: true });
    await mkdir(join(directory, "outside"));
    await writeFile(join(directory, "outside/kept"), "");
    await symlink(join(directory, "outside"), join(app, "link"));
    await symlink(join(directory, "outside"), join(app, "other"));
    await writeFile(join(app, "sub/kept"), "");
    assert.is(await applySlugIgnore(app, parseSlugIgnore("link\nkept\n")), 2);
    assert.equal((await readdir(app)).sort(), ["other", "sub"]);
    assert.ok(await stat(join(directory, "outside/kept")));
    assert.equal(await readdir(join(app, "sub")), []);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test.run();
