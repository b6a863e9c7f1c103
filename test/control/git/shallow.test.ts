// What a push from a clone of some depth costs: one walk, whatever it says its history ends with, and none when its client has gone.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ExecOptions, exec } from "#lib/exec.ts";
import { historyEnds } from "../../../control/git/shallow.ts";

const NEVER = new AbortController().signal;

async function withRepository(
  body: (it: {
    repository: string;
    runs: string[];
    made: (parent?: string) => Promise<string>;
    ends: Ends;
  }) => Promise<void>,
): Promise<void> {
  const repository = await mkdtemp(join(tmpdir(), "shallow-test-"));
  const runs: string[] = [];
  const git = (at: string, args: readonly string[], options: ExecOptions = {}) => {
    runs.push(args[0]!);
    return exec(["git", `--git-dir=${at}`, ...args], options);
  };
  const plain = (...args: string[]) =>
    exec(["git", `--git-dir=${repository}`, "-c", "user.name=t", "-c", "user.email=t@example.com", ...args]);
  try {
    await exec(["git", "init", "--quiet", "--bare", repository]);
    const tree = (await plain("mktree")).stdout.trim();
    let count = 0;
    const made = async (parent?: string) =>
      (await plain("commit-tree", ...(parent ? ["-p", parent] : []), "-m", `${count++}`, tree)).stdout.trim();
    await body({ repository, runs, made, ends: await historyEnds({ git }, repository, "x") });
  } finally {
    await rm(repository, { recursive: true });
  }
}
type Ends = Awaited<ReturnType<typeof historyEnds>>;

test("of many ends those are new that no ref leads to, found in one walk", () =>
  withRepository(async ({ repository, runs, made, ends }) => {
    const first = await made();
    const second = await made(first);
    const third = await made(second);
    const alone = await made();
    await exec(["git", `--git-dir=${repository}`, "update-ref", "refs/heads/main", third]);
    const unknown = Array.from({ length: 97 }, (_, n) => n.toString(16).padStart(40, "e"));
    await ends.add([first, alone, second, ...unknown], NEVER);
    assert.equal(runs, ["cat-file", "rev-list"]);
    assert.ok(ends.grows);
    assert.equal((await readFile(join(repository, "shallow-push-x"), "utf8")).trim().split("\n"), [alone, ...unknown]);
    await ends.keep();
    assert.is((await readFile(join(repository, "shallow"), "utf8")).trim(), alone, "of what is there");
    assert.is(runs.length, 3);
  }));

test("ends that are all reached are none, and those of a repository without them need no walk", () =>
  withRepository(async ({ repository, runs, made, ends }) => {
    await ends.add(["e".repeat(40)], NEVER);
    assert.equal(runs, ["cat-file"]);
    const first = await made();
    await exec(["git", `--git-dir=${repository}`, "update-ref", "refs/heads/main", first]);
    const others = await historyEnds(
      { git: (at, args, options) => exec(["git", `--git-dir=${at}`, ...args], options) },
      repository,
      "y",
    );
    await others.add([first], NEVER);
    assert.not(others.grows);
  }));

test("a push that has ended looks for no ends", () =>
  withRepository(async ({ runs, made, ends }) => {
    const gone = AbortSignal.abort(new Error("gone"));
    const error = await ends.add([await made()], gone).then(
      () => undefined,
      (cause: unknown) => cause,
    );
    assert.ok(error !== undefined);
    assert.not(ends.grows);
    assert.equal(
      runs.filter((run) => run === "rev-list"),
      [],
    );
  }));

test.run();
