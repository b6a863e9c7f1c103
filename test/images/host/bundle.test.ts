import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { agent } from "../../../images/host/bundle.ts";

const root = resolve(import.meta.dirname, "../../..");

test("the host agent's bundle starts on the image's Node in a directory without node_modules", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-bundle-"));
  try {
    const { bundle, nodePath } = await agent({ entry: join(root, "hostd/main.ts") });
    const file = join(directory, "hostd.mjs");
    await writeFile(file, bundle);
    const { stdout } = await promisify(execFile)(nodePath, [file, "--help"], { cwd: directory, timeout: 30_000 });
    assert.match(stdout, /usage: hostd/);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("the bundle is the same from whatever directory it is made, and names no path of this machine", async () => {
  const entry = join(root, "hostd/main.ts");
  const here = process.cwd();
  const first = (await agent({ entry })).bundle;
  try {
    process.chdir(tmpdir());
    assert.ok((await agent({ entry })).bundle.equals(first));
  } finally {
    process.chdir(here);
  }
  assert.not.ok(first.includes(root));
});

test("an entry that does not exist is named in the error", async () => {
  const error = await agent({ entry: "/nonexistent/main.ts" }).catch((each: Error) => each);
  assert.instance(error, Error);
  assert.match((error as Error).message, /bundle \/nonexistent\/main\.ts/);
});

test.run();
