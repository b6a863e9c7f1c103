// time limit: 120 s
// What a real git shows on its user's terminal when a push builds nothing, word for word: the branch is up to date, or it is not
// one that is deployed. `git push` with its remote `flynn`, over HTTPS.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { matchesGolden } from "../../golden/golden.ts";
import { type GitRig, gitRig, head } from "./git-rig.ts";

let it: GitRig;
test.before(async () => {
  it = await gitRig();
});
test.after(() => it.close());

/** An app that was pushed once, and the work tree it came from. */
async function deployed(app: string): Promise<string> {
  await it.app(app);
  const work = await it.work(app);
  await it.gitIn(work, "remote", "add", "flynn", it.remote(app));
  const first = await it.gitIn(work, "push", "flynn", "main");
  assert.is(first.code, 0, first.err);
  return work;
}

/** The command and what is on the terminal after it; what differs from run to run is named instead. */
async function shown(work: string, ...args: string[]): Promise<{ code: number | null; text: string }> {
  const { code, out, err } = await it.gitIn(work, ...args);
  assert.is(out, "");
  assert.not.match(err, it.rig.token);
  const text = err
    .replaceAll(new URL(it.url).host, "HOST")
    .replaceAll(/\b[0-9a-f]{7,40}\b/g, "COMMIT")
    .replaceAll(/[^\S\n]+$/gm, ""); // git clears the rest of each line of the server's
  return { code, text: `$ git ${args.join(" ")}\n${text}` };
}

test("a push of what is there already is the client's own word, and one of what is deployed already moves the branch only", async () => {
  const work = await deployed("hello");
  const first = await head(it, "hello");
  const nothing = await shown(work, "push", "flynn", "main");
  await it.commit(work, { "index.html": "two\n" });
  assert.is((await it.gitIn(work, "push", "flynn", "main")).code, 0);
  // As a power cut between the deployment's end and git's own change of the ref leaves it.
  await it.run(["git", `--git-dir=${it.repository("hello")}`, "update-ref", "refs/heads/main", first]);
  const builds = it.builds.made.length;
  const moved = await shown(work, "push", "flynn", "main");
  assert.equal([nothing.code, moved.code, it.builds.made.length], [0, 0, builds]);
  matchesGolden("push-up-to-date.txt", `${nothing.text}\n${moved.text}`);
});

test("a push of a branch, a tag or a deletion that deploys nothing says what to type instead", async () => {
  const work = await deployed("world");
  await it.gitIn(work, "checkout", "--quiet", "-b", "feature");
  await it.commit(work, { "index.html": "two\n" });
  await it.gitIn(work, "tag", "v1");
  const builds = it.builds.made.length;
  const refused: string[] = [];
  for (const args of [["feature"], ["v1"], ["feature", "v1"], ["--delete", "main"]]) {
    const { code, text } = await shown(work, "push", "flynn", ...args);
    assert.is(code, 1);
    refused.push(text);
  }
  assert.is(it.builds.made.length, builds);
  matchesGolden("push-wrong-branch.txt", refused.join("\n"));
});

test.run();
