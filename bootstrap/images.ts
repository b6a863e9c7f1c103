// The boot images on this machine: `<imagesDir>/<imageId>/{manifest.json,manifest.sig,vmlinuz,initrd,root.squashfs}`.
// An image is served only if its manifest is signed by our image key (ed25519 over the exact bytes) and every file has the
// size and sha256 the manifest names. Hashed once per file version (mtime, size, inode).
import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { Ajv } from "ajv";
import { BootImageManifest } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import type { FileVersion, Sent } from "#lib/file-server/send-file.ts";
import { readText } from "#lib/files.ts";
import type { Log } from "#lib/log.ts";

export const FILE_NAMES = { kernel: "vmlinuz", initrd: "initrd", squashfs: "root.squashfs", uki: "uki.efi" } as const;
export type ImagePart = keyof typeof FILE_NAMES;

export interface Artefact extends FileVersion {
  imageId: string;
  part: ImagePart;
  name: string;
}

/** A file of an image that went out, or a part of it. */
export interface Transfer extends Sent {
  artefact: Artefact;
}

export interface VerifiedImage {
  manifest: BootImageManifest;
  artefacts: Record<Exclude<ImagePart, "uki">, Artefact> & { uki?: Artefact };
}

export interface Images {
  get(imageId: string): VerifiedImage | undefined;
  /** The file with this content and name. */
  artefact(sha256: string, name: string): Artefact | undefined;
  /** Why an image is not served; undefined when it is, or when a whole scan has not found it. */
  refusal(imageId: string): string | undefined;
  /** Looks at the directory again; what did not change is not hashed again. */
  scan(): Promise<void>;
}

export interface ImagesOptions {
  directory: string;
  /** PEM of the ed25519 public key; the first `flynn image build` makes it. */
  publicKeyFile: string;
  log: Log;
}

const MAX_MANIFEST_BYTES = 1 << 20;
const isManifest = new Ajv({ strict: false, validateSchema: false }).compile<BootImageManifest>(BootImageManifest);

export function openImages({ directory, publicKeyFile, log }: ImagesOptions): Images {
  const hashes = new Map<string, { version: string; sha256: string }>();
  let images = new Map<string, VerifiedImage>();
  let byContent = new Map<string, Artefact>();
  let refusals = new Map<string, string>();
  let keyState: "unknown" | "missing" | "read" = "unknown";
  let scanning: Promise<void> | undefined;
  let scanned = false;

  const serve = (next: Map<string, VerifiedImage>): void => {
    const artefacts = [...next.values()].flatMap((image) => Object.values(image.artefacts));
    byContent = new Map(artefacts.map((one) => [`${one.sha256}/${one.name}`, one]));
    images = next;
  };

  async function scan(): Promise<void> {
    const found = new Map<string, VerifiedImage>();
    const refused = new Map<string, string>();
    const pem = await readText(publicKeyFile);
    if (pem === undefined) {
      if (keyState !== "missing") log.warn({ publicKeyFile }, "no image key yet, no boot image is served");
      keyState = "missing";
      return;
    }
    keyState = "read";
    const publicKey = readPublicKey(pem);
    for (const name of await directoriesOf(directory)) {
      try {
        const image = await verifyImage(join(directory, name), name, publicKey, hashOf);
        found.set(name, image);
        if (images.has(name)) continue;
        log.info({ imageId: name }, "boot image verified");
        serve(new Map([...images, [name, image]])); // machines that wait for it do not wait for the rest
      } catch (error) {
        const reason = (error as Error).message;
        refused.set(name, reason);
        if (refusals.get(name) !== reason) log.error({ imageId: name, reason }, "boot image refused");
      }
    }
    serve(found);
    refusals = refused;
  }

  async function hashOf(path: string, version: string): Promise<string> {
    const known = hashes.get(path);
    if (known?.version === version) return known.sha256;
    const sha256 = await sha256Of(path);
    hashes.set(path, { version, sha256 });
    return sha256;
  }

  return {
    get: (imageId) => images.get(imageId),
    artefact: (sha256, name) => byContent.get(`${sha256}/${name}`),
    refusal: (imageId) => refusals.get(imageId) ?? (scanned ? undefined : "its files are still being verified"),
    scan() {
      scanning ??= scan().finally(() => {
        scanning = undefined;
        scanned = true;
      });
      return scanning;
    },
  };
}

async function verifyImage(
  path: string,
  imageId: string,
  publicKey: KeyObject,
  hashOf: (path: string, version: string) => Promise<string>,
): Promise<VerifiedImage> {
  const bytes = await readPart(join(path, "manifest.json"));
  const signature = (await readPart(join(path, "manifest.sig"))).toString("latin1").trim();
  if (bytes.length > MAX_MANIFEST_BYTES) throw new Fault("invalid", "manifest.json is too large");
  if (!verify(null, bytes, publicKey, Buffer.from(signature, "base64"))) {
    throw new Fault("invalid", "manifest.json is not signed by this appliance's image key");
  }
  const manifest: unknown = JSON.parse(bytes.toString("utf8"));
  if (!isManifest(manifest))
    throw new Fault(
      "invalid",
      `manifest.json: ${isManifest.errors?.[0]?.instancePath} ${isManifest.errors?.[0]?.message}`,
    );
  if (manifest.id !== imageId) throw new Fault("invalid", `manifest.json is of image ${manifest.id}`);
  const artefacts = {} as VerifiedImage["artefacts"];
  for (const part of Object.keys(FILE_NAMES) as ImagePart[]) {
    const named = manifest[part];
    if (named === undefined) continue;
    const { sha256, sizeBytes } = named;
    const name = FILE_NAMES[part];
    const file = join(path, name);
    const status = await stat(file).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
    if (!status?.isFile()) throw new Fault("invalid", `${name} is missing`);
    if (status.size !== sizeBytes)
      throw new Fault("invalid", `${name} has ${status.size} bytes, the manifest says ${sizeBytes}`);
    if ((await hashOf(file, `${status.mtimeMs}:${status.size}:${status.ino}`)) !== sha256) {
      throw new Fault("invalid", `${name} is not the file the manifest was signed for`);
    }
    artefacts[part] = { imageId, part, name, path: file, sha256, sizeBytes, mtimeMs: status.mtimeMs };
  }
  return { manifest, artefacts };
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafeSlow(1 << 20);
  await using file = await open(path, "r");
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length);
    if (bytesRead === 0) return hash.digest("hex");
    hash.update(buffer.subarray(0, bytesRead));
  }
}

async function readPart(path: string): Promise<Buffer> {
  return await readFile(path).catch((cause) => {
    throw new Fault("invalid", `${path} cannot be read`, { cause });
  });
}

/** The newest first: it is the one that machines most likely wait for. */
async function directoriesOf(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  const names = entries
    .filter((entry) => entry.isDirectory() && /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/.test(entry.name))
    .map(({ name }) => name);
  const changedMs = new Map(
    await Promise.all(
      names.map(async (name) => {
        const status = await stat(join(path, name)).catch(() => undefined);
        return [name, status?.mtimeMs ?? 0] as const;
      }),
    ),
  );
  return names.sort((a, b) => changedMs.get(b)! - changedMs.get(a)! || (a < b ? -1 : 1));
}

function readPublicKey(pem: string): KeyObject {
  const key = createPublicKey(pem);
  if (key.asymmetricKeyType !== "ed25519") throw new Fault("invalid", "the image key is not an ed25519 public key");
  return key;
}
