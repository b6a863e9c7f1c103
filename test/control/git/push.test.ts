// time limit: 400 s
// git push over HTTPS with the real git against control's own git, from info/refs to the verdict. Builds are stood in for.

import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { Readable } from "node:stream";
import { connect } from "node:tls";
import { extract } from "tar-stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { deleteApp } from "#api/apps.ts";
import { isFault } from "#api/fault.ts";
import { getGit, redeploy } from "#api/git.ts";
import { LIMITS } from "../../../control/git/limits.ts";
import { eventually, type GitRig, gitRig, head, packOf, rawPush } from "./git-rig.ts";

let it: GitRig;
test.before(async () => {
  it = await gitRig();
});
test.after(() => it.close());
test.before.each(() => {
  it.builds.auto = "succeeded";
});

const NONE = "0".repeat(40);
const push = (work: string, app: string, ...refs: string[]) =>
  it.gitIn(work, "push", it.remote(app), ...(refs.length ? refs : ["main"]));

/** Names and texts of a tar archive. */
async function filesOf(archive: Buffer): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  const entries = Readable.from([archive]).pipe(extract());
  for await (const entry of entries) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    if (entry.header.type === "file") files[entry.header.name] = Buffer.concat(chunks).toString("utf8");
  }
  return files;
}

test("a push builds the commit's tree, copies the build's log, and moves the branch when it is deployed", async () => {
  await it.app("first");
  const work = await it.work("first", { "index.html": "hello\n", "lib/a b.txt": "spaces\n" });
  const pushed = await push(work, "first");
  assert.is(pushed.code, 0, pushed.err);
  assert.match(pushed.err, /remote: -----> Building first *\nremote: =====> Application deployed/);
  assert.is(await head(it, "first"), (await it.gitIn(work, "rev-parse", "HEAD")).out.trim());
  const { build, archive } = it.builds.made.at(-1)!;
  assert.equal(await filesOf(archive), { "index.html": "hello\n", "lib/a b.txt": "spaces\n" });
  assert.equal([build.source.type, build.source.ref, build.createdBy], ["git", "refs/heads/main", "admin"]);
  assert.is(build.source.commit, await head(it, "first"));
  const shown = await it.client.call(getGit, { params: { app: "first" } });
  assert.equal(shown.head, { branch: "main", commit: build.source.commit });
  const clone = await it.run(["git", "clone", "--quiet", it.remote("first"), "first-clone"]);
  assert.is(clone.code, 0, clone.err);
});

test("a failed build rejects the push, and the next push of the same commit builds again", async () => {
  await it.app("failing");
  const work = await it.work("failing");
  it.builds.auto = "failed";
  const failed = await push(work, "failing");
  assert.is(failed.code, 1);
  assert.match(failed.err, /remote: {2}! {5}it does not compile/);
  assert.match(failed.err, /! {5}Push rejected to failing: build \d+ failed\./);
  assert.match(failed.err, /! \[remote rejected\] main -> main \(build \d+ failed\)/);
  await assertFault(
    it.client.call(redeploy, { params: { app: "failing" }, body: {} }),
    "conflict",
    /no push to failing was taken yet; build \d+ of [0-9a-f]{8} failed \(flynn build log \d+\)\. To deploy: git push/,
  );
  assert.is(await head(it, "failing"), "");
  it.builds.auto = "succeeded";
  const count = it.builds.made.length;
  assert.is((await push(work, "failing")).code, 0);
  assert.is(it.builds.made.length, count + 1);
});

