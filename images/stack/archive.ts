// A `docker save` archive of layers that are there already: manifest.json, the image's configuration, the layers by name.
import { createHash } from "node:crypto";
import { link, mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
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

/** Writes the archive whole or not at all; returns the image's id (digest of its configuration). */
export async function writeArchive(options: ArchiveOptions): Promise<{ id: string }> {
  const { image, layers, output, workDirectory, epochSeconds, environment, signal } = options;
  const staged = join(workDirectory, "image");
  await mkdir(staged, { recursive: true });
  const config = imageConfig(image);
  const id = createHash("sha256").update(config).digest("hex");
  const names = layers.map(({ diffId }) => `${diffId.slice("sha256:".length)}.tar.gz`);
  for (const [at, layer] of layers.entries()) await link(layer.path, join(staged, names[at]!));
  await writeFile(join(staged, `${id}.json`), config);
  const manifest = [{ Config: `${id}.json`, RepoTags: [image.reference], Layers: names }];
  await writeFile(join(staged, "manifest.json"), JSON.stringify(manifest));
  const fresh = join(workDirectory, "archive.tar");
  const argv = [
    "tar",
    "--create",
    `--file=${fresh}`,
    "--format=gnu",
    "--numeric-owner",
    "--owner=0",
    "--group=0",
    "--mode=0644",
    `--mtime=@${epochSeconds}`,
    `--directory=${staged}`,
    // what a reader wants first comes first
    "manifest.json",
    `${id}.json`,
    ...names,
  ];
  await exec(argv, { env: environment, signal, timeoutMs: 600_000 });
  await rename(fresh, output);
  return { id: `sha256:${id}` };
}
