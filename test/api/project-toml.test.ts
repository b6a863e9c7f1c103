// project.toml: what it says of a build is read by the letter, and refused in words where it is not understood.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { type ProjectToml, parseProjectToml } from "#api/project-toml.ts";

const NOTHING: ProjectToml = { include: [], exclude: [], env: {}, group: [], pre: [], post: [], warnings: [] };
const V2 = '[_]\nschema-version = "0.2"\n';

test("schema 0.2: builder, files, buildpacks and variables; what describes the project, and other programs' tables, are passed over", () => {
  const found = parseProjectToml(`${V2}id = "com.example.app"
authors = ["a"]
[[_.licenses]]
type = "MIT"
[_.metadata]
pipeline = "x"
[io.buildpacks]
builder = "paketobuildpacks/builder-jammy-base:latest"
exclude = ["/README.md", "spec/"]
[[io.buildpacks.group]]
id = "paketo-buildpacks/nodejs"
version = "7.6.3"
[[io.buildpacks.group]]
uri = "urn:cnb:builder:heroku/procfile@3.1.2"
[[io.buildpacks.pre.group]]
id = "example/pre"
[[io.buildpacks.post.group]]
uri = "from=builder:heroku/procfile"
[[io.buildpacks.build.env]]
name = "JAVA_OPTS"
value = "-Xmx1g"
[[io.buildpacks.build.env]]
name = "EMPTY"
value = ""
[io.docker]
file = "x"
[com.heroku]
stack = 1
`);
  assert.equal(found, {
    builder: "paketobuildpacks/builder-jammy-base:latest",
    include: [],
    exclude: ["/README.md", "spec/"],
    env: { JAVA_OPTS: "-Xmx1g", EMPTY: "" },
    group: [
      { id: "paketo-buildpacks/nodejs", version: "7.6.3" },
      { id: "heroku/procfile", version: "3.1.2" },
    ],
    pre: [{ id: "example/pre" }],
    post: [{ id: "heroku/procfile" }],
    warnings: [],
  });
});

test("schema 0.1: [build] with its buildpacks and env", () => {
  const text = `[project]
name = "x"
[build]
include = ["cmd/", "*.go"]
builder = "b/c"
[[build.buildpacks]]
id = "a/b"
version = "latest"
[[build.env]]
name = "A"
value = "1"
[metadata]
x = 1
`;
  const wanted = { ...NOTHING, include: ["cmd/", "*.go"], builder: "b/c", env: { A: "1" }, group: [{ id: "a/b" }] };
  assert.equal(parseProjectToml(text), wanted);
  assert.equal(parseProjectToml(`[_]\nschema-version = "0.1"\n${text}`), wanted);
});

test("older and newer ways: env.build gives way to build.env, and what is for another environment than production is left out and said", () => {
  const old = '[[io.buildpacks.env.build]]\nname = "A"\nvalue = "old"\n';
  assert.equal(parseProjectToml(V2 + old).env, { A: "old" });
  const both = `${V2}[[io.buildpacks.build.env]]\nname = "A"\nvalue = "new"\n${old}`;
  assert.equal(parseProjectToml(both).env, { A: "new" });
  const found = parseProjectToml(`[_]
schema-version = "0.3"
[[io.buildpacks.group]]
id = "a/b"
exec-env = ["production", "test"]
[[io.buildpacks.group]]
id = "a/chrome"
exec-env = ["test"]
[[io.buildpacks.build.env]]
name = "A"
value = "production"
exec-env = ["*"]
[[io.buildpacks.build.env]]
name = "A"
value = "test"
exec-env = ["test"]
`);
  assert.equal([found.group, found.env], [[{ id: "a/b" }], { A: "production" }]);
  assert.equal(found.warnings, [
    "project.toml: io.buildpacks.group a/chrome is for test alone, not for production",
    "project.toml: io.buildpacks.build.env A is for test alone, not for production",
  ]);
});

test("nothing said is nothing asked for; a missing schema-version is said, a byte order mark is not", () => {
  for (const text of [
    "",
    "\ufeff",
    "[project]\nid = 'x'\n",
    `${V2}[io.buildpacks]\ninclude = []\n`,
    "[io.docker]\nx = 1",
  ])
    assert.equal(parseProjectToml(text), NOTHING, text);
  assert.equal(parseProjectToml("[io.buildpacks]\nbuilder = 'b'").warnings, [
    "project.toml names no schema-version; it is read as schema 0.2",
  ]);
});

