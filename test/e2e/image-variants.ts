// Boot images that are another one's bytes with other kernel arguments, signed as it is: another id at no cost, and images that bring no
// machine up.
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createManifest, imageFiles, manifestText, parseManifest } from "../../images/host/manifest.ts";
import { signingKey, signManifest } from "../../images/host/signature.ts";
import { type BuiltImage, CACHE } from "./boot-image.ts";

/** With these words at the end of the command line: the kernel and what runs under it take the last of a kind. Answers id and directory. */
export async function variantOf(
  image: BuiltImage,
  imagesDir: string,
  words: readonly string[],
): Promise<{ id: string; directory: string }> {
  const { id: _, ...base } = parseManifest(image.manifest);
  const manifest = createManifest({ ...base, cmdline: [...base.cmdline, ...words] });
  const directory = join(imagesDir, manifest.id);
  await mkdir(directory, { recursive: true });
  for (const name of [imageFiles.kernel, imageFiles.initrd, imageFiles.squashfs])
    await symlink(join(image.imagesDir, image.id, name), join(directory, name));
  const text = manifestText(manifest);
  const { privateKey } = await signingKey(join(CACHE, "images.key"));
  await writeFile(join(directory, "manifest.json"), text);
  await writeFile(join(directory, "manifest.sig"), signManifest(Buffer.from(text), privateKey));
  return { id: manifest.id, directory };
}
