// The signed image (UKI) that a machine's firmware is given in place of a loader: that of its own boot image, else of the current one.
import { open } from "node:fs/promises";
import type { BootMachine, BootTarget } from "#api/boot.ts";
import type { Artefact, Images } from "./images.ts";
import type { TftpFile } from "./tftp/files.ts";

/** Undefined where the image was built without. */
export function signedImageOf(
  target: BootTarget | undefined,
  machine: BootMachine | undefined,
  images: Pick<Images, "get">,
): Artefact | undefined {
  const current = target?.images.find((image) => image.current && image.architecture === "amd64")?.id;
  const imageId = machine?.imageId ?? current;
  return imageId === undefined ? undefined : images.get(imageId)?.artefacts.uki;
}

const files = new WeakMap<Artefact, TftpFile>();

/** One object per content, as TFTP's cache of blocks wants it. */
export function diskFile(artefact: Artefact): TftpFile {
  const known = files.get(artefact);
  if (known !== undefined) return known;
  const file: TftpFile = {
    sizeBytes: artefact.sizeBytes,
    async read(offset, length) {
      await using handle = await open(artefact.path, "r");
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, offset);
      if (bytesRead !== length) throw new Error(`${artefact.path} is shorter than it was`);
      return buffer;
    },
  };
  files.set(artefact, file);
  return file;
}
