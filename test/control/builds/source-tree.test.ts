// What a source archive may hold, entry by entry and to the last directory; archives as a whole are in source.test.ts.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type RawEntry, sourceTree } from "../../../control/builds/source-tree.ts";
import { refusal } from "../faults.ts";

const entry = (name: string, over: Partial<RawEntry> = {}): RawEntry => ({ name, type: "file", ...over });
const admitted = (...entries: RawEntry[]) => {
  const tree = sourceTree();
  return entries.map((each) => tree.admit(each)).at(-1);
};
const said = (...entries: RawEntry[]) => refusal(() => admitted(...entries)).replace(/^invalid /, "");

test("a file is kept with its path, its size and whether anybody may run it", () => {
  const file = { path: "a/b", kind: "file", mode: 0o644, sizeBytes: 0 } as const;
  assert.equal(admitted(entry("./a//b/")), file);
  assert.equal(admitted(entry("a/./b", { size: 7, mode: 0o666 })), { ...file, sizeBytes: 7 });
  for (const mode of [0o100, 0o010, 0o001, 0o777]) assert.is(admitted(entry("a/b", { mode }))!.mode, 0o755);
  for (const mode of [0o644, 0o444, 0, undefined]) assert.is(admitted(entry("a/b", { mode }))!.mode, 0o644);
  assert.equal(admitted(entry("a/b", { type: "contiguous-file", size: 1 })), { ...file, sizeBytes: 1 });
});

test("a directory may be run through and has no size; it may come again, a file may not", () => {
  const directory = { path: "a", kind: "directory", mode: 0o755, sizeBytes: 0 } as const;
  const given = entry("a/", { type: "directory", mode: 0o700, size: 9 });
  assert.equal([admitted(given), admitted(given, given)], [directory, directory]);
  assert.match(said(entry("a"), entry("a")), /comes twice/);
  assert.match(said(given, entry("a")), /comes twice/);
  assert.match(said(entry("a"), given), /comes twice/);
  assert.equal(admitted(entry("a/b"), given), directory, "made by what lies in it");
});

test("the root is no entry, and nothing but a directory", () => {
  for (const name of [".", "./", ""]) assert.is(admitted(entry(name, { type: "directory" })), undefined);
  for (const name of [".", "./"]) assert.match(said(entry(name)), /has no name/);
});

test("a tree is rooted when every name begins with ./", () => {
  const rooted = (...names: string[]) => {
    const tree = sourceTree();
    for (const name of names) tree.admit(entry(name, { type: "directory" }));
    return tree.rooted;
  };
  assert.equal([rooted(), rooted(".", "./a"), rooted("./a", "b"), rooted("b", "./a")], [true, true, false, false]);
});

test("names are 100 parts deep, 4,000 bytes long and 255 a part, at most", () => {
  const deep = (parts: number) => Array(parts).fill("a").join("/");
  assert.equal([said(entry(deep(100))), said(entry(deep(101))).includes("lies deeper than 100")], ["fine", true]);
  assert.is(said(entry("a".repeat(255))), "fine");
  assert.match(said(entry("a".repeat(256))), /too long/);
  assert.match(said(entry(`${"é".repeat(128)}`)), /too long/);
  const long = (bytes: number) => `${Array(15).fill("a".repeat(255)).join("/")}/`.padEnd(bytes, "b");
  assert.is(said(entry(long(4_000))), "fine");
  assert.match(said(entry(long(4_001))), /too long/);
});

test("names that lead astray are refused, and those that only look like it are not", () => {
  for (const [name, why] of [
    ["/a", /absolute/],
    ["a\u0000", /control characters/],
    ["a\u001f", /control characters/],
    ["a\u007f", /control characters/],
    ["a\ufffd", /not UTF-8/],
    ["a\ud800", /not UTF-8/],
    ["..", /`\.\.`/],
    ["a/../b", /`\.\.`/],
    ["a\\..\\b", /`\.\.`/],
    ["..\\b", /`\.\.`/],
    ["b\\..", /`\.\.`/],
  ] as const)
    assert.match(said(entry(name)), why, name);
  for (const name of ["...", "a..b", "a\\b", "..a\\b", "~", "-a", "a b", "\u0080é"])
    assert.is(said(entry(name)), "fine", name);
});

