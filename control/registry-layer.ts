// Lays one layer on an image of the registry: the base's layers are mounted, the layer and a new config are stored, and a
// manifest names them (OCI image spec 1.1, or Docker's schema 2 where the base has that). The same wish gives the same digest.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { Fault } from "#api/fault.ts";
import { MANIFESTS, type RegistryHttp } from "./registry-http.ts";

export interface LayerRequest {
  base: { repository: string; digest: string };
  layer: { file: string; digest: string; diffId: string; sizeBytes: number };
  repository: string;
  tag: string;
  /** Written into the image as its time of making. */
  createdAt: string;
}

export interface LaidImage {
  digest: string;
  sizeBytes: number;
  architecture: string;
}

interface Descriptor {
  mediaType: string;
  size: number;
  digest: string;
}
interface Manifest {
  schemaVersion: number;
  mediaType?: string;
  config: Descriptor;
  layers: Descriptor[];
}
interface ImageConfig {
  architecture: string;
  os: string;
  rootfs: { type: "layers"; diff_ids: string[] };
  history?: unknown[];
}

const LAYER_TYPES: Record<string, string> = {
  [MANIFESTS[0]!]: "application/vnd.oci.image.layer.v1.tar+gzip",
  [MANIFESTS[1]!]: "application/vnd.docker.image.rootfs.diff.tar.gzip",
};

export async function layOn(http: RegistryHttp, requested: LayerRequest, signal: AbortSignal): Promise<LaidImage> {
  const { base, layer, repository, tag } = requested;
  const found = await http.manifest(base.repository, base.digest, signal);
  const before = found.body as Manifest;
  const mediaType = before.mediaType ?? found.mediaType.split(";", 1).join("").trim();
  const layerType = LAYER_TYPES[mediaType];
  if (layerType === undefined || !Array.isArray(before.layers) || typeof before.config?.digest !== "string")
    throw new Fault(
      "invalid",
      `${base.repository} holds no single image to lay a layer on (${mediaType.slice(0, 100)})`,
    );
  const configBefore = JSON.parse(
    (await http.blob(base.repository, before.config.digest, signal)).toString("utf8"),
  ) as ImageConfig;

  const config = json(withLayer(configBefore, requested));
  const manifest: Manifest = {
    ...before,
    mediaType,
    config: { mediaType: before.config.mediaType, size: config.length, digest: digestOf(config) },
    layers: [...before.layers, { mediaType: layerType, size: layer.sizeBytes, digest: layer.digest }],
  };
  for (const { digest } of before.layers) await http.mountBlob(repository, digest, base.repository, signal);
  await http.putBlob(repository, { ...layer, content: () => createReadStream(layer.file) }, signal);
  await http.putBlob(
    repository,
    { digest: manifest.config.digest, sizeBytes: config.length, content: () => Readable.from([config]) },
    signal,
  );
  const digest = await http.putManifest(repository, tag, mediaType, json(manifest), signal);
  return { digest, sizeBytes: layer.sizeBytes, architecture: configBefore.architecture };
}

/** The base's config with one layer more. Its entrypoint, environment and user stay; nothing of the app's environment goes in. */
function withLayer(config: ImageConfig, { layer, createdAt }: LayerRequest): ImageConfig {
  const history = [...(config.history ?? []), { created: createdAt, created_by: "flynn build", comment: "app" }];
  return {
    ...config,
    ...{ created: createdAt },
    history,
    rootfs: { type: "layers", diff_ids: [...config.rootfs.diff_ids, layer.diffId] },
  };
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const digestOf = (bytes: Buffer): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
