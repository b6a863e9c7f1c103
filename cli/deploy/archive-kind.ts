// What an archive holds: an image as `docker save` writes it (or an OCI layout), or a source tree.
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { PassThrough, type Readable, type Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import * as tar from "tar-stream";

const MANIFEST_MOST_BYTES = 4 * 1024 ** 2;

/** One that cannot be read at all is sent as an image, one that breaks off as a source: the cluster says what is wrong with it. */
export async function archiveKind(file: string): Promise<"image" | "source"> {
  const extract = tar.extract();
  const unpack = (await isGzip(file)) ? createGunzip() : new PassThrough();
  const reading = pipeline(createReadStream(file), unpack, extract as unknown as Writable);
  reading.catch(() => undefined);
  let entries = 0;
  try {
    for await (const entry of extract) {
      entries++;
      const { name, size } = entry.header;
      if (/^(\.\/)?oci-layout$/.test(name)) return "image";
      if (/^(\.\/)?manifest\.json$/.test(name) && size <= MANIFEST_MOST_BYTES) {
        if (isImageManifest(await text(entry as unknown as Readable))) return "image";
      } else entry.resume();
    }
  } catch {
    // Told below by what was read.
  } finally {
    extract.destroy();
    await reading.catch(() => undefined);
  }
  return entries === 0 ? "image" : "source";
}

/** A source tree may have a manifest.json of its own (web apps do). */
function isImageManifest(json: string): boolean {
  try {
    const value: unknown = JSON.parse(json);
    return Array.isArray(value) && value.some((one) => typeof one === "object" && one !== null && "Layers" in one);
  } catch {
    return false;
  }
}

async function isGzip(file: string): Promise<boolean> {
  const handle = await open(file, "r");
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(2), 0, 2, 0);
    return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b;
  } finally {
    await handle.close();
  }
}
