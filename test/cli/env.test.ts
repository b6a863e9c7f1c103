// env: variables from words, files and stdin; the editor's file is private, gone afterwards, and only changes are sent.
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { closeFakes, type FakeControl, fakeControl } from "./fake-control.ts";
import type { InvokeOptions } from "./invoke.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-env-test-"));
test.after(() => rm(directory, { recursive: true, force: true }));
test.after.each(closeFakes);

const ENV = { KEEP: "k", CHANGE: "old", DROP: "d", LINES: "one\ntwo's\n" };
const RELEASE = {
  id: "release-2",
  appId: "app-1",
  version: 2,
  processes: {},
  envNames: [],
  description: "",
  createdAt: "2026-01-01T00:00:00Z",
  createdBy: "a",
  current: false,
};

async function control(): Promise<FakeControl> {
  const made = await fakeControl();
  made.on("GET /v1/apps/hello/env", { json: { env: ENV }, etag: '"7"' });
  made.on("PATCH /v1/apps/hello/env", { json: { release: RELEASE } });
  return made;
}
const sent = (made: FakeControl): unknown[] =>
  made.asked
    .filter(({ what }) => what.startsWith("PATCH"))
    .map(({ body }) => (JSON.parse(String(body)) as { env: unknown }).env);

test("many variables from words, a file and stdin become one change; words win over files", async () => {
  const made = await control();
  const file = join(directory, "some.env");
  await writeFile(file, "A=file\nPEM='x\ny'\n");
  const { code, out, err } = await made.flynn([
    "env",
    "set",
    "-a",
    "hello",
    "--file",
    file,
    "A=word",
    "E=",
    "Q=a=b 'c'",
  ]);
  assert.equal([code, out], [0, "Created release v2\n"], err);
  assert.equal(sent(made), [{ A: "word", PEM: "x\ny", E: "", Q: "a=b 'c'" }]);
});

test("lines, or one value with its newlines, come from stdin", async () => {
  const made = await control();
  const set = (argv: string[], stdin: string) => made.flynn(["env", "set", "-a", "hello", ...argv], { stdin });
  assert.is((await set(["-"], "A=1\nB='two\nlines'\n")).code, 0);
  assert.is((await set(["KEY=-", "C=3"], "-----BEGIN\nx=y\n-----END\n")).code, 0);
  assert.equal(sent(made), [
    { A: "1", B: "two\nlines" },
    { KEY: "-----BEGIN\nx=y\n-----END", C: "3" },
  ]);
  const twice = await set(["-", "KEY=-"], "A=1");
  assert.match(twice.err, /stdin can be read once/);
  const nothing = await set(["-"], "# only a comment\n");
  assert.match(nothing.err, /no variable/);
  const wrong = await set(["-"], "A=1\ns3cret\n");
  assert.match(wrong.err, /stdin, line 2: write a variable as NAME=VALUE/);
  assert.not.match(wrong.err, "s3cret");
  const bare = await set(["s3cret"], "");
  assert.is(bare.code, 2);
  assert.not.match(bare.err, "s3cret");
  assert.match((await set([], "")).err, /say what to set/);
  assert.is(sent(made).length, 2);
});

test("env --names, which `secrets list` is here, shows no value and says what does", async () => {
  const made = await control();
  for (const words of ["env --names", "secrets list"]) {
    const { code, out, err } = await made.flynn(`${words} -a hello`);
    assert.equal([code, out], [0, "CHANGE\nDROP\nKEEP\nLINES\n"], err);
    assert.is(err, "(names alone; `flynn env` shows the values)\n");
  }
  const json = await made.flynn("env --names --json -a hello");
  assert.equal(JSON.parse(json.out), ["CHANGE", "DROP", "KEEP", "LINES"]);
  assert.is((await made.flynn("env --names --shell -a hello")).code, 2);
});

test("env --shell prints what env set - reads back", async () => {
  const made = await control();
  const { out } = await made.flynn("env -a hello --shell");
  assert.is(out, "CHANGE=old\nDROP=d\nKEEP=k\nLINES='one\ntwo'\\''s\n'\n");
  assert.is((await made.flynn("env set -a hello -", { stdin: out })).code, 0);
  assert.equal(sent(made), [ENV]);
});

/** `keeps`: the file is to be there afterwards; what it holds is given as `kept`. */
type Edit = InvokeOptions & { keeps?: boolean };

