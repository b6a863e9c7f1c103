// An image's archive of layers that are there already: its configuration, what names them, the layers by their digests.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, rename, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { exec } from "#lib/exec.ts";
import type { Layer } from "./layer.ts";

export interface ImageDescription {
  /** `name:tag`. */
  reference: string;
  architecture: string;
  createdAt: string;
  layers: readonly (Pick<Layer, "diffId"> & { createdBy: string })[];
  environment: Readonly<Record<string, string>>;
  user: string;
  workingDirectory: string;
  entrypoint?: readonly string[];
  command?: readonly string[];
  labels: Readonly<Record<string, string>>;
}

/** The image's configuration (OCI image configuration) as text. */
export function imageConfig(image: ImageDescription): string {
  const { architecture, createdAt, layers } = image;
  return JSON.stringify({
    architecture,
    os: "linux",
    created: createdAt,
    config: {
      User: image.user,
      Env: Object.entries(image.environment).map(([name, value]) => `${name}=${value}`),
      WorkingDir: image.workingDirectory,
      ...(image.entrypoint === undefined ? {} : { Entrypoint: image.entrypoint }),
      ...(image.command === undefined ? {} : { Cmd: image.command }),
      Labels: image.labels,
    },
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
    history: layers.map(({ createdBy }) => ({ created: createdAt, created_by: createdBy })),
  });
}

export interface ArchiveOptions {
  image: ImageDescription;
  layers: readonly Layer[];
  output: string;
  /** An empty folder on the file system of the layers. */
  workDirectory: string;
  epochSeconds: number;
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

/**
 * Writes the archive whole or not at all; returns the image's id (digest of its configuration). It is an OCI image layout and
 * what `docker save` writes at once: a registry takes the layers as they are packed, `docker load` takes it too.
 */
export async function writeArchive(options: ArchiveOptions): Promise<{ id: string }> {
  const { image, layers, output, workDirectory, epochSeconds, environment, signal } = options;
  const staged = join(workDirectory, "image");
  const blobs = join(staged, "blobs/sha256");
  await mkdir(blobs, { recursive: true });
  const put = async (mediaType: string, content: string): Promise<Descriptor> => {
    const sha256 = createHash("sha256").update(content).digest("hex");
    await writeFile(join(blobs, sha256), content);
    return { mediaType, digest: `sha256:${sha256}`, size: Buffer.byteLength(content) };
  };
  const packed: Descriptor[] = [];
  for (const layer of layers) {
    const hash = createHash("sha256");
    await pipeline(createReadStream(layer.path), hash, { signal });
    const sha256 = hash.digest("hex");
    // A link would change the file's times while another reads it.
    await symlink(layer.path, join(blobs, sha256));
    packed.push({ mediaType: `${OCI}.layer.v1.tar+gzip`, digest: `sha256:${sha256}`, size: layer.sizeBytes });
  }
  const config = await put(`${OCI}.config.v1+json`, imageConfig(image));
  const manifestType = `${OCI}.manifest.v1+json`;
  const manifest = await put(
    manifestType,
    JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config, layers: packed }),
  );
  const text: Record<string, object> = {
    "oci-layout": { imageLayoutVersion: "1.0.0" },
    "index.json": { schemaVersion: 2, manifests: [manifest] },
    "manifest.json": [
      { Config: pathOf(config), RepoTags: [image.reference], Layers: packed.map((layer) => pathOf(layer)) },
    ],
  };
  for (const [name, content] of Object.entries(text)) await writeFile(join(staged, name), JSON.stringify(content));
  const fresh = join(workDirectory, "archive.tar");
  const argv = [
    "tar",
    "--create",
    `--file=${fresh}`,
    "--format=gnu",
    "--dereference",
    "--numeric-owner",
    "--owner=0",
    "--group=0",
    "--mode=0644",
    `--mtime=@${epochSeconds}`,
    `--directory=${staged}`,
    // what a reader wants first comes first
    ...Object.keys(text),
    ...[config, manifest, ...packed].map((blob) => pathOf(blob)),
  ];
  await exec(argv, { env: environment, signal, timeoutMs: 600_000 });
  await rename(fresh, output);
  return { id: config.digest };
}

const OCI = "application/vnd.oci.image";

/** OCI image spec 1.1, content descriptor. */
interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

const pathOf = ({ digest }: Descriptor): string => digest.replace(/^sha256:/, "blobs/sha256/");
