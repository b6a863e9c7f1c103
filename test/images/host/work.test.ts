import { spawnSync } from "node:child_process";
import { access, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { withWorkDirectory } from "../../../images/host/work.ts";

async function inParent(probe: (parent: string) => Promise<void>): Promise<void> {
  const parent = await mkdtemp(join(tmpdir(), "flynn-work-"));
  try {
    await probe(parent);
  } finally {
    await rm(parent, { recursive: true });
  }
}

test("the scratch directory is there during the work and gone after it, when it failed too", async () => {
  await inParent(async (parent) => {
    const ended = withWorkDirectory(parent, async (directory) => {
      await access(directory);
      await mkdir(join(directory, "deep"));
      await writeFile(join(directory, "deep/file"), "x");
      throw new Error("disk full");
    });
    assert.match(await ended.catch((error: Error) => error.message), /disk full/);
    assert.equal(await readdir(parent), []);
  });
});

test("what a dead build left is swept; a running build's directory and other files stay", async () => {
  await inParent(async (parent) => {
    const dead = spawnSync("true").pid;
    const running = `.work-${process.ppid}-aaaaaa`;
    await mkdir(join(parent, `.work-${dead}-aaaaaa`));
    await mkdir(join(parent, running));
    await writeFile(join(parent, "tree-00.tar"), "");
    await withWorkDirectory(parent, async () => {});
    assert.equal((await readdir(parent)).sort(), [running, "tree-00.tar"]);
  });
});

test.run();
