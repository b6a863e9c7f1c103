// Where the app's files are while buildpacks, ours and others', work on them.
import { lstat, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { appTree } from "../../../images/stack/program/tree.ts";

const root = await mkdtemp(join(tmpdir(), "tree-test-"));
test.after(() => rm(root, { recursive: true, force: true }));
let count = 0;

const ours = { directory: "/", shown: "nodejs", foreign: false };
const other = { directory: "/", shown: "http://packs.test/other.tgz", foreign: true };

async function open() {
  const base = join(root, String(++count));
  const [app, temporary] = [join(base, "app"), join(base, "tmp")];
  for (const folder of [app, temporary]) await mkdir(folder, { recursive: true });
  await writeFile(join(app, "source"), "1");
  const tree = appTree({ app, temporary }, { path: process.env["PATH"]!, signal: new AbortController().signal });
  return { app, tree };
}

test("ours work in /app itself", async () => {
  const { app, tree } = await open();
  assert.is(await tree.enter(ours), app);
  await writeFile(join(app, "made"), "");
  await tree.settle();
  assert.equal((await readdir(app)).sort(), ["made", "source"]);
});

test("another's folder is not HOME, and what it leaves at HOME is seen by those after it and is not the app's", async () => {
  const { app, tree } = await open();
  const place = await tree.enter(other);
  assert.is.not(place, app);
  assert.equal(await readdir(place), ["source"]);
  assert.equal(await readdir(app), []);
  await writeFile(join(app, ".netrc"), "t0ken");
  await writeFile(join(place, "made"), "");
  assert.is(await tree.enter(other), place);
  assert.is(await readFile(join(app, ".netrc"), "utf8"), "t0ken");
  await tree.enter(ours);
  assert.is(await readFile(join(app, ".netrc"), "utf8"), "t0ken");
  await tree.enter(other);
  assert.equal((await readdir(place)).sort(), ["made", "source"]);
  await tree.settle();
  assert.equal((await readdir(app)).sort(), ["made", "source"]);
});

test("another may take its whole folder away and put a new one there", async () => {
  const { app, tree } = await open();
  const place = await tree.enter(other);
  await mkdir(join(place, "sub"));
  await writeFile(join(place, "sub/inner"), "");
  await rename(join(place, "sub"), `${place}-staged`);
  await rm(place, { recursive: true });
  await rename(`${place}-staged`, place);
  await tree.settle();
  assert.equal(await readdir(app), ["inner"]);
});

test("a folder that is gone for good ends the build with the buildpack's name", async () => {
  const { tree } = await open();
  await rm(await tree.enter(other), { recursive: true });
  const error = await tree.settle().then(
    () => undefined,
    (thrown: Error) => thrown,
  );
  assert.match(error?.message ?? "", /^http:\/\/packs\.test\/other\.tgz took the app's folder away$/);
});

test("paths below either place lead to the files wherever they are", async () => {
  const { app, tree } = await open();
  await tree.enter(ours);
  await mkdir(join(app, "bin"));
  await writeFile(join(app, "bin/tool"), "ours");
  const place = await tree.enter(other);
  assert.is(await readFile(join(app, "bin/tool"), "utf8"), "ours");
  await writeFile(join(place, "theirs"), "other");
  await tree.enter(ours);
  assert.is(await readFile(join(place, "theirs"), "utf8"), "other");
  assert.ok((await lstat(join(app, "bin"))).isDirectory());
  await tree.settle();
  assert.equal((await readdir(app)).sort(), ["bin", "source", "theirs"]);
});

test("of two of a name the app's own stays", async () => {
  const { app, tree } = await open();
  const place = await tree.enter(other);
  for (const folder of [app, place]) {
    await mkdir(join(folder, ".cache"));
    await writeFile(join(folder, ".cache/of"), folder);
  }
  await tree.settle();
  assert.is(await readFile(join(app, ".cache/of"), "utf8"), place);
});

test.run();
