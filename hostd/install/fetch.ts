// Files of a boot image, from the boot server by their hashes, or from memory where this machine runs that very image.
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { copyFile, mkdir } from "node:fs/promises";
import { get, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { InstallImage } from "#api/host-agents.ts";
import { retry } from "#lib/retry.ts";
import type { SlotContent } from "./write.ts";

const NAMES = { kernel: "vmlinuz", initrd: "initrd", squashfs: "root.squashfs" } as const;
const SILENT_MS = 60_000;
const ATTEMPTS = 5;

export interface FetchOptions {
  image: InstallImage;
  /** `http://10.77.0.1:7780` */
  server: string;
  /** Where it lies here, if this machine runs this very image. */
  rootImage: string | undefined;
  directory: string;
  signal: AbortSignal;
}

export async function fetchImage({
  image,
  server,
  rootImage,
  directory,
  signal,
}: FetchOptions): Promise<SlotContent["files"]> {
  await mkdir(directory, { recursive: true });
  const one = async (of: keyof typeof NAMES): Promise<string> => {
    const file = image[of];
    const path = join(directory, NAMES[of]);
    if (of === "squashfs" && rootImage !== undefined) {
      await copyFile(rootImage, path);
      return path;
    }
    const url = `${server}/a/sha256-${file.sha256}/${NAMES[of]}`;
    await retry(() => download(url, path, file, signal), { signal, attempts: ATTEMPTS, maxMs: 10_000 });
    return path;
  };
  return { kernel: await one("kernel"), initrd: await one("initrd"), squashfs: await one("squashfs") };
}

async function download(
  url: string,
  path: string,
  { sha256, sizeBytes }: InstallImage["kernel"],
  signal: AbortSignal,
): Promise<void> {
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = get(url, { signal, timeout: SILENT_MS }, resolve);
    request.on("timeout", () => request.destroy(new Error("no byte for a minute")));
    request.on("error", reject);
  }).catch((cause: unknown) => {
    throw new Error(`fetch ${url}`, { cause });
  });
  if (answer.statusCode !== 200) {
    answer.destroy();
    throw new Error(`fetch ${url}: the boot server answers ${answer.statusCode}`);
  }
  const hash = createHash("sha256");
  let bytes = 0;
  const counted = async function* (source: AsyncIterable<Buffer>) {
    for await (const chunk of source) {
      bytes += chunk.length;
      if (bytes > sizeBytes) throw new Error(`${url} is longer than the image's ${sizeBytes} bytes`);
      hash.update(chunk);
      yield chunk;
    }
  };
  await pipeline(answer, counted, createWriteStream(path), { signal });
  if (hash.digest("hex") !== sha256) throw new Error(`${url} is not what the image has`);
}
