// What is swept of builds on control's disk, and what is not: a source is there before its build is on record.
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { buildFiles } from "../../../control/builds/files.ts";

test("a sweep takes what no record knows, and nothing of a source that is being taken in", async () => {
  const stateDir = await mkdtemp(join(tmpdir(), "flynn-builds-"));
  try {
    const files = buildFiles(stateDir);
    const known = new Set(["kept"]);
    const sweep = () => files.sweep((_appId, id) => known.has(id), true);
    const there = async () =>
      (await readdir(stateDir, { recursive: true })).filter((path) => path.endsWith(".tar")).sort();
    const put = async (path: string) => {
      await mkdir(path, { recursive: true });
      await writeFile(join(path, "source.tar"), "source");
    };
    await put(files.directory("app-1", "kept"));
    await put(files.directory("app-1", "gone"));
    await put(files.incoming("cut-off"));
    const release = files.takingIn("new");
    await put(files.incoming("new"));
    await sweep();
    assert.equal(await there(), ["builds/app-1/kept/source.tar", "builds/incoming/new/source.tar"]);
    const directory = files.directory("app-2", "new");
    await mkdir(dirname(directory), { recursive: true });
    await sweep();
    await rename(files.incoming("new"), directory);
    await sweep();
    assert.equal(await there(), ["builds/app-1/kept/source.tar", "builds/app-2/new/source.tar"]);
    release();
    await sweep();
    assert.equal(await there(), ["builds/app-1/kept/source.tar"]);
    assert.equal(await readdir(join(stateDir, "builds")), ["app-1"], "nor is an empty directory left");
  } finally {
    await rm(stateDir, { recursive: true, force: true });
  }
});

test.run();