test("tags, other branches, deletions and several refs at once are refused in words, before any build", async () => {
  await it.app("branches");
  const work = await it.work("branches");
  await it.gitIn(work, "tag", "v1");
  await it.gitIn(work, "branch", "feature");
  const count = it.builds.made.length;
  const refused = async (words: RegExp, ...refs: string[]) => {
    const { code, err } = await push(work, "branches", ...refs);
    assert.is(code, 1, err);
    assert.match(err, words);
    assert.match(err, /remote rejected/);
  };
  await refused(/branch feature is not deployed: main or master is/, "feature");
  await refused(/To deploy it: git push flynn feature:main/, "feature");
  await refused(/refs\/tags\/v1 is a tag; tags are not deployed/, "v1");
  await refused(/refs\/tags\/v1 is a tag/, "main", "v1");
  await refused(/branch main and branch master: push one of them/, "main", "main:master");
  await refused(/refs\/notes\/x is not deployed/, "main:refs/notes/x");
  assert.is(it.builds.made.length, count, "nothing of it was built");
  assert.is(await head(it, "branches"), "");
  assert.is((await push(work, "branches")).code, 0);
  await refused(/branch main is what branches is deployed from and cannot be deleted/, ":main");
});

test("an app's own deploy branch is the one that builds, whatever the local branch is called", async () => {
  await it.app("staging", { deployBranch: "release/next" });
  const work = await it.work("staging");
  const other = await push(work, "staging");
  assert.is(other.code, 1);
  assert.match(other.err, /branch main is not deployed: release\/next is/);
  const right = await push(work, "staging", "main:release/next");
  assert.is(right.code, 0, right.err);
  assert.is(await head(it, "staging", "refs/heads/release/next"), it.builds.made.at(-1)!.build.source.commit);
  assert.is((await readFile(join(it.repository("staging"), "HEAD"), "utf8")).trim(), "ref: refs/heads/release/next");
});

test("submodules are refused with their names, and a commit without files too", async () => {
  await it.app("modules");
  const inner = await it.work("inner");
  const work = await it.work("modules");
  const added = await it.gitIn(work, "submodule", "--quiet", "add", inner, "vendor/inner");
  assert.is(added.code, 0, added.err);
  await it.gitIn(work, "commit", "--quiet", "-m", "submodule");
  const refused = await push(work, "modules");
  assert.is(refused.code, 1);
  assert.match(refused.err, /submodules are not fetched: vendor\/inner/);
  const empty = join(work, "../empty");
  await mkdir(empty);
  await it.gitIn(empty, "init", "--quiet", "--initial-branch=main");
  await it.gitIn(empty, "commit", "--quiet", "--allow-empty", "-m", "nothing");
  assert.match((await push(empty, "modules")).err, /the commit has no files/);
});

test("nothing new is the client's own `Everything up-to-date`, and the same commit can be deployed again", async () => {
  await it.app("again");
  const work = await it.work("again");
  await assertFault(
    it.client.call(redeploy, { params: { app: "again" }, body: {} }),
    "conflict",
    /no push to again was taken yet\. To deploy: git push flynn main/,
  );
  assert.is((await push(work, "again")).code, 0);
  const count = it.builds.made.length;
  assert.match((await push(work, "again")).err, /Everything up-to-date/);
  assert.is(it.builds.made.length, count);
  const build = await it.client.call(redeploy, { params: { app: "again" }, body: {} });
  assert.is(it.builds.made.length, count + 1);
  assert.equal([build.source.commit, build.source.ref], [await head(it, "again"), "refs/heads/main"]);
  assert.equal(await filesOf(it.builds.made.at(-1)!.archive), { "index.html": "hello\n" });
});

test("a commit that was deployed while its ref was lost is taken at the next push without a second build", async () => {
  await it.app("lost");
  const work = await it.work("lost");
  assert.is((await push(work, "lost")).code, 0);
  const first = await head(it, "lost");
  const second = await it.commit(work, { "index.html": "two\n" });
  assert.is((await push(work, "lost")).code, 0);
  // As a power cut between the deployment's end and git's own ref update leaves it.
  await it.run(["git", `--git-dir=${it.repository("lost")}`, "update-ref", "refs/heads/main", first]);
  const count = it.builds.made.length;
  const taken = await push(work, "lost");
  assert.is(taken.code, 0, taken.err);
  assert.match(taken.err, new RegExp(`=====> ${second.slice(0, 8)} is built and deployed already.*flynn redeploy`));
  assert.is(it.builds.made.length, count);
  assert.is(await head(it, "lost"), second);
  // Back to what is not deployed any more: that is a new build.
  assert.is((await push(work, "lost", "--force", `${first}:main`)).code, 0);
  assert.is(it.builds.made.length, count + 1);
});

