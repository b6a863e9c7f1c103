// /flynn/build's rules that need no container: what it reads, what it hands to buildpacks, how a build ends.
import { spawnSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { environmentOf } from "../../../images/stack/program/build.ts";
import { parseDescription } from "../../../images/stack/program/description.ts";
import { parseEnvironment, parseRelease } from "../../../images/stack/program/pack.ts";
import { plain } from "../../../images/stack/program/say.ts";

const PROGRAM = fileURLToPath(new URL("../../../images/stack/program/main.ts", import.meta.url));
const root = await mkdtemp(join(tmpdir(), "build-test-"));
test.after(() => rm(root, { recursive: true, force: true }));
let count = 0;

/** Runs the program below a folder of its own, with buildpacks of the test's. */
async function build(options: {
  files: Record<string, string>;
  packs?: Record<string, Record<string, string>>;
  buildpacks?: string[];
  env?: Record<string, string>;
  at?: string;
}) {
  const { files, packs = {}, buildpacks = [], env = {} } = options;
  const at = options.at ?? join(root, String(++count));
  const write = async (folder: string, contents: Record<string, string>, mode?: number) => {
    for (const [name, text] of Object.entries(contents)) {
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await writeFile(join(folder, name), text);
      if (mode !== undefined) await chmod(join(folder, name), mode);
    }
  };
  await rm(join(at, "app"), { recursive: true, force: true });
  await rm(join(at, "src"), { recursive: true, force: true });
  await mkdir(join(at, "in/env"), { recursive: true });
  await write(join(at, "src"), { ".keep": "", ...files });
  await write(join(at, "in/env"), env);
  for (const name of ["ruby", "nodejs", "python", "go", "static", "procfile"])
    await write(join(at, "packs", name), { "bin/detect": "#!/bin/sh\nexit 1\n", ...packs[name] }, 0o755);
  await exec(["tar", "--create", `--file=${join(at, "in/source.tar")}`, `--directory=${join(at, "src")}`, "."]);
  await writeFile(
    join(at, "in/build.json"),
    JSON.stringify({ app: "x", build: "b1", commit: "abc", stack: "flynn-12", buildpacks }),
  );
  const argv = [PROGRAM, "--root", at, "--buildpacks", join(at, "packs")];
  const around = { PATH: process.env["PATH"], SECRET_OF_BUILDER: "t0p" };
  const { status, stdout } = spawnSync(process.execPath, argv, { env: around, encoding: "utf8", timeout: 50_000 });
  const result = JSON.parse(await readFile(join(at, "out/result.json"), "utf8"));
  return { status, log: stdout, result, at };
}

const pack = (compile: string, more: Record<string, string> = {}) => ({
  "bin/detect": "#!/bin/sh\necho Test\n",
  "bin/compile": `#!/bin/bash\n${compile}\n`,
  ...more,
});

test("buildpacks see the contract's variables and nothing of the builder's or the app's", async () => {
  const { status, log } = await build({
    files: {},
    env: { SECRET_OF_APP: "t0p", PATH: "/evil" },
    packs: { nodejs: pack("env | sort | grep -v '^_=\\|^PWD=\\|^SHLVL='") },
  });
  assert.is(status, 0, log);
  const seen = log
    .split("\n")
    .filter((line) => /^[A-Z_]+=/.test(line))
    .map((line) => line.split("=")[0]);
  const wanted = [
    "APP_DIR",
    "CURL_CONNECT_TIMEOUT",
    "CURL_TIMEOUT",
    "HOME",
    "LANG",
    "PATH",
    "REQUEST_ID",
    "SOURCE_VERSION",
    "STACK",
  ];
  assert.equal(seen, wanted);
  assert.not.match(log, /t0p|evil/);
});

test("a failed build says why last, keeps the old cache and leaves no slug; report runs all the same", async () => {
  const compile = 'echo x >> "$2/n"; wc -l < "$2/n"; [ ! -f fail ]';
  const report = '#!/bin/sh\ntouch "$1/../reported"\n';
  const packs = { go: pack(compile, { "bin/report": report }) };
  const first = await build({ files: {}, packs });
  assert.is(first.status, 0, first.log);
  const failed = await build({ files: { fail: "" }, packs, at: first.at });
  assert.is(failed.status, 1);
  assert.is(failed.result.reason, "failed to compile Test app: bin/compile of go ended with code 1");
  assert.ok(failed.log.endsWith(` !     ${failed.result.reason}\n`), failed.log);
  assert.ok(await stat(join(first.at, "reported")));
  assert.is(await readFile(join(first.at, "cache/kept/n"), "utf8"), "x\n");
});

test("of two languages that fit the first is used, and the push says so", async () => {
  const { log, result } = await build({
    files: {},
    packs: { python: pack("echo python"), ruby: pack("echo ruby"), static: pack("echo static") },
  });
  assert.match(log, /^ruby$/m);
  assert.not.match(log, /^python$/m);
  assert.match(log, / ! {5}Several buildpacks fit: ruby, python\. /);
  assert.is(result.detected, "Test");
});

test("what a buildpack leaves running in the background ends with it", async () => {
  // A build that waited for them would take five minutes, which this file has not.
  const { status } = await build({
    files: {},
    packs: { nodejs: pack("sleep 300 &\nexit 0", { "bin/release": "#!/bin/sh\nsleep 300 &\necho '{}'\n" }) },
  });
  assert.is(status, 0);
});

test("the Procfile goes before default types, and an unknown app is told what was looked for", async () => {
  const release = "#!/bin/sh\nprintf 'default_process_types:\\n  web: default\\n  console: sh\\n'\n";
  const { result, log } = await build({
    files: { Procfile: "web: mine\n" },
    packs: { nodejs: pack("true", { "bin/release": release }) },
  });
  assert.equal(result.processes, { web: "mine", console: "sh" });
  assert.match(log, "       Procfile declares types -> web\n       Default types for nodejs -> console\n");
  const unknown = await build({ files: {} });
  assert.is(unknown.status, 1);
  assert.is(unknown.result.reason, "no buildpack knows what this app is made of");
});

test("a source that climbs out of its folder stays inside", async () => {
  const at = join(root, "climb");
  const evil = join(at, "in/source.tar");
  await build({ files: {}, packs: { nodejs: pack("true") }, at });
  await writeFile(join(at, "evil"), "x");
  await exec([
    "tar",
    "--create",
    "--absolute-names",
    `--file=${evil}`,
    "--transform=s,.*evil$,../outside,",
    join(at, "evil"),
  ]);
  await rm(join(at, "app"), { recursive: true });
  const argv = [PROGRAM, "--root", at, "--buildpacks", join(at, "packs")];
  const { status, stdout } = spawnSync(process.execPath, argv, {
    env: { PATH: process.env["PATH"] },
    encoding: "utf8",
    timeout: 50_000,
  });
  assert.is(await stat(join(at, "outside")).catch(() => "none"), "none");
  assert.ok(status === 0 || / ! {5}the source could not be unpacked/.test(stdout), stdout);
});

for (const [text, processes, warnings] of [
  ["", {}, 0],
  ["---\naddons: []\nconfig_vars: {}\ndefault_process_types:\n  web: npm start\n", { web: "npm start" }, 0],
  ["default_process_types: {web: 'a: b', Worker: x, empty: '', n: 3, constructor: x}", { web: "a: b" }, 4],
  ["addons: [postgres]\n", {}, 1],
  ["web: npm start: x: y\n", {}, 1],
  ["- a list", {}, 1],
  ["default_process_types: [web]", {}, 1],
  ["a: &a [*a]", {}, 1],
] as const) {
  test(`bin/release's ${JSON.stringify(text.slice(0, 50))} gives ${JSON.stringify(processes)}`, () => {
    const found = parseRelease(text, "x");
    assert.equal({ ...found.processes }, processes);
    assert.is(found.warnings.length, warnings, found.warnings.join("; "));
  });
}

test("any YAML that a buildpack prints gives commands of one line, or none", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const [name, command] of Object.entries(parseRelease(text, "x").processes)) {
        assert.match(name, /^[a-z][a-z0-9_-]*$/);
        assert.not.match(command, "\n");
      }
    }),
  );
});

