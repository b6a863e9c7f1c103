import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ExecError, exec } from "#lib/exec.ts";
import { PROGRAMS_OF } from "#lib/setup/packages.mjs";
import { isKnownProgram, PACKAGE_OF, PACKAGES_OF_SETS } from "../known-programs.ts";
import { argvFunctions, shellPrograms, startedBy, startedPrograms } from "../program-words.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Run on the machine itself; those of images run in images. */
const SCRIPTS = ["test/lab/host-init.sh", ".ci/run", "cli/flynn"];

async function sources(): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const entry of await readdir(ROOT, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name).slice(ROOT.length);
    if (
      !entry.isFile() ||
      !/\.(ts|mjs)$/.test(path) ||
      /(^|\/)(node_modules|\.cache|\.git|dist)\/|^test\/apps\//.test(path)
    )
      continue;
    if (path !== "test/lib/programs.test.ts") texts.set(path, await readFile(join(ROOT, path), "utf8"));
  }
  return texts;
}

test("every program that a source starts is of Debian's base or of a package that set-up installs", async () => {
  const texts = await sources();
  const functions = new Set([...texts.values()].flatMap(argvFunctions));
  const found = [...texts].flatMap(([path, text]) =>
    startedPrograms(text, functions).map(({ program, line }) => ({ program, where: `${path}:${line}` })),
  );
  assert.ok(found.length > 150, `only ${found.length} places were found where programs start`);
  assert.equal(
    found.filter(({ program }) => !isKnownProgram(program)).map(({ program, where }) => `${where} starts ${program}`),
    [],
  );
});

test("every program that a script of ours starts on the machine is known as well", async () => {
  for (const path of SCRIPTS)
    for (const program of shellPrograms(await readFile(join(ROOT, path), "utf8")))
      assert.ok(isKnownProgram(program) || program.includes("$"), `${path} starts ${program}`);
});

test("a program that nobody knows is seen, in whichever way it is started", () => {
  const functions = new Set(["exec", "lookIn"]);
  const table: [string, string[]][] = [
    ['exec(["ncat", "-l"])', ["ncat"]],
    ['await exec(\n  [\n    "ncat",\n  ],\n)', ["ncat"]],
    ['host.exec(["ncat"], { timeoutMs: 1 })', ["ncat"]],
    ['spawn("ncat", ["-l"], { stdio: ["ignore"] })', ["ncat"]],
    ['lookIn(folder, [ipv6 ? "ncat6" : "ncat"])', []],
    ['exec(quick ? ["ncat"] : ["nmap"])', ["ncat", "nmap"]],
    ['const listen = ["ncat", "-l"];\nexec(listen)', ["ncat"]],
    ['const part = { argv: ["ncat"] }', ["ncat"]],
    ['exec(["nsenter", "--net=/x", "--", "ncat", "-l"])', ["nsenter", "ncat"]],
    ['exec(["sh", "-c", "set -e; echo a | ncat b && jq . < /x", "sh"])', ["sh", "jq", "ncat"]],
    ['exec(["git", "status"]) // exec(["ncat"])', ["git"]],
    ['/exec\\(\\["x/.exec(text); exec(["ncat"])', ["ncat"]],
    ['assert.equal(names, ["ncat"])', []],
  ];
  for (const [source, wanted] of table)
    assert.equal(
      startedPrograms(source, functions)
        .map(({ program }) => program)
        .sort(),
      [...wanted].sort(),
      source,
    );
});

test("functions that take argv are known by their declaration, so that a new one is looked into as well", () => {
  const table: [string, string[]][] = [
    ["export function exec(argv: readonly string[], options = {}) {", ["exec"]],
    ["const inside = (argv: readonly string[]) => 1", ["inside"]],
    ["const lines = async (argv: string[]) => 1", ["lines"]],
    ["export async function start(\n  scope: Scope,\n  argv: readonly string[],", ["start"]],
    ["interface Host { spawn(argv: readonly string[]): void }", ["spawn"]],
    ["const git = (...argv: string[]) => 1", []],
  ];
  for (const [source, wanted] of table) assert.equal(argvFunctions(source), wanted, source);
});

test("of a process that runs, what its wrappers start is seen as well", () => {
  const argv = ["nsenter", "--net=/run/n", "--", "setpriv", "--pdeathsig", "TERM", "--", "ncat", "-l"];
  assert.equal(startedBy(argv), ["nsenter", "setpriv", "ncat"]);
  assert.equal(startedBy(["git", "log", "--", "ncat"]), ["git"]);
  for (const program of ["ncat", "/usr/bin/ncat", "/bin/ncat"]) assert.not.ok(isKnownProgram(program), program);
  for (const program of ["git", "/usr/bin/git", "/tmp/folder/own"]) assert.ok(isKnownProgram(program), program);
});

test("each package of the table is one that set-up installs or of the base, and no program is of two", () => {
  for (const name of Object.keys(PROGRAMS_OF)) assert.ok(PACKAGES_OF_SETS.has(name), name);
  const programs = Object.values(PROGRAMS_OF).flat();
  assert.equal(
    programs.filter((program, index) => programs.indexOf(program) !== index),
    [],
  );
});

test("the packages that are installed here bring the programs that the table says", async () => {
  const names = Object.keys(PROGRAMS_OF);
  const format = "$" + "{Package} $" + "{db:Status-Status}\n";
  const listed = await exec(["dpkg-query", "-W", "-f", format, ...names]).catch((error: unknown) => {
    if (error instanceof ExecError && error.exitCode === 1) return error; // one of them is not installed
    throw error;
  });
  const installed = names.filter((name) => listed.stdout.split("\n").includes(`${name} installed`));
  assert.ok(installed.length >= 10, listed.stdout);
  const alternatives = new Set(await readdir("/etc/alternatives"));
  for (const name of installed) {
    const { stdout } = await exec(["dpkg-query", "-L", name]);
    const files = new Set(stdout.split("\n").map((path) => basename(path)));
    for (const [program, owner] of PACKAGE_OF)
      if (owner === name) assert.ok(files.has(program) || alternatives.has(program), `${program} is not of ${name}`);
  }
});

test.run();
