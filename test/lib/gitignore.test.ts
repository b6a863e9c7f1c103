// Patterns of file names: what git itself says of them is what is said here.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ExecError, exec } from "#lib/exec.ts";
import { gitignore } from "#lib/gitignore.ts";

const FILES = [
  "a",
  "b.go",
  "a b",
  "#x",
  "!y",
  "a]",
  "-",
  "docs/a",
  "docs/api/b.go",
  "docs/api/a/x",
  "spec/docs/b",
  "spec/a/b/c/b.go",
  "x/y/docs/a",
  "B",
  "é/ü",
  "tail ",
];
const FOLDERS = [
  ...new Set(FILES.flatMap((path) => path.split("/").map((_, at, parts) => parts.slice(0, at).join("/")))),
].filter(Boolean);

/** Git's answer for each path. */
async function oracle(folder: string, patterns: readonly string[]): Promise<Set<string>> {
  await writeFile(join(folder, ".git/info/exclude"), `${patterns.join("\n")}\n`);
  const argv = [
    "git",
    "-C",
    folder,
    "-c",
    "core.excludesFile=/dev/null",
    "check-ignore",
    "--no-index",
    "-z",
    "--stdin",
  ];
  const env = { ...process.env, GIT_CONFIG_NOSYSTEM: "1", HOME: folder };
  const input = [...FILES, ...FOLDERS].map((path) => `${path}\0`).join("");
  const { stdout } = await exec(argv, { input, env }).catch((error: unknown) => {
    if (error instanceof ExecError && error.exitCode === 1) return { stdout: error.stdout };
    throw error;
  });
  return new Set(stdout.split("\0").filter(Boolean));
}

const PATTERNS: string[][] = [
  ["*.go"],
  ["docs"],
  ["docs/"],
  ["/docs"],
  ["docs/a"],
  ["a/"],
  ["**/docs"],
  ["docs/**"],
  ["**/b.go"],
  ["spec/**/b.go"],
  ["spec/**/c"],
  ["*", "!docs", "!docs/a"],
  ["docs", "!docs/a"],
  ["*.go", "!b.go"],
  ["docs/*", "!docs/api"],
  ["\\#x"],
  ["#x"],
  ["\\!y"],
  ["a\\ b"],
  ["tail\\ "],
  ["tail "],
  ["[a-b]"],
  ["[!a]"],
  ["[[:upper:]]"],
  ["a]"],
  ["[]a]"],
  ["[a"],
  ["[a-]"],
  ["?"],
  ["a?b"],
  ["a**b"],
  ["**"],
  ["/**"],
  ["/*"],
  ["/"],
  ["!"],
  ["\\"],
  ["x/**/**/a"],
  ["**/api/**"],
  ["é"],
];

test("paths are named as git names them", async () => {
  const folder = await mkdtemp(join(tmpdir(), "gitignore-"));
  try {
    await exec(["git", "init", "-q", folder]);
    for (const path of FILES) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), "");
    }
    const check = async (patterns: readonly string[]) => {
      const named = await oracle(folder, patterns);
      const match = gitignore(patterns);
      for (const path of FILES) assert.is(match(path, false), named.has(path), `${JSON.stringify(patterns)}: ${path}`);
      for (const path of FOLDERS)
        assert.is(match(path, true), named.has(path), `${JSON.stringify(patterns)}: ${path}/`);
    };
    for (const patterns of PATTERNS) await check(patterns);
    const sign = fc.constantFrom(..."ab/*?[]!-\\. ", "**", "docs", "api", "spec", "b.go", "[a-c]", "[!a]");
    // The same ones each time: git has corners of its own. Not as git: it takes the letters before the first star off before it looks at the rest, and then `a**/` means what `**/` does;
    // and it has sets with a slash in them, which never fit one.
    const pattern = fc
      .array(sign, { minLength: 1, maxLength: 6 })
      .map((signs) => signs.join(""))
      .filter((text) => !/[^/]\*\*/.test(text.slice(text.startsWith("!") ? 1 : 0)) && !/\[.*\//.test(text));
    await fc.assert(fc.asyncProperty(fc.array(pattern, { minLength: 1, maxLength: 4 }), check), {
      numRuns: 300,
      seed: 3,
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("no pattern takes long", () => {
  const path = `${"a".repeat(255)}/`.repeat(15).slice(0, -1);
  const startedMs = performance.now();
  for (const pattern of [`${"*a".repeat(128)}b`, `${"**/a*/".repeat(40)}b`, "**/*a*a*a*a*a*a*a*a*a*a*a*a*b"])
    assert.not.ok(gitignore([pattern])(path, false));
  assert.ok(performance.now() - startedMs < 10_000, `${performance.now() - startedMs} ms`);
});

test.run();
