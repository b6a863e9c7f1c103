import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { KEPT_MS, removedRepositories } from "../../../control/git/removed.ts";
import { repositories } from "../../../control/git/repositories.ts";

const AT = new Date("2026-01-31T10:20:30.000Z");
const later = (ms: number) => new Date(AT.getTime() + ms);
const made: string[] = [];
test.after(async () => {
  for (const directory of made) await rm(directory, { recursive: true, force: true });
});

async function rig() {
  const directory = await mkdtemp(join(tmpdir(), "flynn-repositories-"));
  made.push(directory);
  const start = async () => {
    const repos = repositories(directory, { hooksDir: directory, packBytes: 1 << 20 });
    await repos.prepare();
    return repos;
  };
  return { directory, start };
}

test("the repository of an app that is not known is set aside under its date, not deleted", async () => {
  const { directory, start } = await rig();
  const repos = await start();
  await repos.open("app-1", "main");
  await repos.open("app-2", "main");
  const { setAside, deleted } = await repos.sweep((appId) => appId === "app-2", AT);
  assert.equal(setAside, [join(directory, "removed", "app-1@2026-01-31T10:20:30.000Z.git")]);
  assert.equal(deleted, []);
  assert.ok((await readdir(setAside[0]!)).includes("HEAD"));
  assert.ok((await readdir(join(directory, "app-2.git"))).includes("HEAD"));
});

test("it comes back, as it was, with its app: for a fetch and for a push, also to a control started anew", async () => {
  const { directory, start } = await rig();
  const before = await start();
  await writeFile(join(await before.open("app-1", "main"), "mark"), "first");
  await writeFile(join(await before.open("app-2", "main"), "mark"), "second");
  await before.sweep(() => false, AT);
  const after = await start();
  const path = await after.find("app-1");
  assert.is(path, join(directory, "app-1.git"));
  assert.ok((await readdir(path!)).includes("mark"));
  assert.ok((await readdir(await after.open("app-2", "main"))).includes("mark"));
  assert.is(await after.find("app-3"), undefined);
  assert.equal(await readdir(join(directory, "removed")), []);
});

test("of an app set aside twice the newest comes back", async () => {
  const { start } = await rig();
  const repos = await start();
  await repos.open("app-1", "main");
  await repos.sweep(() => false, AT);
  const [, again] = await Promise.all([repos.find("app-1"), repos.open("app-1", "main")]);
  await writeFile(join(again, "newest"), "");
  await repos.sweep(() => false, later(1));
  assert.ok((await readdir((await repos.find("app-1"))!)).includes("newest"));
});

test("it is deleted a week after, and nothing else that lies there", async () => {
  const { directory, start } = await rig();
  const repos = await start();
  await repos.open("app-1", "main");
  await repos.sweep(() => false, AT);
  await writeFile(join(directory, "removed", "notes.txt"), "mine");
  assert.equal((await repos.sweep(() => false, later(KEPT_MS))).deleted, []);
  assert.equal((await repos.sweep(() => false, later(KEPT_MS + 1))).deleted, ["app-1@2026-01-31T10:20:30.000Z.git"]);
  assert.equal(await readdir(join(directory, "removed")), ["notes.txt"]);
});

test("what is set aside is bounded in bytes: the oldest go first, however young", async () => {
  const { directory } = await rig();
  const removed = removedRepositories(join(directory, "removed"), 2_500);
  for (const n of [1, 2, 3]) {
    const path = join(directory, `app-${n}.git`);
    await mkdir(join(path, "objects"), { recursive: true });
    await writeFile(join(path, "objects", "pack"), Buffer.alloc(1_000));
    await removed.setAside(path, `app-${n}`, later(n));
  }
  assert.equal(await removed.sweep(later(10)), ["app-1@2026-01-31T10:20:30.001Z.git"]);
  assert.equal((await readdir(join(directory, "removed"))).length, 2);
});

test.run();