test(".git is left out wherever it lies and noted; other ways to write it are refused, names like it are kept", () => {
  const tree = sourceTree();
  for (const name of [".git", ".git/config", "a/.git/hooks/x"]) assert.is(tree.admit(entry(name)), undefined);
  assert.equal([[...tree.leftOut], [...tree.paths()]], [[".git"], []]);
  for (const name of [
    ".GIT",
    "a/.Git/x",
    "git~1",
    "GIT~12",
    ".git.",
    ".git ",
    ".git::$INDEX",
    ".git:$x",
    ".g\u200cit",
    "\ufeff.git",
  ])
    assert.match(said(entry(name)), /another way to write \.git/, name);
  for (const name of [".gitignore", "git", "a.git", ".git2", "git~", "x.git/y", "git~a"])
    assert.is(said(entry(name)), "fine", name);
});

test("kinds that no source tree has are refused by what they are", () => {
  for (const [type, why] of [
    ["character-device", "is a device node"],
    ["block-device", "is a device node"],
    ["fifo", "is a named pipe"],
    ["socket", "is of a kind that no source tree has"],
    ["toString", "is of a kind that no source tree has"],
    [undefined, "is of a kind that no source tree has"],
    [null, "is of a kind that no source tree has"],
  ] as const)
    assert.ok(said(entry("a", { type })).includes(why), String(type));
  for (const mode of [0o4755, 0o2755, 0o6755]) assert.match(said(entry("a", { mode })), /setuid or setgid/);
  assert.is(
    said(entry("a", { type: "directory", mode: 0o2755 })),
    "fine",
    "a directory's bit is dropped with its mode",
  );
  assert.match(said(entry("a", { pax: { "GNU.sparse.size": "1" } })), /sparse/);
  for (const pax of [{} as Record<string, string>, { mtime: "1" }, null]) assert.is(said(entry("a", { pax })), "fine");
});

const link = (name: string, linkname: string, type = "symlink") => entry(name, { type, linkname });

test("a symlink stays in the tree whatever it is followed through, and keeps what it says", () => {
  assert.equal(admitted(link("d/a", "../b")), {
    path: "d/a",
    kind: "symlink",
    mode: 0o644,
    sizeBytes: 0,
    target: "../b",
  });
  for (const [name, target, real] of [
    ["a/b", "../c/../d", "../d"],
    ["d/a", "x/../../b", "../b"],
    ["d/a", "x/..", "."],
    ["d/e/a", "../x/../../b", "../../b"],
    ["a", "./b//c", "./b//c"],
  ] as const)
    assert.is(admitted(link(name, target))?.target, real, `${name} to ${target}: no way up but at the beginning`);
});

test("a symlink that leads out of the tree is left out and said, and what lies below its name is a plain folder's", () => {
  for (const [name, target] of [
    ["a", "../b"],
    ["d/a", "../../b"],
    ["a", "/etc"],
    ["a", ".."],
    ["a", "b/../../x"],
    ["d/a", "x/../../../b"],
  ] as const) {
    const tree = sourceTree();
    assert.is(tree.admit(link(name, target)), undefined, `${name} to ${target}`);
    assert.equal([...tree.leftOut], [`symlink ${name} to ${target}, which is out of the tree,`]);
    assert.is(tree.kindOf(name), undefined);
    assert.is(tree.admit(entry(`${name}/x`))?.kind, "file");
    assert.is(tree.kindOf(name), "directory");
  }
  for (const target of ["", "a\nb", "a\u0000b"]) assert.match(said(link("a", target)), /target that is no path/);
});

test("a hard link is to a file before it; a path under what is no directory is refused", () => {
  assert.is(admitted(entry("x/f"), link("a", "./x//f", "link"))!.target, "x/f");
  assert.match(said(link("a", "f", "link")), /no file before it/);
  assert.match(said(entry("d", { type: "directory" }), link("a", "d", "link")), /no file/);
  assert.match(said(entry("f"), entry("f/x")), /lies under f, which is no directory/);
  assert.match(said(link("l", "f"), entry("l/x/y")), /lies under l, which is no directory/);
  assert.is(said(entry("f"), entry("fx/y")), "fine");
});

test("every directory above an entry is there, named or not", () => {
  const tree = sourceTree();
  tree.admit(entry("a/b/c"));
  assert.equal(
    ["a", "a/b", "a/b/c", "a/b/d"].map((path) => tree.kindOf(path)),
    ["directory", "directory", "file", undefined],
  );
  assert.equal([...tree.paths()], ["a", "a/b", "a/b/c"]);
});

test.run();