const REFUSED: [string, RegExp][] = [
  ["[io.buildpacks", /^project\.toml: line 1: /],
  ["a = 1\na = 2\n", /^project\.toml: line 2: /],
  ['[_]\nschema-version = "0.9"\n', /schema-version "0\.9" is not known here; known are 0\.1, 0\.2, 0\.3/],
  ["[_]\nschema-version = 0.2\n", /schema-version "0\.2" is not known/],
  ["_ = 1", /_ is to be a table/],
  ["io = 1", /io is to be a table/],
  ["build = [1]", /build is to be a table/],
  [`${V2}[build]\nbuilder = "x"`, /\[build\] is of schema 0\.1, and the file says 0\.2/],
  ['[_]\nschema-version = "0.1"\n[io.buildpacks]\nbuilder = "x"', /\[io\.buildpacks\] is of schema 0\.2/],
  ['[build]\nbuilder = "x"\n[io.buildpacks]\nbuilder = "x"', /both say how to build/],
  [`${V2}[io.buildpacks]\nexlude = ["x"]`, /there is no io\.buildpacks\.exlude$/],
  [`${V2}[io.buildpacks.pre]\ngroups = []`, /there is no io\.buildpacks\.pre\.groups$/],
  [`${V2}[io.buildpacks.build]\nbuilder = "x"`, /there is no io\.buildpacks\.build\.builder$/],
  [`${V2}[io.buildpacks]\nbuilder = ["x"]`, /io\.buildpacks\.builder is no name of an image/],
  [`${V2}[io.buildpacks]\nbuilder = "--help"`, /io\.buildpacks\.builder is no name of an image/],
  [`${V2}[io.buildpacks]\ninclude = ["a"]\nexclude = ["b"]`, /has both include and exclude; the format allows one/],
  [`${V2}[io.buildpacks]\ninclude = "a"`, /include is to be a list of patterns/],
  [`${V2}[io.buildpacks]\ninclude = [1]`, /include: "1" is no pattern/],
  [`${V2}[io.buildpacks]\nexclude = ["a\\nb"]`, /exclude: .* is no pattern/],
  [`${V2}[io.buildpacks]\ngroup = "a"`, /group is to be a list of tables, such as \[\[io\.buildpacks\.group\]\]/],
  [`${V2}[[io.buildpacks.group]]\nversion = "1"`, /group: each has either an id or a uri/],
  [`${V2}[[io.buildpacks.group]]\nid = "a"\nuri = "b"`, /group: each has either an id or a uri/],
  [`${V2}[[io.buildpacks.group]]\nuri = "urn:cnb:builder:a"\nversion = "1"`, /one with a uri has no version/],
  [
    `${V2}[[io.buildpacks.group]]\nuri = "https://e.test/x.tgz"`,
    /"https:\/\/e\.test\/x\.tgz" would have to be fetched/,
  ],
  [`${V2}[[io.buildpacks.group]]\nuri = "buildpack/"`, /would have to be fetched; only buildpacks of the builder/],
  [`${V2}[[io.buildpacks.group]]\nid = "../x"`, /"\.\.\/x" is no id of a buildpack/],
  [`${V2}[[io.buildpacks.group]]\nid = "a"\nversion = "../1"`, /"\.\.\/1" is no version of a/],
  [`${V2}[[io.buildpacks.group]]\nid = "a"\n[io.buildpacks.group.script]\ninline = "x"`, /\(script\) are not run here/],
  [`${V2}[[io.buildpacks.group]]\nid = "a"\noptional = true`, /there is no io\.buildpacks\.group\.optional/],
  [`${V2}[[io.buildpacks.build.env]]\nname = "A B"\nvalue = "x"`, /build\.env: "A B" is no name of a variable/],
  [`${V2}[[io.buildpacks.build.env]]\nname = "A"\nvalue = 1`, /the value of A is to be a text/],
  [`${V2}[[io.buildpacks.build.env]]\nname = "A"\nvalue = "a\\u0000b"`, /the value of A is to be a text/],
  [`${V2}[[io.buildpacks.build.env]]\nname = "A"\nvalue = ""\nexec-env = "test"`, /exec-env is to be a list of names/],
  ["x = '''" + "a".repeat(65 * 1024), /larger than 64 KiB/],
];
for (const [text, why] of REFUSED)
  test(`refused: ${why.source.slice(0, 80)} of ${JSON.stringify(text.slice(-60))}`, () =>
    assert.throws(
      () => parseProjectToml(text),
      (error: Error) => error instanceof Fault && error.code === "invalid" && why.test(error.message),
    ));

test("a refused value is not in the words, since it may be a secret", () => {
  const text = `${V2}[[io.buildpacks.build.env]]\nname = "A"\nvalue = "hunter2\\u0000"`;
  assert.throws(
    () => parseProjectToml(text),
    (error: Error) => !error.message.includes("hunter2"),
  );
});

test("any text is read or refused in one line of words", () => {
  const sign = fc.constantFrom(
    ..."[]=\"'\n.{}#,_\\",
    "io.buildpacks",
    "group",
    "build",
    "env",
    "x",
    "[[",
    "]]",
    "__proto__",
  );
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(sign, { maxLength: 40 }).map((signs) => signs.join("")),
  );
  const depths = [`x = ${"[".repeat(30_000)}`, `x = ${"{a=".repeat(20_000)}`, `${"a.".repeat(30_000)}b = 1`];
  const check = (given: string) => {
    try {
      parseProjectToml(given);
    } catch (error) {
      assert.ok(error instanceof Fault && error.code === "invalid", String(error));
      assert.match((error as Error).message, /^project\.toml: [^\n]+$/);
    }
  };
  for (const deep of depths) check(deep);
  fc.assert(fc.property(text, check), { numRuns: 500 });
  assert.is(({} as Record<string, unknown>)["x"], undefined);
});

test.run();
