// History that old programs wrote: what is wrong in it and harms nobody is taken with a warning; git itself says which it is.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { gitConfigText } from "../../../control/git/settings.ts";

const PERSON = "A <a@b>";
const WHEN = "1600000000 +0000";
const commit = (tree: string, author = `${PERSON} ${WHEN}`) =>
  `tree ${tree}\nauthor ${author}\ncommitter ${PERSON} ${WHEN}\n\nold\n`;
const EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

const FAULTS: [fault: string, author: string][] = [
  ["badDate", `${PERSON} 16e9 +0000`],
  ["missingSpaceBeforeEmail", `A<a@b> ${WHEN}`],
  ["missingNameBeforeEmail", `<a@b> ${WHEN}`],
  ["badTimezone", `${PERSON} 1600000000 +051800`],
];

async function withRepositories(work: (git: (...argv: string[]) => Promise<string>, at: string) => Promise<void>) {
  const at = await mkdtemp(join(tmpdir(), "flynn-old-history-"));
  try {
    const [home, config] = [join(at, "home"), join(at, "server.config")];
    await mkdir(home);
    await writeFile(config, gitConfigText({ hooksDir: join(at, "none"), packBytes: 1 << 30 }));
    const env = { PATH: process.env["PATH"]!, HOME: home, GIT_CONFIG_NOSYSTEM: "1", LC_ALL: "C" };
    const git = async (...argv: string[]) => (await exec(["git", ...argv], { env, timeoutMs: 30_000 })).stdout.trim();
    await git("init", "-q", join(at, "c"));
    await exec(["git", "init", "-q", "--bare", join(at, "s")], {
      env: { ...env, GIT_CONFIG_GLOBAL: config },
      timeoutMs: 30_000,
    });
    await git("-C", join(at, "c"), "hash-object", "-w", "-t", "tree", "/dev/null");
    await work(git, at);
  } finally {
    await rm(at, { recursive: true, force: true });
  }
}

/** What index-pack makes of it under the settings of the server, as receive-pack starts it. */
async function received(git: (...argv: string[]) => Promise<string>, at: string, object: string): Promise<string> {
  const pack = join(at, "pack");
  const c = join(at, "c");
  await exec(["bash", "-c", `echo ${object} | git -C "$1" pack-objects --revs --stdout > "$2"`, "-", c, pack], {
    env: { PATH: process.env["PATH"]!, HOME: join(at, "home") },
    timeoutMs: 30_000,
  });
  const ids = await git("config", "--file", join(at, "server.config"), "--get-regexp", "^receive\\.fsck\\.");
  const rules = ids.split("\n").map((line) => line.replace(/^receive\.fsck\./, "").replace(" ", "="));
  const said = await exec(
    [
      "bash",
      "-c",
      'git -C "$1" index-pack --stdin "--strict=$3" < "$2" 2>&1 || true',
      "-",
      join(at, "s"),
      pack,
      rules.join(","),
    ],
    { env: { PATH: process.env["PATH"]!, HOME: join(at, "home"), LC_ALL: "C" }, timeoutMs: 30_000 },
  );
  return said.stdout;
}

async function stored(at: string, type: string, content: Buffer | string): Promise<string> {
  const file = join(at, "object");
  await writeFile(file, content);
  const argv = ["git", "-C", join(at, "c"), "hash-object", "-w", "--literally", "-t", type, file];
  return (
    await exec(argv, { env: { PATH: process.env["PATH"]!, HOME: join(at, "home") }, timeoutMs: 30_000 })
  ).stdout.trim();
}

for (const [fault, author] of FAULTS)
  test(`${fault}: taken, with git's warning`, () =>
    withRepositories(async (git, at) => {
      const said = await received(git, at, await stored(at, "commit", commit(EMPTY, author)));
      assert.match(said, new RegExp(`warning: .*${fault}`, "i"));
      assert.match(said, /^pack\t[0-9a-f]{40}/m);
    }));

test("duplicateEntries: taken, with git's warning; what is built is held to its own rule", () =>
  withRepositories(async (git, at) => {
    const blob = await stored(at, "blob", "x");
    const entry = Buffer.concat([Buffer.from("100644 a\0"), Buffer.from(blob, "hex")]);
    const tree = await stored(at, "tree", Buffer.concat([entry, entry]));
    const said = await received(git, at, await stored(at, "commit", commit(tree)));
    assert.match(said, /warning: .*duplicateEntries/i);
    assert.match(said, /^pack\t/m);
  }));

test("what could do harm is refused as before: a name with .. in it", () =>
  withRepositories(async (git, at) => {
    const blob = await stored(at, "blob", "x");
    const tree = await stored(at, "tree", Buffer.concat([Buffer.from("100644 ..\0"), Buffer.from(blob, "hex")]));
    const said = await received(git, at, await stored(at, "commit", commit(tree)));
    assert.match(said, /fatal|error/);
    assert.not.match(said, /^pack\t/m);
  }));

test.run();