/** An editor that is a script: gets the file's path, may look at it, and writes what it is told. */
async function editor(name: string, body: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, `#!/bin/sh\nset -e\nf=$1\nls -ld "$(dirname "$f")" "$f" > ${directory}/seen\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}
async function edit(made: FakeControl, program: string, { keeps = false, ...options }: Edit = {}) {
  const temporary = join(directory, "tmp");
  await mkdir(temporary, { recursive: true });
  const result = await made.flynn("env edit -a hello", {
    terminal: { in: true },
    ...options,
    env: { EDITOR: program, TMPDIR: temporary, XDG_RUNTIME_DIR: "", ...options.env },
  });
  const left = (await readdir(temporary)).map((name) => join(temporary, name, "app.env"));
  const modes = await Promise.all(left.map(async (file) => (await stat(file)).mode & 0o777));
  const kept = await Promise.all(left.map((file) => readFile(file, "utf8")));
  await rm(temporary, { recursive: true });
  assert.equal(modes, keeps ? [0o600] : [], "files left");
  return { ...result, kept: kept[0], file: left[0] };
}

test("edited: only what changed is sent, and the file was this user's alone", async () => {
  const made = await control();
  const program = await editor(
    "change",
    `sed -i -e 's/^CHANGE=.*/CHANGE="new one"/' -e '/^DROP=/d' "$f"; echo ADD=1 >> "$f"`,
  );
  const { code, out, err } = await edit(made, program);
  assert.is(code, 0, err);
  assert.match(out, "Created release v2");
  assert.match(err, /set: (ADD, CHANGE|CHANGE, ADD)\n.*removed: DROP/s);
  assert.equal(sent(made), [{ CHANGE: "new one", ADD: "1", DROP: null }]);
  const modes = (await readFile(join(directory, "seen"), "utf8")).split("\n").map((line) => line.slice(0, 10));
  assert.equal(modes.slice(0, 2), ["drwx------", "-rw-------"]);
});

test("edited onto what the user saw: when somebody else came first nothing is changed, and the text stays", async () => {
  const made = await control();
  const program = await editor("late", `echo ADD=typed >> "$f"`);
  made.on(
    "GET /v1/apps/hello/env",
    { json: { env: ENV }, etag: '"7"' },
    { json: { env: { ...ENV, KEEP: "theirs", NEW: "n" } }, etag: '"8"' },
  );
  made.on("PATCH /v1/apps/hello/env", { fault: "precondition", message: "changed since you read it", status: 412 });
  const { code, err, kept, file } = await edit(made, program, { keeps: true });
  assert.is(code, 5, err);
  assert.is(made.asked.find(({ what }) => what.startsWith("PATCH"))!.headers["if-match"], '"7"');
  assert.match(err, "somebody changed variables of hello meanwhile (KEEP, NEW), so nothing of yours was");
  assert.ok(err.includes(`what you typed is in ${file}`), err);
  assert.match(kept!, /^ADD=typed$/m);
  assert.not.match(err, /theirs|typed\b(?! is in)/);
});

test("what a refused edit typed stays too, whatever it was refused for", async () => {
  const made = await control();
  made.on("PATCH /v1/apps/hello/env", { fault: "invalid", message: "PORT is set by the platform", status: 400 });
  const { code, err, kept } = await edit(made, await editor("port", `echo PORT=1 >> "$f"`), { keeps: true });
  assert.is(code, 2);
  assert.match(err, "PORT is set by the platform");
  assert.match(kept!, /^PORT=1$/m);
});

test("saved unchanged nothing is sent", async () => {
  const made = await control();
  const { code, out } = await edit(made, await editor("touch", 'touch "$f"'));
  assert.equal([code, out, sent(made)], [0, "Nothing changed.\n", []]);
});

test("text that does not read is kept and edited again, or given up", async () => {
  const made = await control();
  const program = await editor(
    "twice",
    `if grep -q 'broken line' "$f"; then sed -i '/broken line/d' "$f"; else echo 'broken line' >> "$f"; echo MORE=1 >> "$f"; fi`,
  );
  const { code, err } = await edit(made, program, { typed: "" });
  assert.is(code, 0, err);
  assert.equal(sent(made), [{ MORE: "1" }], "what was typed beside the mistake is still there");
  const given = await edit(made, program, { typed: "q" });
  assert.match(given.err, /given up; nothing was changed/);
  assert.is(sent(made).length, 1);
});

test("an editor that fails, is not there, or has no terminal changes nothing and leaves nothing", async () => {
  const made = await control();
  assert.match((await edit(made, await editor("fail", "exit 3"))).err, /ended with code 3; nothing was changed/);
  assert.match((await edit(made, join(directory, "absent"))).err, /does not start; name another in EDITOR/);
  assert.match(
    (await edit(made, "true", { terminal: { in: false } })).err,
    /no terminal to edit on; use `flynn env set/,
  );
  assert.equal(sent(made), []);
});

test("a word without a value is counted in the line, and never said", async () => {
  const made = await control();
  const { code, err } = await made.flynn("env set -a hello A=1 s3cret");
  assert.is(code, 2);
  assert.match(err, "word 2 has no NAME= before its value: write NAME=VALUE, such as GREETING=hi");
  assert.not.match(err, "s3cret");
});

test.run();