test("two pushes at once to one app: the second waits in words, and is refused without a build when the branch has moved", async () => {
  await it.app("busy");
  it.builds.auto = undefined;
  const [one, two] = [await it.work("busy-1", { a: "1" }), await it.work("busy-2", { a: "2" })];
  const count = it.builds.made.length;
  const first = it.start(["git", "push", it.remote("busy"), "main"], one);
  await eventually("the first build", () => it.builds.made.length === count + 1);
  const second = it.start(["git", "push", it.remote("busy"), "main"], two);
  await eventually("the second push saying that it waits", () =>
    second.text().includes("-----> Another push to busy first; this one waits"),
  );
  assert.is(it.builds.made.length, count + 1);
  const over = Promise.all([first, second].map((child) => new Promise((resolve) => child.once("close", resolve))));
  await it.builds.made.at(-1)!.end("succeeded");
  assert.equal(await over, [0, 1]);
  assert.match(second.text(), /main has moved to [0-9a-f]{8} meanwhile: nothing was built/);
  assert.is(it.builds.made.length, count + 1);
});

test("of two pushes of the same commit at once the second hears that the other one runs", async () => {
  await it.app("same");
  it.builds.auto = undefined;
  const work = await it.work("same");
  const count = it.builds.made.length;
  const first = it.start(["git", "push", it.remote("same"), "main"], work);
  await eventually("the first build", () => it.builds.made.length === count + 1);
  const second = it.start(["git", "push", it.remote("same"), "main"], work);
  await eventually("the second push saying that it waits", () => second.text().includes("this one waits"));
  const over = Promise.all([first, second].map((child) => new Promise((resolve) => child.once("close", resolve))));
  await it.builds.made.at(-1)!.end("succeeded");
  assert.equal(await over, [0, 1]);
  assert.match(second.text(), /Another push of [0-9a-f]{8} was first, and is what runs here/);
  assert.is(it.builds.made.length, count + 1);
});

test("the log is there line by line while the build goes on", async () => {
  await it.app("live");
  it.builds.auto = undefined;
  const work = await it.work("live");
  const client = it.start(["git", "push", it.remote("live"), "main"], work);
  await eventually("the build's first line", () => client.text().includes("remote: -----> Building live"));
  it.builds.made.at(-1)!.write("       one more line\n");
  await eventually("the next line", () => client.text().includes("remote:        one more line"));
  assert.is(client.exitCode, null);
  const closed = new Promise((resolve) => client.once("close", resolve));
  await it.builds.made.at(-1)!.end("succeeded");
  assert.is(await closed, 0);
});

test("a client that is killed while its push builds changes nothing: the build is deployed and the branch moves", async () => {
  await it.app("vanished");
  it.builds.auto = undefined;
  const work = await it.work("vanished");
  const client = it.start(["git", "push", it.remote("vanished"), "main"], work);
  await eventually("the build's first line", () => client.text().includes("Building vanished"));
  const closed = new Promise((resolve) => client.once("close", resolve));
  client.vanish();
  await closed;
  const one = it.builds.made.at(-1)!;
  for (let n = 0; n < 2_000; n++) one.write(`       ${"x".repeat(100)} ${n}\n`); // more than any pipe holds
  await one.end("succeeded");
  await eventually(
    "the branch at the pushed commit",
    async () => (await head(it, "vanished")) === one.build.source.commit,
  );
  assert.match((await push(work, "vanished")).err, /Everything up-to-date/);
});