test("an exported environment is read whole, without what the shell keeps for itself", () => {
  assert.equal(parseEnvironment("A=1\0B=x=y\nz\0_=/usr/bin/env\0SHLVL=1\0PWD=/\0BASH_FUNC_f%%=() {}\0broken\0"), {
    A: "1",
    B: "x=y\nz",
  });
});

test("a build's description is read with every field missing or of another kind", () => {
  assert.equal(parseDescription('{"app":1,"buildpacks":["a",2]}'), {
    app: "",
    build: "",
    commit: "",
    stack: "",
    buildpacks: ["a"],
    environment: {},
  });
  assert.throws(() => parseDescription("[1"));
  const given = parseDescription('{"environment":{"PIP_CERT":"/in/ca","HOME":"/x","A B":"c","D":1}}');
  assert.equal(given.environment, { PIP_CERT: "/in/ca", HOME: "/x" });
  const installers = environmentOf(given, { app: "/app", path: "/bin", stack: "s" });
  assert.equal([installers["PIP_CERT"], installers["HOME"]], ["/in/ca", "/app"]);
  const { GIT_DIR, ...environment } = environmentOf(
    { commit: "c", build: "b" },
    { app: "/app", path: "/bin", stack: "s" },
  );
  assert.is(GIT_DIR, undefined);
  assert.is(environment["HOME"], "/app");
});

test("what comes from outside cannot move a terminal's cursor in a line of ours", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) =>
      assert.not.match(plain(text), /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/),
    ),
  );
});

test.run();
