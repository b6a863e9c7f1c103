import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { forgetUnrecorded, keepSecretsInRam } from "../../hostd/secrets-in-ram.ts";

const HEX = ["a", "b", "c", "d"].map((letter) => letter.repeat(64)) as [string, string, string, string];

async function withFiles(files: Record<string, string>, body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-secrets-"));
  try {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(directory, path)), { recursive: true });
      await writeFile(join(directory, path), text);
    }
    await body(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

for (const isRecorded of [false, true])
  test(`on the disk again, what containers wrote ${isRecorded ? "stays while Docker has a record of one" : "goes when Docker has no record of any, as after a boot with secrets in RAM"}`, () => {
    const [container, layer, image] = HEX;
    const files = {
      ...(isRecorded ? { [`containers/${container}/config.v2.json`]: "{}" } : {}),
      [`image/overlay2/layerdb/mounts/${container}/mount-id`]: layer,
      [`overlay2/${layer}/diff/file`]: "written",
      [`overlay2/${image}/diff/file`]: "an image's",
    };
    return withFiles(files, async (directory) => {
      await forgetUnrecorded(directory);
      assert.equal((await readdir(join(directory, "overlay2"))).sort(), isRecorded ? [layer, image] : [image]);
    });
  });

test("what Docker kept of containers goes from the disk before memory is laid over it; images and named volumes stay", async () => {
  const [container, layer, image, volume] = HEX;
  const files = {
    [`containers/${container}/config.v2.json`]: "SECRET=1",
    "containerd/daemon/io.containerd.metadata.v1.bolt/meta.db": "SECRET=1",
    [`image/overlay2/layerdb/mounts/${container}/mount-id`]: layer,
    [`image/overlay2/layerdb/mounts/${container}/init-id`]: `${layer}-init`,
    [`overlay2/${layer}/diff/file`]: "written",
    [`overlay2/${layer}-init/diff/file`]: "",
    [`overlay2/${image}/diff/file`]: "an image's",
    [`volumes/${volume}/_data/file`]: "nobody's",
    "volumes/flynn-cache-app-1-0/_data/file": "a cache",
  };
  await withFiles(files, async (directory) => {
    const mounted: string[] = [];
    await keepSecretsInRam(directory, {
      signal: AbortSignal.timeout(10_000),
      mount: async (path) => {
        assert.equal(await readdir(path), [], "nothing is under it");
        mounted.push(path);
      },
    });
    assert.equal(mounted, [
      join(directory, "containerd/daemon/io.containerd.metadata.v1.bolt"),
      join(directory, "containers"),
    ]);
    assert.equal(await readdir(join(directory, "overlay2")), [image]);
    assert.equal(await readdir(join(directory, "volumes")), ["flynn-cache-app-1-0"]);
    assert.equal(await readdir(join(directory, "image/overlay2/layerdb/mounts")), []);
  });
});

test.run();