test("a client that is cut off while it sends leaves nothing: no build, no ref, no quarantine", async () => {
  await it.app("cut");
  const work = await it.work("cut", { "big.bin": randomBytes(8 << 20).toString("base64") });
  const { oid, pack } = await packOf(it, work);
  const line = `${"0".repeat(40)} ${oid} refs/heads/main\0report-status side-band-64k`;
  const count = it.builds.made.length;
  const req = request(`${it.url}/git/cut.git/git-receive-pack`, {
    method: "POST",
    ca: it.rig.caPem,
    auth: `x:${it.rig.token}`,
    headers: { "content-type": "application/x-git-receive-pack-request" },
  });
  req.on("error", () => undefined);
  req.write(`${(line.length + 4).toString(16).padStart(4, "0")}${line}0000`);
  req.write(pack.subarray(0, 4 << 20));
  const objects = join(it.repository("cut").toString(), "objects");
  await eventually("the quarantine", async () => (await readdir(objects)).some((name) => name.includes("incoming")));
  req.destroy();
  await eventually("no quarantine", async () => !(await readdir(objects)).some((name) => name.includes("incoming")));
  assert.is(it.builds.made.length, count);
  assert.is(await head(it, "cut"), "");
  assert.is((await push(work, "cut")).code, 0, "and the next push is taken");
});

test("after a restart of control the build of a push that lost it is taken up again, not made twice", async () => {
  await it.app("restarted");
  it.builds.auto = undefined;
  const work = await it.work("restarted");
  const client = it.start(["git", "push", it.remote("restarted"), "main"], work);
  await eventually("the build's first line", () => client.text().includes("Building restarted"));
  const count = it.builds.made.length;
  const closed = new Promise((resolve) => client.once("close", resolve));
  // What a killed git leaves behind.
  const repository = it.repository("restarted");
  await mkdir(join(repository, "objects/tmp_objdir-incoming-Ab12Cd"));
  await it.restart();
  assert.is(await closed, 1);
  assert.match(client.text(), /control is restarting\. A build that has begun goes on; push again/);
  await writeFile(join(repository, "refs/heads/main.lock"), "");
  const next = it.start(["git", "push", it.remote("restarted"), "main"], work);
  await eventually("the same build's log", () => next.text().includes("is being built already, as build"));
  const over = new Promise((resolve) => next.once("close", resolve));
  await it.builds.made.at(-1)!.end("succeeded");
  assert.is(await over, 0, next.text());
  assert.is(it.builds.made.length, count);
  assert.not.ok((await readdir(join(repository, "objects"))).some((name) => name.includes("incoming")));
});

test("a push of a 30 MB repository moves 30 MB once; the next one moves only its change, and gzipped or plain bodies are one", async () => {
  await it.app("large");
  const work = await it.work("large", { "asset.bin": "" });
  await writeFile(join(work, "asset.bin"), randomBytes(30 << 20));
  await it.commit(work, { note: "1" });
  const bytes = async () => {
    const { code, err } = await it.run(["git", "-C", work, "push", "--progress", it.remote("large"), "main"]);
    assert.is(code, 0, err);
    const [, size, unit] = [
      ...err.matchAll(/Writing objects: 100%[^\r\n]*?, ([\d.]+) (bytes|KiB|MiB)[^\r\n]*done/g),
    ].at(-1)!;
    return Number(size) * { bytes: 1, KiB: 1024, MiB: 1024 ** 2 }[unit as "bytes"];
  };
  const first = await bytes();
  assert.ok(first > 29 << 20, `${first} bytes`);
  await it.commit(work, { note: "2" });
  const second = await bytes();
  assert.ok(second < 2_000, `${second} bytes`);
  assert.is(it.builds.made.at(-1)!.archive.length > 30 << 20, true, "the whole tree is built all the same");
});

