// What a source tree says, and what in it cannot work, in the user's words.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { emptySubmodule, isLfsPointer, READ_FILES, type Scanned, sourceFacts } from "../../../control/builds/facts.ts";

const scanned = (over: Partial<Scanned> = {}): Scanned => ({
  texts: {},
  kindOf: () => undefined,
  paths: () => [],
  lfsPointers: [],
  entries: 3,
  notes: ["unpacked"],
  ...over,
});
const refusal = (over: Partial<Scanned>): string => {
  try {
    sourceFacts(scanned(over));
  } catch (error) {
    if (isFault(error, "invalid")) return error.message;
    throw error;
  }
  return "";
};

test("a Dockerfile is there as a file or a link, by its usual name or the one that is set, and as nothing else", () => {
  const kinds: Record<string, string> = { Dockerfile: "file", "build/Other": "link", folder: "folder" };
  const kindOf = ((path: string) => kinds[path]) as Scanned["kindOf"];
  const has = (dockerfile?: string) =>
    sourceFacts(scanned({ kindOf }), dockerfile === undefined ? {} : { dockerfile }).dockerfile;
  assert.equal([has(), has("build/Other"), has("folder"), has("none")], [true, true, false, false]);
  const texts = { Procfile: "web: x" };
  assert.equal(sourceFacts(scanned({ texts })), { texts, dockerfile: false, entries: 3, notes: ["unpacked"] });
});

test("nothing, LFS pointers and submodules without files are refused, with what to do instead", () => {
  assert.is(refusal({ entries: 0 }), "the source is empty: there is nothing to build");
  assert.match(
    refusal({ lfsPointers: ["a.bin"] }),
    /^a\.bin is only a Git LFS pointer: .*git lfs pull.*flynn deploy \./,
  );
  assert.match(refusal({ lfsPointers: ["a.bin", "b"] }), /^a\.bin and 1 more files are only a Git LFS pointer/);
  assert.match(refusal({ lfsPointers: ["a", "b", "c"] }), /^a and 2 more files are only/);
  const texts = { ".gitmodules": '[submodule "x"]\n\tpath = vendor/x\n' };
  assert.match(refusal({ texts }), /^vendor\/x is a git submodule, and a push does not carry its files\./);
  assert.is(refusal({ texts, paths: () => ["vendor/x/file"] }), "");
});

test("a submodule is empty when no file lies in its folder, however deep or however it is written", () => {
  const modules = (...paths: string[]) =>
    paths.map((path, n) => `[submodule "${n}"]\r\n \tpath  =\t${path} \r\n url = x\r\n`).join("");
  const first = (gitmodules: string | undefined, ...paths: string[]) => emptySubmodule(gitmodules, () => paths);
  assert.is(first(undefined, "a"), undefined);
  assert.is(first("[submodule]\nurl = x\n"), undefined);
  assert.is(
    first(modules("lib/a"), "lib/a", "lib/ab/c", "x/lib/a/b"),
    "lib/a",
    "a file of its name, or beside it, is none",
  );
  assert.is(first(modules("lib/a///"), "lib/a/b/c"), undefined);
  assert.is(first(modules("one", "two"), "one/x"), "two");
  assert.is(first(modules("one", "two"), "two/x", "one/y/z"), undefined);
  assert.is(first(modules("with space"), "with space/x"), undefined);
  assert.is(first(modules("x".repeat(300))), "x".repeat(200));
});

test("a pointer of LFS is known by its first line and its hash", () => {
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${"ab".repeat(32)}\nsize 12\n`;
  assert.ok(isLfsPointer(pointer));
  assert.ok(isLfsPointer(pointer.replaceAll("\n", "\r\n")));
  for (const other of [
    `x${pointer}`,
    pointer.replace("sha256", "md5"),
    pointer.replace("ab", "AB"),
    "version https://git-lfs.github.com/spec/v1\n",
    "",
  ])
    assert.not(isLfsPointer(other), other);
});

test("texts are read to a bound each", () => {
  assert.equal(
    { ...READ_FILES },
    {
      Procfile: 65_536,
      "app.json": 65_536,
      "project.toml": 65_536,
      ".buildpacks": 16_384,
      ".gitmodules": 65_536,
    },
  );
});

test.run();
