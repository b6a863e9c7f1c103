// A commit's tree as it goes into a build: what of it is there, however late it is read.
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { type GitChild, type Repositories, repositories } from "../../../control/git/repositories.ts";
import { archiveOf } from "../../../control/git/source.ts";

/** A repository with one commit, and whatever git is started for it. */
async function withCommit(
  body: (it: { repos: Repositories; repository: string; commit: string; started: GitChild[] }) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-source-"));
  try {
    const repos = repositories(directory, { hooksDir: directory, packBytes: 1 << 20 });
    await repos.prepare();
    const repository = await repos.open("app-1", "main");
    const git = async (args: string[], input?: string) =>
      (
        await exec(["git", `--git-dir=${repository}`, "-c", "user.name=t", "-c", "user.email=t@example.com", ...args], {
          timeoutMs: 20_000,
          ...(input === undefined ? {} : { input }),
        })
      ).stdout.trim();
    const blob = await git(["hash-object", "-w", "--stdin"], "hello\n");
    const tree = await git(["mktree"], `100644 blob ${blob}\tindex.html\n`);
    const commit = await git(["commit-tree", "-m", "first", tree]);
    const started: GitChild[] = [];
    const spawn: Repositories["spawn"] = (args, env) => {
      const child = repos.spawn(args, env);
      started.push(child);
      return child;
    };
    await body({ repos: { ...repos, spawn }, repository, commit, started });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

test("an archive is whole however long after it was asked for it is read: whatever git was started for it has ended by then", () =>
  withCommit(async ({ repos, repository, commit, started }) => {
    const source = archiveOf({ repositories: repos, repository, commit, signal: new AbortController().signal });
    for (const child of started) if (child.exitCode === null) await once(child, "exit");
    const archive = (await buffer(source)).toString("latin1");
    assert.match(archive, /index\.html/);
    assert.match(archive, /hello\n/);
    assert.ok(started.length > 0);
  }));

test.run();