test("who has no token, a wrong one or one without the scope gets no further, and an app that is not there is named", async () => {
  await it.app("guarded");
  const work = await it.work("guarded");
  const refs = `${it.url}/git/guarded.git/info/refs?service=git-receive-pack`;
  const asked = async (url: string, auth?: string) =>
    new Promise<{ status: number; challenge: string | undefined; text: string }>((resolve, reject) => {
      request(url, { ca: it.rig.caPem, ...(auth ? { auth } : {}) }, (reply) => {
        let text = "";
        reply
          .on("data", (chunk) => (text += chunk))
          .on("end", () => resolve({ status: reply.statusCode!, challenge: reply.headers["www-authenticate"], text }));
      })
        .on("error", reject)
        .end();
    });
  assert.equal(await asked(refs), {
    status: 401,
    challenge: 'Basic realm="flynn", charset="UTF-8"',
    text: "GET /git/guarded.git/info/refs needs a token\n",
  });
  assert.is((await asked(refs, "x:not-a-token-of-ours")).status, 401);
  const reader = await it.rig.tokenWith(["app:read"]);
  assert.equal(await asked(refs, `x:${reader}`), {
    status: 403,
    challenge: undefined,
    text: "app:read has no permission app:write\n",
  });
  assert.is((await asked(refs.replace("receive", "upload"), `x:${reader}`)).status, 200);
  const other = await it.rig.tokenWith(["machine:write"]);
  assert.is((await asked(refs.replace("receive", "upload"), `x:${other}`)).status, 403);
  const missing = await push(work, "guarded").then(() => it.gitIn(work, "push", it.remote("nothing-here"), "main"));
  assert.is(missing.code, 128);
  assert.match(missing.err, /no app nothing-here; `flynn apps` lists them/);
  assert.is((await it.gitIn(work, "push", it.remote("guarded", reader), "main")).code, 128);
});

test("only smart HTTP is spoken, and paths that are none of an app reach no file", async () => {
  await it.app("paths");
  const auth = `Basic ${Buffer.from(`x:${it.rig.token}`).toString("base64")}`;
  const status = (path: string, method = "GET") =>
    new Promise<number>((resolve, reject) => {
      const { port } = new URL(it.url);
      const options = { host: "127.0.0.1", port, path, method, ca: it.rig.caPem, headers: { authorization: auth } };
      request(options, (reply) => {
        reply.resume();
        resolve(reply.statusCode!);
      })
        .on("error", reject)
        .end();
    });
  assert.is(await status("/git/paths.git/info/refs?service=git-upload-pack"), 200);
  assert.is(await status("/git/paths.git/info/refs"), 403);
  for (const path of [
    "/git/paths.git/HEAD",
    "/git/paths.git/objects/info/packs",
    "/git/paths.git/config",
    "/git/..%2f..%2fetc/info/refs?service=git-upload-pack",
    "/git/../../etc/info/refs?service=git-upload-pack",
    "/git/paths.git%2f..%2fother.git/info/refs?service=git-upload-pack",
    "/git/paths;$(id).git/info/refs?service=git-upload-pack",
    "/git/--upload-pack=id/info/refs?service=git-upload-pack",
    "/git/paths.git%00/info/refs?service=git-upload-pack",
    "/git/paths.git%0a/info/refs?service=git-upload-pack",
    `/git/${"a".repeat(120)}.git/info/refs?service=git-upload-pack`,
  ])
    assert.is(await status(path), 404, path);
  assert.is(await status("/git/paths.git/info/refs?service=git-upload-archive"), 403);
  assert.is(await status("/git/paths.git/info/refs?service=git-upload-pack&service=git-receive-pack"), 403);
  assert.is(await status("/git/paths.git/git-receive-pack", "POST"), 400);
});

test("a push of more refs than are taken is refused in words before git sees it", async () => {
  await it.app("many");
  const work = await it.work("many");
  const oid = (await it.gitIn(work, "rev-parse", "HEAD")).out.trim();
  const lines = Array.from({ length: LIMITS.commands + 1 }, (_, n) => `create refs/tags/t${n} ${oid}\n`).join("");
  await writeFile(join(work, "../many.txt"), lines);
  assert.is(
    (await it.run(["sh", "-c", `git -C "${work}" update-ref --stdin < "${join(work, "../many.txt")}"`])).code,
    0,
  );
  const { code, err } = await it.gitIn(work, "push", it.remote("many"), "--tags");
  assert.is(code, 1, err);
  assert.match(err, /remote: {2}! {5}a push of more than 1000 refs; push the deploy branch alone/);
});

