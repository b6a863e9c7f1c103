// Which machine's firmware is given which signed image, and its bytes as TFTP asks for them.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootTarget } from "#api/boot.ts";
import type { Artefact, VerifiedImage } from "../../bootstrap/images.ts";
import { diskFile, signedImageOf } from "../../bootstrap/signed-image.ts";
import { bootMachine } from "./image-fixture.ts";

const MAC = "52:54:00:00:00:01";
const uki = (imageId: string) => ({ imageId, part: "uki", name: "uki.efi" }) as Artefact;
const images = (...signed: string[]) => ({
  get: (id: string) => ({ artefacts: signed.includes(id) ? { uki: uki(id) } : {} }) as unknown as VerifiedImage,
});
const target = {
  images: [
    { id: "arm", architecture: "arm64", current: true },
    { id: "new", architecture: "amd64", current: true },
  ],
} as unknown as BootTarget;

test("a machine's own image goes before the current one, and who is not known gets the current one's", () => {
  const own = bootMachine(MAC, { imageId: "old" });
  assert.is(signedImageOf(target, own, images("old", "new"))?.imageId, "old");
  assert.is(signedImageOf(target, own, images("new")), undefined, "never that of another image than it is to boot");
  assert.is(signedImageOf(target, undefined, images("arm", "new"))?.imageId, "new");
  assert.is(signedImageOf(undefined, undefined, images("new")), undefined);
});

test("its bytes come from the disk as they are asked for; one that became shorter is an error", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-uki-"));
  try {
    const path = join(directory, "uki.efi");
    await writeFile(path, "0123456789");
    const artefact = { ...uki("a"), path, sizeBytes: 10 };
    const file = diskFile(artefact);
    assert.is(diskFile(artefact), file, "one object per content");
    assert.is(Buffer.from(await file.read(3, 4)).toString(), "3456");
    await writeFile(path, "01");
    const shorter = Promise.resolve(file.read(3, 4)).then(
      () => "",
      (error: Error) => error.message,
    );
    assert.match(await shorter, /shorter than it was/);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test.run();
