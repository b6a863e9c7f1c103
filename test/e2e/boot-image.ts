// The boot image for a lab: built when its inputs changed, else the one in the cache. Same recipe, same command as for real.
import { copyFile, mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { exec } from "#lib/exec.ts";

export const CACHE = process.env["FLYNN_CACHE"] ?? "/var/cache/flynn";
/** Of another architecture, every program of it is emulated. */
const BUILD_MS = 2_400_000;
const IMAGES_KEPT = 3;

export interface BuiltImage {
  id: string;
  imagesDir: string;
  manifest: string;
  signature: string;
  publicKeyFile: string;
  /** True when the cache had it. */
  reused: boolean;
  seconds: number;
  squashfsBytes: number;
}

export interface BootImageOptions {
  say: (line: string) => void;
  signal: AbortSignal;
  /** lz4 for zstd: packed in seconds, and an emulated machine reads it in half the time. The tree is the same. */
  fast?: boolean;
  /** This machine's without. */
  architecture?: "amd64" | "arm64";
  /** With a signed EFI program of kernel and initrd, signed with this key. */
  uki?: { keyFile: string; certificateFile: string };
}

export async function bootImage(options: BootImageOptions): Promise<BuiltImage> {
  const { say, signal, fast = false, architecture, uki } = options;
  const kinds = [...(architecture === undefined ? [] : [architecture]), ...(uki === undefined ? [] : ["uki"])];
  const imagesDir = join(CACHE, ["images", ...kinds].join("-"));
  await mkdir(imagesDir, { recursive: true });
  let line = "";
  const main = fileURLToPath(new URL("../../images/main.ts", import.meta.url));
  const { stdout } = await exec(
    [
      process.execPath,
      main,
      "build",
      "--out",
      imagesDir,
      "--cache",
      join(CACHE, "image-cache"),
      "--signing-key",
      join(CACHE, "images.key"),
      ...(architecture === undefined ? [] : ["--arch", architecture]),
      ...(uki === undefined ? [] : ["--uki", "--uki-key", uki.keyFile, "--uki-cert", uki.certificateFile]),
      ...(fast ? ["--lz4"] : []),
    ],
    {
      timeoutMs: BUILD_MS,
      signal,
      onOutput(chunk, stream) {
        if (stream !== "stderr") return;
        line += chunk.toString();
        const lines = line.split("\n");
        line = lines.pop()!;
        for (const done of lines) if (done.trim()) say(`  ${done}`);
      },
    },
  );
  const built = JSON.parse(stdout) as {
    directory: string;
    manifest: { id: string; squashfs: { sizeBytes: number } };
    publicKeyFile: string;
    reused: boolean;
    seconds: number;
  };
  await keepNewest(imagesDir, built.manifest.id);
  const text = (name: string) => readFile(join(built.directory, name), "utf8");
  return {
    id: built.manifest.id,
    imagesDir,
    manifest: await text("manifest.json"),
    signature: await text("manifest.sig"),
    publicKeyFile: built.publicKeyFile,
    reused: built.reused,
    seconds: built.seconds,
    squashfsBytes: built.manifest.squashfs.sizeBytes,
  };
}

/** Every change of hostd makes another image of some 250 MB. */
async function keepNewest(imagesDir: string, id: string): Promise<void> {
  const others = (await readdir(imagesDir)).filter((name) => name !== id && /^[0-9a-f]{16}$/.test(name));
  const dated = await Promise.all(
    others.map(async (name) => ({ name, atMs: (await stat(join(imagesDir, name))).mtimeMs })),
  );
  for (const { name } of dated.sort((a, b) => b.atMs - a.atMs).slice(IMAGES_KEPT - 1))
    await rm(join(imagesDir, name), { recursive: true, force: true });
}

/** Gives an appliance's state directory the public key that the image is signed for. */
export async function trustImage(image: BuiltImage, stateDir: string): Promise<void> {
  await mkdir(stateDir, { recursive: true });
  await copyFile(image.publicKeyFile, join(stateDir, "image-signing.pub"));
}