test("a silent build keeps the line open: every 5 s an empty sideband packet, which clients show as nothing", async () => {
  await it.app("silent");
  it.builds.auto = undefined;
  const { oid, pack } = await packOf(it, await it.work("silent"));
  const count = it.builds.made.length;
  let heard = "";
  const onChunk = (chunk: Buffer) => {
    heard += chunk.toString("latin1");
  };
  const lines = [`${NONE} ${oid} refs/heads/main`];
  const answered = rawPush(it, { app: "silent", lines, pack, gzip: true, onChunk });
  await eventually("the build", () => it.builds.made.length === count + 1);
  await eventually("an empty packet while the build is silent", () => heard.includes("0005\x01"));
  await it.builds.made.at(-1)!.end("succeeded");
  const { status, continued, chunks } = await answered;
  assert.equal([status, continued], [200, true], "a gzipped body after 100-continue is taken");
  const text = Buffer.concat(chunks).toString("latin1");
  assert.match(text, /unpack ok\n[\s\S]*ok refs\/heads\/main\n/);
});

test("names of refs that no git client sends are refused, and nothing of them is run or written", async () => {
  await it.app("names");
  const { oid, pack } = await packOf(it, await it.work("names"));
  const count = it.builds.made.length;
  for (const ref of [
    "refs/heads/../../../x",
    "refs/heads/--upload-pack=id",
    "refs/heads/$(id)",
    "refs/heads/a b",
    "refs/heads/main.lock",
    "refs/heads/main\nrefs/heads/x",
    "HEAD",
    "config",
    "refs/heads/ma\u00efn",
    `refs/heads/${"a".repeat(3_000)}`,
  ]) {
    const { chunks } = await rawPush(it, { app: "names", lines: [`${NONE} ${oid} ${ref}`], pack });
    assert.not.match(Buffer.concat(chunks).toString("latin1"), /ok refs|ok HEAD|ok config/, ref);
  }
  assert.is(it.builds.made.length, count);
  const refs = await it.run(["git", `--git-dir=${it.repository("names")}`, "for-each-ref"]);
  assert.equal([refs.out, refs.code], ["", 0]);
});

test("a pack that is larger than is taken, a commit of more files than are built and a body that is no pack: refused in words", async () => {
  const small = await gitRig({ packBytes: 1 << 20 });
  try {
    await small.app("bombs");
    const work = await small.work("bombs", { "big.bin": randomBytes(2 << 20).toString("base64") });
    const large = await small.gitIn(work, "push", small.remote("bombs"), "main");
    assert.is(large.code, 1, large.err);
    assert.match(large.err, /remote: fatal: pack exceeds maximum allowed size/);
    // Ten entries that are the same tree of ten entries ...: a million files in seven objects.
    const bomb = await small.work("bomb");
    const script =
      't=$(printf "100644 blob %s\\tf\\n" "$(git rev-parse HEAD:index.html)" | git mktree); for d in 1 2 3 4 5 6; do t=$(for n in 0 1 2 3 4 5 6 7 8 9; do printf "040000 tree %s\\t%s\\n" "$t" "$n"; done | git mktree); done; git commit-tree -m bomb "$t"';
    const commit = await small.run(["sh", "-c", script], { cwd: bomb });
    assert.is(commit.code, 0, commit.err);
    const many = await small.gitIn(bomb, "push", small.remote("bombs"), `${commit.out.trim()}:refs/heads/main`);
    assert.is(many.code, 1, many.err);
    assert.match(many.err, /the commit has more than 200000 files/);
    const { oid } = await packOf(small, work);
    const garbage = await rawPush(small, {
      app: "bombs",
      lines: [`${NONE} ${oid} refs/heads/main`],
      pack: randomBytes(1_000),
    });
    assert.match(Buffer.concat(garbage.chunks).toString("latin1"), /unpack (?!ok)/);
    assert.is(await head(small, "bombs"), "");
    assert.is(small.builds.made.length, 0);
  } finally {
    await small.close();
  }
});

