// time limit: 300 s
// Whatever git has against a push, it has before anything is built, and what is deployed is where the branch is: one row for each
// thing that git, its locks or its disk may refuse, with the real git on loopback.
import { chmod, copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { App } from "#api/apps.ts";
import { exec } from "#lib/exec.ts";
import { isUnreached } from "../../../control/git/packs.ts";
import { eventually, type GitRig, gitRig, head, packOf, type Ran, rawPush } from "./git-rig.ts";

interface Place {
  it: GitRig;
  app: string;
  work: string;
}

interface Row {
  title: string;
  app?: Partial<App>;
  /** Prepares, and says what to push: arguments of git push, or a push made by hand. */
  push: (place: Place) => Promise<string[] | (() => Promise<Ran>)>;
  /** Of an app whose first push is done. */
  second?: boolean;
  taken: boolean;
  words?: RegExp;
  branch?: string;
}

const git = suite("refused");
let it: GitRig;
git.before(async () => {
  it = await gitRig();
});
git.after(() => it.close());

const NONE = "0".repeat(40);
const text = (chunks: Buffer[]): string => Buffer.concat(chunks).toString("latin1");
const objectOf = async (work: string, what: string): Promise<string> =>
  (await it.gitIn(work, "rev-parse", what)).out.trim();
/** As an operator's own git, or an earlier one's, left it. */
const setRef = (app: string, ref: string, oid: string) =>
  exec(["git", `--git-dir=${it.repository(app)}`, "update-ref", ref, oid]);

const ROWS: Row[] = [
  {
    title: "a push from a shallow clone",
    async push({ work, app }) {
      await it.commit(work, { "index.html": "two\n" });
      const shallow = `${work}-shallow`;
      assert.is((await it.run(["git", "clone", "--quiet", "--depth", "1", `file://${work}`, shallow])).code, 0);
      return () => it.gitIn(shallow, "push", it.remote(app), "HEAD:main");
    },
    taken: true,
  },
  {
    title: "a push from a shallow clone to a branch that has other commits, by force",
    second: true,
    async push({ work, app }) {
      await it.gitIn(work, "commit", "--quiet", "--amend", "-m", "other");
      await it.commit(work, { "index.html": "two\n" });
      const shallow = `${work}-shallow`;
      assert.is((await it.run(["git", "clone", "--quiet", "--depth", "1", `file://${work}`, shallow])).code, 0);
      return () => it.gitIn(shallow, "push", "--force", it.remote(app), "HEAD:main");
    },
    taken: true,
  },
  {
    title: "a shallow clone that says its history ends where it does not",
    async push({ work, app }) {
      const first = await objectOf(work, "HEAD");
      await it.commit(work, { "index.html": "two\n" });
      const file = `${work}.thin`;
      const script = 'printf "HEAD\\n^HEAD~1\\n" | git -C "$1" pack-objects --stdout --revs --quiet > "$2"';
      await exec(["sh", "-c", script, "sh", work, file]);
      const oid = await objectOf(work, "HEAD");
      const pack = await readFile(file);
      return () => raw(app, [`${NONE} ${oid} refs/heads/main`], pack, [first]);
    },
    taken: false,
  },
  {
    title: "an annotated tag: the commit it names",
    async push({ work }) {
      await it.gitIn(work, "tag", "-a", "v1", "-m", "x");
      return ["v1:refs/heads/main"];
    },
    taken: true,
  },
  {
    title: "a tag of a tag, by force over another commit",
    second: true,
    async push({ work }) {
      await it.gitIn(work, "commit", "--quiet", "--amend", "-m", "other");
      await it.gitIn(work, "tag", "-a", "v1", "-m", "x");
      await it.gitIn(work, "tag", "-a", "v2", "-m", "x", "v1");
      return ["--force", "v2:main"];
    },
    taken: true,
  },
  {
    title: "a tag that names no commit",
    async push({ work }) {
      await it.gitIn(work, "tag", "-a", "file", "-m", "x", "HEAD:index.html");
      return ["file:refs/heads/main"];
    },
    taken: false,
    words: /is no commit and names none: push a branch, or a tag of a commit/,
  },
  {
    title: "a branch under the name of one that is there",
    app: { deployBranch: "release/1.0" },
    async push({ work, app }) {
      await seeded(work, app, "release");
      return ["main:release/1.0"];
    },
    taken: false,
    words:
      /git keeps no branch release\/1\.0 beside a branch release: delete that one \(git push flynn --delete release\)/,
  },
  {
    title: "a branch above the name of one that is there",
    app: { deployBranch: "release" },
    async push({ work, app }) {
      await seeded(work, app, "release/1.0");
      return ["main:release"];
    },
    taken: false,
    words: /git keeps no branch release beside a branch release\/1\.0/,
  },
  {
    title: "a branch that another git holds the lock of",
    second: true,
    async push({ work, app }) {
      await writeFile(join(it.repository(app), "refs/heads/main.lock"), "");
      await it.commit(work, { "index.html": "two\n" });
      return ["main"];
    },
    taken: false,
    words: /branch main is locked by another git on the appliance \(refs\/heads\/main\.lock\); push again in a moment/,
  },
  {
    title: "a disk that is full where the branch is to be written",
    second: true,
    async push({ work, app }) {
      const place = join(it.repository(app), "refs/heads");
      await exec(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2", "tmpfs", place]);
      mounts.push(place);
      await writeFile(join(place, "filler"), Buffer.alloc(4096));
      await it.commit(work, { "index.html": "two\n" });
      const { oid, pack } = await packOf(it, work);
      return () => raw(app, [`${NONE} ${oid} refs/heads/main`], pack);
    },
    taken: false,
    words: /the disk of the appliance is full: branch main cannot be moved/,
  },
  {
    title: "a repository that takes no objects",
    second: true,
    async push({ work, app }) {
      const place = join(it.repository(app), "objects/pack");
      await rm(place, { recursive: true });
      await writeFile(place, "");
      const fresh = await it.work(`${app}-fresh`, { "index.html": "all anew\n" });
      void work;
      return () => it.gitIn(fresh, "push", "--force", it.remote(app), "main");
    },
    taken: false,
  },
  {
    title: "a commit whose history is not sent and not there",
    async push({ work, app }) {
      await it.commit(work, { "index.html": "two\n" });
      const file = `${work}.thin`;
      const script = 'printf "HEAD\\n^HEAD~1\\n" | git -C "$1" pack-objects --stdout --revs --quiet > "$2"';
      await exec(["sh", "-c", script, "sh", work, file]);
      const oid = await objectOf(work, "HEAD");
      const pack = await readFile(file);
      return () => raw(app, [`${NONE} ${oid} refs/heads/main`], pack);
    },
    taken: false,
  },
  {
    title: "an old place that is not where the branch is",
    second: true,
    async push({ work, app }) {
      await it.commit(work, { "index.html": "two\n" });
      const { oid, pack } = await packOf(it, work);
      return () => raw(app, [`${NONE} ${oid} refs/heads/main`], pack);
    },
    taken: false,
    words: /main has moved to [0-9a-f]{8} meanwhile: nothing was built/,
  },
  {
    title: "a change that is no fast-forward, by force",
    second: true,
    async push({ work }) {
      await it.gitIn(work, "commit", "--quiet", "--amend", "-m", "other");
      return ["--force", "main"];
    },
    taken: true,
  },
  {
    title: "several refs at once, atomic",
    async push({ work }) {
      await it.gitIn(work, "branch", "feature");
      return ["--atomic", "main", "feature"];
    },
    taken: false,
    words: /branch feature is not deployed/,
  },
  {
    title: "a deletion of the branch that is deployed",
    second: true,
    push: async () => ["--delete", "main"],
    taken: false,
    words: /cannot be deleted; to end the app: flynn delete/,
  },
];

const mounts: string[] = [];
const raw = async (app: string, lines: string[], pack: Buffer, shallow: string[] = []): Promise<Ran> => {
  const answer = text((await rawPush(it, { app, lines, pack, shallow })).chunks);
  return { code: /\bok refs\//.test(answer) ? 0 : 1, out: "", err: answer };
};

/** A branch of before the app was given another one to deploy. */
async function seeded(work: string, app: string, branch: string): Promise<void> {
  const repository = it.repository(app);
  const fetched = await it.run([
    "git",
    `--git-dir=${repository}`,
    "fetch",
    "--quiet",
    work,
    `main:refs/heads/${branch}`,
  ]);
  assert.is(fetched.code, 0, fetched.err);
}

for (const [n, row] of ROWS.entries())
  git(`${row.title}: ${row.taken ? "taken" : "refused before anything is built"}`, async () => {
    const app = `row-${n}`;
    await it.app(app, row.app);
    const work = await it.work(app);
    // So that the repository is there.
    assert.is((await it.gitIn(work, "ls-remote", it.remote(app))).code, 0);
    if (row.second) assert.is((await it.gitIn(work, "push", it.remote(app), "main")).code, 0);
    const branch = row.app?.deployBranch ?? "main";
    const before = await head(it, app, `refs/heads/${branch}`);
    const builds = it.builds.made.length;
    try {
      const what = await row.push({ it, app, work });
      const { code, err } = await (typeof what === "function"
        ? what()
        : it.gitIn(work, "push", it.remote(app), ...what));
      if (row.words) assert.match(err, row.words);
      assert.is(code === 0, row.taken, err);
      assert.is(it.builds.made.length, builds + (row.taken ? 1 : 0), err);
      const after = await head(it, app, `refs/heads/${branch}`);
      if (row.taken) assert.is(it.builds.made.at(-1)!.build.source.commit, after);
      else if (mounts.length === 0) assert.is(after, before);
      if (row.taken) assert.is(await objectOf(it.repository(app), `${after}^{commit}`), after, "a commit, not a tag");
    } finally {
      for (const mount of mounts.splice(0)) await exec(["umount", mount]);
    }
  });

git(
  "packs of a push that is refused after git has moved them are taken away again; those of one that is taken stay",
  async () => {
    await it.app("packs");
    const work = await it.work("packs");
    const packs = async () =>
      (await readdir(join(it.repository("packs"), "objects/pack"))).filter((name) => name.endsWith(".pack")).length;
    it.builds.auto = "failed";
    assert.is((await it.gitIn(work, "push", it.remote("packs"), "main")).code, 1);
    await eventually("no pack", async () => (await packs()) === 0);
    it.builds.auto = "succeeded";
    assert.is((await it.gitIn(work, "push", it.remote("packs"), "main")).code, 0);
    assert.is(await packs(), 1);
  },
);

git("while a push builds nobody moves its branch, and a git that is killed takes nothing with it", async () => {
  await it.app("held");
  const work = await it.work("held");
  assert.is((await it.gitIn(work, "push", it.remote("held"), "main")).code, 0);
  const first = await head(it, "held");
  const second = await it.commit(work, { "index.html": "two\n" });
  it.builds.auto = undefined;
  const count = it.builds.made.length;
  const client = it.start(["git", "push", it.remote("held"), "main"], work);
  await eventually("the build", () => it.builds.made.length === count + 1);
  const moved = await setRef("held", "refs/heads/main", first).then(
    () => true,
    () => false,
  );
  assert.not(moved, "the lock is held");
  const closed = new Promise((resolve) => client.once("close", resolve));
  for (const pid of await gitsOf("held", "receive-pack")) process.kill(pid, "SIGKILL");
  await it.builds.made.at(-1)!.end("succeeded");
  await closed;
  it.builds.auto = "succeeded";
  await eventually("the branch at what is deployed", async () => (await head(it, "held")) === second);
  await it.commit(work, { "index.html": "three\n" });
  assert.is((await it.gitIn(work, "push", it.remote("held"), "main")).code, 0, "and the next push has its turn");
});

git("when the lock is lost while a push builds and cannot be had again, the deployment does not go on", async () => {
  await it.app("lost");
  const work = await it.work("lost");
  it.builds.auto = undefined;
  const count = it.builds.made.length;
  const client = it.start(["git", "push", it.remote("lost"), "main"], work);
  await eventually("the build", () => it.builds.made.length === count + 1);
  const lock = join(it.repository("lost"), "refs/heads/main.lock");
  for (const pid of await gitsOf("lost", "update-ref")) process.kill(pid, "SIGKILL");
  await rm(lock);
  await writeFile(lock, "another's\n");
  const closed = new Promise((resolve) => client.once("close", resolve));
  await it.builds.made.at(-1)!.end("succeeded");
  it.builds.auto = "succeeded";
  assert.is(await closed, 1);
  assert.match(client.text(), /branch main is locked by another git/);
  assert.is(it.builds.made.at(-1)!.build.state, "failed");
  await rm(lock);
  assert.is((await it.gitIn(work, "push", it.remote("lost"), "main")).code, 0);
});

git(
  "when git's holder of the lock dies while a push builds, the lock is taken again and the push goes on",
  async () => {
    await it.app("again");
    const work = await it.work("again");
    it.builds.auto = undefined;
    const count = it.builds.made.length;
    const client = it.start(["git", "push", it.remote("again"), "main"], work);
    await eventually("the build", () => it.builds.made.length === count + 1);
    for (const pid of await gitsOf("again", "update-ref")) process.kill(pid, "SIGKILL");
    const closed = new Promise((resolve) => client.once("close", resolve));
    await it.builds.made.at(-1)!.end("succeeded");
    it.builds.auto = "succeeded";
    assert.is(await closed, 0, client.text());
    assert.is(await head(it, "again"), it.builds.made.at(-1)!.build.source.commit);
  },
);

/** Git of this repository runs `script` when a change of refs is `prepared` or `committed` ($1), before it answers ($PPID). */
async function onRefs(app: string, script: string): Promise<void> {
  const repository = it.repository(app);
  const hooks = join(repository, "test-hooks");
  await mkdir(hooks);
  for (const name of ["pre-receive", "proc-receive"])
    await copyFile(new URL(`../../../control/git/relay/${name}`, import.meta.url), join(hooks, name));
  await writeFile(join(hooks, "reference-transaction"), `#!/bin/sh\n${script}\n`);
  for (const name of await readdir(hooks)) await chmod(join(hooks, name), 0o755);
  await exec(["git", `--git-dir=${repository}`, "config", "core.hooksPath", hooks]);
}
const AUTHOR = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
const whole = async (app: string): Promise<void> => {
  const checked = await it.run(["git", `--git-dir=${it.repository(app)}`, "fsck", "--full", "--strict"]);
  assert.is(checked.code, 0, checked.err);
  assert.not.match(checked.err, /error|missing/);
};

for (const times of ["once", "each time"])
  git(`a git that is killed when it has moved the branch, ${times}, before it says so: the push is taken`, async () => {
    const app = `moved-${times.replace(" ", "-")}`;
    await it.app(app);
    const work = await it.work(app);
    assert.is((await it.gitIn(work, "ls-remote", it.remote(app))).code, 0);
    const once = times === "once" ? "if ! [ -e killed ]; then touch killed;" : "if true; then";
    await onRefs(app, `if [ "$1" = committed ]; then ${once} kill -9 $PPID; fi; fi`);
    const pushed = await it.gitIn(work, "push", it.remote(app), "main");
    assert.is(pushed.code, 0, pushed.err);
    assert.is(await head(it, app), it.builds.made.at(-1)!.build.source.commit);
    await it.commit(work, { "index.html": "two\n" });
    const second = await it.gitIn(work, "push", it.remote(app), "main");
    assert.is(second.code, 0, second.err);
    await whole(app);
    assert.is((await it.run(["git", "clone", "--quiet", it.remote(app), `${work}-clone`])).code, 0);
  });

git("a deletion whose git is killed when it has deleted the branch is told as done", async () => {
  await it.app("gone", { deployBranch: "release" });
  const work = await it.work("gone");
  assert.is((await it.gitIn(work, "ls-remote", it.remote("gone"))).code, 0);
  await seeded(work, "gone", "old");
  await onRefs("gone", 'if [ "$1" = committed ]; then kill -9 $PPID; fi');
  const deleted = await it.gitIn(work, "push", it.remote("gone"), "--delete", "old");
  assert.is(deleted.code, 0, deleted.err);
  assert.is(await head(it, "gone", "refs/heads/old"), "");
});

git(
  "what is deployed stays in the repository when its branch cannot be moved, and a second push moves it",
  async () => {
    await it.app("stays");
    const work = await it.work("stays");
    it.builds.auto = undefined;
    const count = it.builds.made.length;
    const client = it.start(["git", "push", it.remote("stays"), "main"], work);
    await eventually("the build", () => it.builds.made.length === count + 1);
    const build = it.builds.made.at(-1)!;
    const { admit } = build;
    const lock = join(it.repository("stays"), "refs/heads/main.lock");
    build.admit = async () => {
      await admit?.();
      for (const pid of await gitsOf("stays", "update-ref")) process.kill(pid, "SIGKILL");
      await writeFile(lock, "another's\n");
    };
    const closed = new Promise((resolve) => client.once("close", resolve));
    await build.end("succeeded");
    it.builds.auto = "succeeded";
    assert.is(await closed, 1);
    assert.match(client.text(), /is deployed, but its branch could not be moved; push again/);
    await rm(lock);
    const commit = build.build.source.commit!;
    const again = await it.gitIn(work, "push", it.remote("stays"), "main");
    assert.is(again.code, 0, again.err);
    assert.is(it.builds.made.length, count + 1, "nothing is built twice");
    assert.is(await head(it, "stays"), commit);
    await whole("stays");
  },
);

git("packs of a refused push stay when another ref leads to its commit meanwhile", async () => {
  await it.app("other");
  const work = await it.work("other");
  it.builds.auto = undefined;
  const count = it.builds.made.length;
  const client = it.start(["git", "push", it.remote("other"), "main"], work);
  await eventually("the build", () => it.builds.made.length === count + 1);
  const commit = it.builds.made.at(-1)!.build.source.commit!;
  await setRef("other", "refs/heads/other", commit);
  const closed = new Promise((resolve) => client.once("close", resolve));
  await it.builds.made.at(-1)!.end("failed");
  it.builds.auto = "succeeded";
  assert.is(await closed, 1);
  await it.commit(work, { "index.html": "two\n" });
  assert.is((await it.gitIn(work, "push", it.remote("other"), "main")).code, 0, "the first's turn is over");
  assert.is(await head(it, "other", "refs/heads/other"), commit);
  await whole("other");
});

git("a push that counts on the objects of one that is refused meanwhile is refused too", async () => {
  await it.app("upon");
  const work = await it.work("upon");
  it.builds.auto = undefined;
  const count = it.builds.made.length;
  const client = it.start(["git", "push", it.remote("upon"), "main"], work);
  await eventually("the build", () => it.builds.made.length === count + 1);
  const oid = await it.commit(work, { "other.html": "two\n", "index.html": "two\n" });
  const file = `${work}.upon`;
  const script = 'printf "HEAD\\n^HEAD~1\\n" | git -C "$1" pack-objects --stdout --revs --quiet > "$2"';
  await exec(["sh", "-c", script, "sh", work, file]);
  let heard = "";
  const second = rawPush(it, {
    app: "upon",
    lines: [`${NONE} ${oid} refs/heads/main`],
    pack: await readFile(file),
    onChunk: (chunk) => (heard += chunk.toString("latin1")),
  });
  await eventually("the wait", () => /Another push to upon first/.test(heard));
  const closed = new Promise((resolve) => client.once("close", resolve));
  await it.builds.made.at(-1)!.end("failed");
  it.builds.auto = "succeeded";
  assert.is(await closed, 1);
  await second;
  assert.match(heard, /it builds on a push that was refused meanwhile and is gone; push again/);
  assert.is(it.builds.made.length, count + 1);
  const whole = await it.gitIn(work, "push", it.remote("upon"), "main");
  assert.is(whole.code, 0, whole.err);
});

git("whether a ref leads to a commit is not known while a ref or the commit cannot be read", async () => {
  await it.app("known");
  const work = await it.work("known");
  assert.is((await it.gitIn(work, "push", it.remote("known"), "main")).code, 0);
  const repository = it.repository("known");
  const first = await head(it, "known");
  const alone = (await exec(["git", `--git-dir=${repository}`, ...AUTHOR, "commit-tree", "-m", "x", `${first}^{tree}`]))
    .stdout;
  const runs = { git: (at: string, args: readonly string[]) => exec(["git", `--git-dir=${at}`, ...args]) };
  const ask = (commit: string) => isUnreached(runs, repository, commit.trim());
  assert.is(await ask(first), false);
  assert.is(await ask(alone), true);
  assert.is(await ask("1".repeat(40)), undefined);
  await writeFile(join(repository, "refs/heads/broken"), "no object\n");
  assert.is(await ask(alone), undefined);
});

git("a branch that is not deployed from any more can be deleted, and then the new one can be made", async () => {
  await it.app("renamed", { deployBranch: "release/1.0" });
  const work = await it.work("renamed");
  assert.is((await it.gitIn(work, "ls-remote", it.remote("renamed"))).code, 0);
  await seeded(work, "renamed", "release");
  const deleted = await it.gitIn(work, "push", it.remote("renamed"), "--delete", "release");
  assert.is(deleted.code, 0, deleted.err);
  assert.is(await head(it, "renamed", "refs/heads/release"), "");
  const pushed = await it.gitIn(work, "push", it.remote("renamed"), "main:release/1.0");
  assert.is(pushed.code, 0, pushed.err);
});

/** Processes of git that are at an app's repository. */
async function gitsOf(app: string, what: string): Promise<number[]> {
  const found: number[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (
      /^(\S*\/)?git\0/.test(line) &&
      line.includes(what) &&
      (line.includes(it.repository(app)) || (await cwdAt(pid, app)))
    )
      found.push(Number(pid));
  }
  return found;
}
const cwdAt = async (pid: string, app: string): Promise<boolean> => {
  const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
  return environment.includes(`GIT_PROJECT_ROOT=${it.repository(app)}`);
};

git.run();
