// Layers and archives: differences of trees, whiteouts, and bytes that depend on the tree alone.
import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { imageConfig, writeArchive } from "../../../images/stack/archive.ts";
import { makeLayer } from "../../../images/stack/layer.ts";
import { difference, snapshot, whiteouts } from "../../../images/stack/snapshot.ts";

const directory = await mkdtemp(join(tmpdir(), "layers-"));
const around = { environment: { PATH: process.env["PATH"], LC_ALL: "C.UTF-8" }, signal: new AbortController().signal };
test.after(() => rm(directory, { recursive: true, force: true }));

test("a difference names what is new or changed, and of what is gone only the top", () => {
  const before = new Map([
    ["a", "1"],
    ["a/b", "1"],
    ["a/b/c", "1"],
    ["same", "1"],
    ["changed", "1"],
  ]);
  const after = new Map([
    ["a", "1"],
    ["same", "1"],
    ["changed", "2"],
    ["new", "1"],
  ]);
  assert.equal(difference(before, after), { written: ["changed", "new"], removed: ["a/b"] });
  assert.equal(whiteouts(["a/b", "top"]), ["a/.wh.b", ".wh.top"]);
});

test("a snapshot tells content, mode and link target apart, and not the time", async () => {
  const tree = join(directory, "snapshot");
  await mkdir(join(tree, "sub"), { recursive: true });
  await writeFile(join(tree, "sub/file"), "one");
  await symlink("file", join(tree, "sub/link"));
  const first = await snapshot(tree);
  await utimes(join(tree, "sub/file"), 1, 1);
  assert.equal(difference(first, await snapshot(tree)), { written: [], removed: [] });
  await writeFile(join(tree, "sub/file"), "two");
  await rm(join(tree, "sub/link"));
  assert.equal(difference(first, await snapshot(tree)), { written: ["sub/file"], removed: ["sub/link"] });
});

test("the same tree gives the same layer whenever it was written, and takes away what is gone", async () => {
  const digests: string[] = [];
  for (const [at, seconds] of [
    ["first", 2_000_000_000],
    ["second", 2_000_000_500],
  ] as const) {
    const tree = join(directory, at);
    const work = join(directory, `${at}-work`);
    await mkdir(join(tree, "etc"), { recursive: true });
    await mkdir(work);
    await writeFile(join(tree, "etc/name with\nnewline"), "text");
    for (const path of ["etc/name with\nnewline", "etc"]) await utimes(join(tree, path), seconds, seconds);
    const made = await makeLayer({
      tree,
      written: [...(await snapshot(tree)).keys()],
      removed: ["etc/gone"],
      output: join(work, "layer.tar.gz"),
      workDirectory: work,
      epochSeconds: 1_700_000_000,
      owner: "0",
      ...around,
    });
    digests.push(made.diffId);
    const { stdout } = await exec(["tar", "--list", "--file", made.path]);
    assert.equal(stdout.trim().split("\n"), ["etc/", "etc/name with\\nnewline", "etc/.wh.gone"]);
    assert.ok(made.unpackedBytes > made.sizeBytes);
  }
  assert.is(digests[0], digests[1]);
});

test("an archive is one image whose configuration names its layers; a tool that reads such archives agrees", async () => {
  const tree = join(directory, "image-tree");
  const work = join(directory, "image-work");
  await mkdir(tree);
  await mkdir(work);
  await writeFile(join(tree, "hello"), "hello");
  const layer = await makeLayer({
    tree,
    written: ["hello"],
    output: join(work, "layer.tar.gz"),
    workDirectory: work,
    epochSeconds: 1,
    ...around,
  });
  const image = {
    reference: "flynn/test:1",
    architecture: "amd64",
    createdAt: "2026-01-01T00:00:00.000Z",
    layers: [{ ...layer, createdBy: "test" }],
    environment: { HOME: "/app" },
    user: "app",
    workingDirectory: "/app",
    entrypoint: ["/flynn/start"],
    labels: { a: "b" },
  };
  const output = join(directory, "image.tar");
  const { id } = await writeArchive({
    image,
    layers: [layer],
    output,
    workDirectory: work,
    epochSeconds: 1,
    ...around,
  });
  assert.match(id, /^sha256:[0-9a-f]{64}$/);
  const config = JSON.parse(imageConfig(image));
  assert.equal(config.rootfs.diff_ids, [layer.diffId]);
  for (const transport of ["oci-archive", "docker-archive"]) {
    const { stdout } = await exec(["skopeo", "inspect", "--config", `${transport}:${output}`]);
    const read = JSON.parse(stdout);
    assert.equal(read.config, {
      User: "app",
      Env: ["HOME=/app"],
      Entrypoint: ["/flynn/start"],
      WorkingDir: "/app",
      Labels: { a: "b" },
    });
    assert.equal(read.rootfs.diff_ids, [layer.diffId]);
  }
  const { stdout } = await exec(["tar", "--list", "--file", output]);
  assert.is(stdout.split("\n")[0], "oci-layout", "by which a registry knows it");
});

test.run();