test("hooks and settings that a client pushes are files like any, and what is not an object of git is refused", async () => {
  await it.app("hooks");
  const work = await it.work("hooks", {
    "hooks/pre-receive": "#!/bin/sh\ntouch /tmp/git-hook-ran\n",
    "index.html": "x",
  });
  assert.is((await push(work, "hooks")).code, 0);
  assert.is(
    (await it.run(["git", `--git-dir=${it.repository("hooks")}`, "config", "--list", "--local"])).out.includes("hook"),
    false,
  );
  // A tree with a .GIT entry: git itself makes none.
  const blob = (await it.gitIn(work, "rev-parse", "HEAD:index.html")).out.trim();
  const tree = await it.run(["sh", "-c", `printf '100644 blob ${blob}\\t.GIT\\n' | git -C "${work}" mktree`]);
  const commit = await it.gitIn(work, "commit-tree", "-m", "bad", "-p", "HEAD", tree.out.trim());
  const { code, err } = await push(work, "hooks", `${commit.out.trim()}:main`);
  assert.is(code, 1, err);
  assert.match(err, /hasDotgit|\.git/i);
});

test("a client that sends nothing more is cut off, and holds no git process", async () => {
  const slow = await gitRig({ silentMs: 300 });
  try {
    await slow.app("loris");
    const { port } = new URL(slow.url);
    const socket = connect({ host: "127.0.0.1", port: Number(port), ca: slow.rig.caPem, servername: "localhost" });
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.on("error", () => undefined).resume();
    await new Promise((resolve) => socket.once("secureConnect", resolve));
    const auth = Buffer.from(`x:${slow.rig.token}`).toString("base64");
    socket.write(
      `POST /git/loris.git/git-receive-pack HTTP/1.1\r\nhost: x\r\nauthorization: Basic ${auth}\r\ncontent-type: application/x-git-receive-pack-request\r\ntransfer-encoding: chunked\r\n\r\n`,
    );
    await closed;
    const running = async () =>
      (await slow.run(["sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"])).out;
    await eventually("no git process of it", async () => !(await running()).includes(`${slow.repository("loris")}`));
    assert.is((await slow.gitIn(await slow.work("loris"), "push", slow.remote("loris"), "main")).code, 0);
  } finally {
    await slow.close();
  }
});

test("an app that is deleted between a push's two questions refuses it in words, whatever its pack", async () => {
  await it.app("leaving");
  const work = await it.work("leaving");
  const { oid, pack } = await packOf(it, work);
  await it.rig.admin.call(deleteApp, { params: { app: "leaving" } });
  const { status, chunks } = await rawPush(it, { app: "leaving", lines: [`${NONE} ${oid} refs/heads/main`], pack });
  assert.is(status, 200);
  assert.match(Buffer.concat(chunks).toString("latin1"), / ! {5}no app leaving; `flynn apps` lists them/);
});

test("a deleted app's repository is gone with it", async () => {
  const app = await it.app("deleted");
  const work = await it.work("deleted");
  assert.is((await push(work, "deleted")).code, 0);
  await it.rig.admin.call(deleteApp, { params: { app: "deleted" } });
  assert.match(
    (await it.gitIn(work, "push", `${it.url.replace("//", `//x:${it.rig.token}@`)}/git/deleted.git`, "main")).err,
    /no app deleted/,
  );
  await it.rig.store.commit({ actor: "test", mutations: [{ key: `apps/${app.id}`, value: null }] });
  await it.restart();
  await eventually(
    "the repository gone",
    async () => !(await readdir(join(it.stateDir, "git"))).includes(`${app.id}.git`),
  );
});

async function assertFault(call: Promise<unknown>, code: string, words: RegExp): Promise<void> {
  try {
    await call;
  } catch (error) {
    assert.ok(isFault(error), String(error));
    assert.is((error as { code: string }).code, code);
    return assert.match((error as Error).message, words);
  }
  assert.unreachable("it was not refused");
}

test.run();
