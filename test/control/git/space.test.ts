// time limit: 180 s
// What a push may bring: a repository's quota and the free space of control's disk, with real git clients.
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Fault, isFault } from "#api/fault.ts";
import { redeploy } from "#api/git.ts";
import { objectBytes, pushSpace, treeBytes } from "../../../control/git/space.ts";
import { eventually, type GitRig, gitRig, head } from "./git-rig.ts";

const MIB = 1 << 20;
const GIB = 1024 ** 3;
const noise = (bytes: number): string => randomBytes(bytes / 2).toString("hex");

async function withGit(body: (it: GitRig) => Promise<void>, over: Parameters<typeof gitRig>[0] = {}): Promise<void> {
  const it = await gitRig(over);
  try {
    await body(it);
  } finally {
    await it.close();
  }
}

test("a push that would bring a repository over its quota is refused before a build, in words that say what to do", () =>
  withGit(
    async (it) => {
      await it.app("hello");
      const work = await it.work("hello", { small: noise(MIB) });
      const push = (...args: string[]) => it.gitIn(work, "push", ...args, it.remote("hello"), "main");
      assert.is((await push()).code, 0);
      const first = await head(it, "hello");
      await it.commit(work, { large: noise(6 * MIB) });
      const large = await push();
      assert.is(large.code, 1, large.err);
      assert.match(large.err, /this push would bring the app's git repository beyond the 2 MiB it may hold/);
      assert.match(large.err, /git filter-repo/);
      assert.is(await head(it, "hello"), first);
      assert.is(it.builds.made.length, 1);
      await eventually("what was sent to be gone", async () => (await objectBytes(it.repository("hello"))) < MIB);
      // Without the large file it goes in.
      await it.gitIn(work, "reset", "--quiet", "--hard", "HEAD~1");
      await it.commit(work, { other: "x" });
      assert.is((await push()).code, 0);
      assert.is(it.builds.made.length, 2);
    },
    { appGitBytes: 2 * MIB },
  ));

test("a repository that is full takes no push, and git shows why", () =>
  withGit(
    async (it) => {
      await it.app("full");
      const work = await it.work("full", { small: noise(2 * MIB) });
      assert.is((await it.gitIn(work, "push", it.remote("full"), "main")).code, 0);
      await writeFile(join(it.repository("full"), "objects", "pack", "left.pack"), Buffer.alloc(MIB));
      await it.commit(work, { b: "x" });
      const refused = await it.gitIn(work, "push", it.remote("full"), "main");
      assert.is(refused.code, 128, refused.err);
      assert.match(refused.err, /remote: the app's git repository holds \S+ MiB and may hold 2 MiB: no push is taken/);
      assert.match(refused.err, /flynn up --app-git-limit/);
    },
    { appGitBytes: 2 * MIB },
  ));

test("pushes that wait for one that builds bring one quota together, not one each", () =>
  withGit(
    async (it) => {
      await it.app("many");
      const small = await it.work("many");
      it.builds.auto = undefined;
      const first = it.gitIn(small, "push", it.remote("many"), "main");
      await eventually("the build", () => it.builds.made.length === 1);
      const works = [];
      for (const n of [1, 2, 3]) works.push(await it.work(`many-${n}`, { large: noise(3 * MIB) }));
      let refused = "";
      const others = works.map(async (work) => {
        const { err } = await it.gitIn(work, "push", "--force", it.remote("many"), "main");
        refused += err;
      });
      await eventually("a refusal", () => /other pushes to this app are under way/.test(refused));
      assert.ok((await treeBytes(join(it.repository("many"), "objects"))) < 5 * MIB);
      assert.is(it.builds.made.length, 1);
      it.builds.auto = "succeeded";
      await it.builds.made[0]!.end("succeeded");
      assert.is((await first).code, 0);
      await Promise.all(others);
    },
    { appGitBytes: 4 * MIB },
  ));

test("bytes of pushes under way count for each of them as they come, and those of one that has gone do no more", async () => {
  const repository = await mkdtemp(join(tmpdir(), "space-test-"));
  const objects = join(repository, "objects");
  const space = pushSpace({ admit: async () => undefined, filling: async (signal, work) => work(signal) }, 10);
  const code = (work: Promise<unknown>) =>
    work.then(
      () => "taken",
      (error: unknown) => (error as Fault).code,
    );
  try {
    await mkdir(join(objects, "tmp_objdir-incoming-a"), { recursive: true });
    const [a, b] = [await space.bring(repository), await space.bring(repository)];
    assert.is(await code(a(6)), "taken");
    await writeFile(join(objects, "tmp_objdir-incoming-a", "a.pack"), Buffer.alloc(6));
    assert.is(await code(b(4)), "taken");
    await writeFile(join(objects, "tmp_objdir-incoming-a", "b.pack"), Buffer.alloc(4));
    assert.is(await code(b(1)), "rate-limited");
    assert.is(await code(space.bring(repository)), "rate-limited", "quarantines are full");
    await rm(join(objects, "tmp_objdir-incoming-a"), { recursive: true });
    assert.is(await code(a(1)), "taken", "the others have gone");
    assert.is(await code(a(4)), "too-large", "its own alone");
  } finally {
    await rm(repository, { recursive: true });
  }
});

test("a tree that unpacks to a thousand times its pack is no build", () =>
  withGit(async (it) => {
    await it.app("bomb");
    const work = await it.work("bomb", { zeros: "0".repeat(20 * MIB) });
    const pushed = await it.gitIn(work, "push", it.remote("bomb"), "main");
    assert.is(pushed.code, 0, pushed.err); // the stand-in takes all: what it was given is what counts
    const { packedBytes = 0 } = it.builds.made[0]!;
    assert.ok(packedBytes > 0 && packedBytes < MIB, String(packedBytes));
    assert.ok(it.builds.made[0]!.archive.length > 100 * packedBytes);
  }));

test("below the floor no push and no redeploy is taken, fetches go on, and a push that is under way ends in words", () => {
  const disk = { freeBytes: 8 * GIB };
  return withGit(
    async (it) => {
      await it.app("low");
      const work = await it.work("low");
      assert.is((await it.gitIn(work, "push", it.remote("low"), "main")).code, 0);
      const room = it.rig.control.context.room;
      disk.freeBytes = 1 << 20;
      await eventually("a fresh reading", async () => (await room.state())?.low);
      await it.commit(work, { b: "x" });
      const refused = await it.gitIn(work, "push", it.remote("low"), "main");
      assert.is(refused.code, 128, refused.err);
      assert.match(refused.err, /remote: control has 1 MiB free on \S+; uploads start again at/);
      assert.is((await it.gitIn(work, "fetch", it.remote("low"), "main")).code, 0);
      const again = await it.client
        .call(redeploy, { params: { app: "low" }, body: {} })
        .catch((error: unknown) => error);
      assert.ok(isFault(again, "no-capacity"), String(again));

      disk.freeBytes = 8 * GIB;
      await eventually("a fresh reading", async () => !(await room.state())?.low);
      await it.commit(work, { large: noise(48 * MIB) });
      const slow = it.gitIn(work, "push", it.remote("low"), "main");
      await eventually("the push", async () =>
        (await readdir(join(it.repository("low"), "objects"))).some((name) => /incoming-/.test(name)),
      );
      disk.freeBytes = 1 << 20;
      const { err, code } = await slow;
      assert.is(code, 1, err);
      assert.match(err, /control has 1 MiB free/);
      assert.is(it.builds.made.length, 1);
    },
    { readDisk: async (path: string) => ({ path, freeBytes: disk.freeBytes, totalBytes: 100 * GIB }) },
  );
});

test.run();
