import { generateKeyPairSync } from "node:crypto";
import { cp, mkdtemp, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { openImages } from "../../bootstrap/images.ts";
import { type ImageFixture, writeImage } from "./image-fixture.ts";

const key = generateKeyPairSync("ed25519").privateKey;

async function withImage(
  work: (fixture: ImageFixture, images: ReturnType<typeof openImages>) => Promise<void>,
): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "flynn-images-"));
  try {
    const fixture = await writeImage(root, { key });
    const images = openImages({ directory: fixture.imagesDir, publicKeyFile: fixture.keyFile, log: silentLog() });
    await images.scan();
    await work(fixture, images);
  } finally {
    await rm(root, { recursive: true });
  }
}

test("a signed image is served by content hash and name, and by no other name", () =>
  withImage(async ({ manifest }, images) => {
    assert.is(images.get("img1")?.manifest.id, "img1");
    assert.is(images.artefact(manifest.kernel.sha256, "vmlinuz")?.part, "kernel");
    assert.is(images.artefact(manifest.kernel.sha256, "initrd"), undefined);
    assert.is(images.artefact(manifest.kernel.sha256, "../img1/vmlinuz"), undefined);
  }));

test("what was not looked at yet is being verified, and is not called missing", () =>
  withImage(async ({ imagesDir, keyFile }) => {
    const images = openImages({ directory: imagesDir, publicKeyFile: keyFile, log: silentLog() });
    assert.match(images.refusal("img1")!, "still being verified");
    await images.scan();
    assert.is(images.refusal("img1"), undefined);
    assert.is(images.refusal("never"), undefined);
  }));

test("an image is served as soon as it is verified itself, the newest first", () =>
  withImage(async ({ imagesDir, keyFile }) => {
    const old = join(imagesDir, "img0");
    const manifest = join(old, "manifest.json");
    await cp(join(imagesDir, "img1"), old, { recursive: true });
    await rm(manifest);
    await exec(["mkfifo", manifest]); // read only once somebody writes it
    await utimes(old, new Date(0), new Date(0));
    const images = openImages({ directory: imagesDir, publicKeyFile: keyFile, log: silentLog() });
    const scan = images.scan();
    await until(() => images.get("img1"), { what: "the newest image", timeoutMs: 30_000, everyMs: 1 });
    assert.match(images.refusal("img0")!, "still being verified");
    await writeFile(manifest, await readFile(join(imagesDir, "img1", "manifest.json")));
    await scan;
    assert.match(images.refusal("img0")!, "manifest.json is of image img1");
  }));

test("a flipped bit in a file takes the whole image away, and says which file", () =>
  withImage(async ({ imagesDir }, images) => {
    const path = join(imagesDir, "img1", "initrd");
    const content = await readFile(path);
    content[1234]! ^= 1;
    await writeFile(path, content);
    await utimes(path, new Date(), new Date(Date.now() + 5_000));
    await images.scan();
    assert.is(images.get("img1"), undefined);
    assert.match(images.refusal("img1")!, "initrd is not the file the manifest was signed for");
  }));

test("a truncated file, a changed manifest and a missing file are refused", async () => {
  await withImage(async ({ imagesDir, contents }, images) => {
    await writeFile(join(imagesDir, "img1", "root.squashfs"), contents["root.squashfs"].subarray(1));
    await images.scan();
    assert.match(images.refusal("img1")!, /root.squashfs has 2999999 bytes/);
  });
  await withImage(async ({ imagesDir }, images) => {
    const path = join(imagesDir, "img1", "manifest.json");
    await writeFile(path, (await readFile(path, "utf8")).replace("boot=live", "boot=evil"));
    await images.scan();
    assert.match(images.refusal("img1")!, "not signed by this appliance's image key");
  });
  await withImage(async ({ imagesDir }, images) => {
    await rm(join(imagesDir, "img1", "vmlinuz"));
    await images.scan();
    assert.match(images.refusal("img1")!, "vmlinuz is missing");
  });
});

test("an image signed by another key, or lying under another id, is refused", async () => {
  await withImage(async ({ imagesDir }, images) => {
    await writeImage(join(imagesDir, ".."), {
      id: "img2",
      publicKeyPem: await readFile(join(imagesDir, "..", "image.pub"), "utf8"),
    });
    await images.scan();
    assert.match(images.refusal("img2")!, "not signed by this appliance's image key");
    assert.ok(images.get("img1"), "the other image goes on");
  });
});

test("without an image key nothing is served, and it is read once it is there", () =>
  withImage(async ({ imagesDir, keyFile }) => {
    const pem = await readFile(keyFile);
    await rm(keyFile);
    const images = openImages({ directory: imagesDir, publicKeyFile: keyFile, log: silentLog() });
    await images.scan();
    assert.is(images.get("img1"), undefined);
    await writeFile(keyFile, pem);
    await images.scan();
    assert.ok(images.get("img1"));
  }));

test("no images directory is no images", async () => {
  const images = openImages({ directory: "/nonexistent/images", publicKeyFile: "/nonexistent/key", log: silentLog() });
  await images.scan();
  assert.is(images.get("img1"), undefined);
});

test.run();
