// The archive that GRUB loads beside a slot's initrd: root image and seed, as a cpio of the kind that the kernel unpacks
// (Documentation/driver-api/early-userspace/buffer-format.rst), not compressed, so that it may stand before the initrd.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";

/** Where the initrd finds them (images/host/rootfs/usr/lib/live/boot). */
const FOLDER = "flynn-slot";

export interface SlotArchive {
  squashfs: string;
  /** By name, such as user-data. */
  seed: Readonly<Record<string, string>>;
}

/** Writes it to `path`, and says the hash of the root image as it was read. */
export async function writeArchive(path: string, { squashfs, seed }: SlotArchive): Promise<string> {
  const { size } = await stat(squashfs);
  const root = createHash("sha256");
  const file = await open(path, "w", 0o600);
  const put = (bytes: Buffer): Promise<void> => file.writeFile(bytes);
  try {
    await put(Buffer.concat([header(FOLDER, 0, FOLDER_MODE), header(`${FOLDER}/seed`, 0, FOLDER_MODE)]));
    for (const [name, text] of Object.entries(seed)) {
      const content = Buffer.from(text);
      await put(Buffer.concat([header(`${FOLDER}/seed/${name}`, content.length), content, padding(content.length)]));
    }
    await put(header(`${FOLDER}/root.squashfs`, size));
    for await (const chunk of createReadStream(squashfs, { highWaterMark: 1 << 20 })) {
      root.update(chunk as Buffer);
      await put(chunk as Buffer);
    }
    await put(Buffer.concat([padding(size), header("TRAILER!!!", 0, 0)]));
    await file.sync();
  } finally {
    await file.close();
  }
  return root.digest("hex");
}

const FOLDER_MODE = 0o040700;
const FILE_MODE = 0o100600;

function header(path: string, sizeBytes: number, mode = FILE_MODE): Buffer {
  const name = Buffer.from(`${path}\0`);
  const fields = [0, mode, 0, 0, 1, 0, sizeBytes, 0, 0, 0, 0, name.length, 0];
  const text = `070701${fields.map((field) => field.toString(16).padStart(8, "0").toUpperCase()).join("")}`;
  const length = text.length + name.length;
  return Buffer.concat([Buffer.from(text, "ascii"), name, padding(length)]);
}

const padding = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4);
