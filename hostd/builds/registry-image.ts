// An image out of a registry (OCI distribution 1.1, Docker's manifests of schema 2) as the archive that `docker load` takes. Every piece
// is held to the digest and size its manifest gives; how much it unpacks to is counted before Docker sees the end of it.
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { Fault } from "#api/fault.ts";
import { formatSize } from "#lib/units.ts";
import { packEntries } from "./archive.ts";
import { DEFAULT_DOMAIN, formatReference, type ImageReference } from "./image-reference.ts";
import { LAYER_LIMITS, layerCount } from "./layer-count.ts";
import { type Pace, paced } from "./pace.ts";
import { boundedText, type RegistryHttp } from "./registry-http.ts";

const HUB = "registry-1.docker.io";
const MANIFEST_MOST_BYTES = 4 << 20;
const CONFIG_MOST_BYTES = 1 << 20;
/** Docker unpacks no image of more. */
const LAYERS_MOST = 127;
const MANIFESTS = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
];
const LAYER = /^application\/vnd\.(oci\.image\.layer\.v1\.tar|docker\.image\.rootfs\.diff\.tar)(\+gzip|\.gzip)?$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

export interface FetchOptions {
  http: RegistryHttp;
  reference: ImageReference;
  /** The name that Docker knows it by afterwards. */
  as: string;
  /** amd64, arm64. */
  architecture: string;
  /** Most it may unpack to. */
  mostBytes: number;
  pace?: Pace;
  signal: AbortSignal;
}

/** The image's archive; what is wrong with the image is the stream's error. */
export async function registryImage(options: FetchOptions): Promise<Readable> {
  const { reference, as, mostBytes, pace } = options;
  const registry = await enter(options);
  const { config, layers } = await manifestOf(options, registry);
  const total = layers.reduce((sum, { size }) => sum + size, 0);
  if (total > mostBytes) throw tooLarge(reference, mostBytes);
  const count = layerCount({ ...LAYER_LIMITS, bytes: mostBytes });
  const fileOf = ({ digest }: Descriptor, ending: string) => `${digest.slice("sha256:".length)}${ending}`;
  return packEntries(async (add) => {
    const bodyOf = async (of: Descriptor) => checked(paced(await registry.blob(of), pace), of);
    const configText = await boundedText(await bodyOf(config), CONFIG_MOST_BYTES, "its config");
    await add({ name: fileOf(config, ".json"), mode: 0o644 }, configText);
    // Docker unpacks a layer as often as the image names it.
    for (const [digest, named] of Map.groupBy(layers, (layer) => layer.digest)) {
      const [layer] = named as [Descriptor];
      if (named.some(({ size }) => size !== layer.size)) throw unsound(`it gives ${digest} two sizes`);
      const passed = count.passed(await bodyOf(layer), named.length);
      await add({ name: fileOf(layer, ".tar"), mode: 0o644, size: layer.size }, passed);
    }
    const listed = {
      Config: fileOf(config, ".json"),
      RepoTags: [as],
      Layers: layers.map((layer) => fileOf(layer, ".tar")),
    };
    await add({ name: "manifest.json", mode: 0o644 }, JSON.stringify([listed]));
  });
}

/** What identifies the image that the reference names now: the digest of its config, which Docker calls its ID. */
export async function registryImageId(options: Omit<FetchOptions, "as" | "mostBytes">): Promise<string> {
  return (await manifestOf(options, await enter(options))).config.digest;
}

const tooLarge = (reference: ImageReference, mostBytes: number): Fault =>
  new Fault("invalid", `image ${formatReference(reference)} is larger than ${formatSize(mostBytes)}`);

interface Registry {
  manifest(name: string): Promise<IncomingMessage>;
  blob(of: Descriptor): Promise<IncomingMessage>;
}

/** The repository, with the token it asks for, if any. */
async function enter({ http, reference, pace, signal }: Omit<FetchOptions, "as" | "mostBytes">): Promise<Registry> {
  const { domain, path } = reference;
  const base = `https://${domain === DEFAULT_DOMAIN ? HUB : domain}/v2/${path}`;
  let authorization: string | undefined;
  const get = async (url: URL, accept: string): Promise<IncomingMessage> => {
    const headers = () => ({ accept, ...(authorization === undefined ? {} : { authorization }) });
    const reply = await http.get(url, { headers: headers(), signal });
    if (reply.statusCode !== 401 || authorization !== undefined) return ok(reply, reference);
    reply.destroy();
    authorization = `Bearer ${await tokenOf(reply.headers["www-authenticate"] ?? "", { http, path, pace, signal })}`;
    return ok(await http.get(url, { headers: headers(), signal }), reference);
  };
  return {
    manifest: (name) => get(new URL(`${base}/manifests/${name}`), MANIFESTS.join(", ")),
    blob: ({ digest }) => get(new URL(`${base}/blobs/${digest}`), "*/*"),
  };
}

function ok(reply: IncomingMessage, reference: ImageReference): IncomingMessage {
  if (reply.statusCode === 200) return reply;
  reply.destroy();
  const name = formatReference(reference);
  if (reply.statusCode === 404) throw new Fault("not-found", `${name} is not there`);
  if (reply.statusCode === 401 || reply.statusCode === 403)
    throw new Fault("forbidden", `${name} is not there, or not for everybody`);
  throw new Fault("unavailable", `the registry answered ${reply.statusCode} for ${name}`);
}

/** RFC 6750 as registries use it: realm, service and scope, and a token for nobody in particular. */
async function tokenOf(
  challenge: string,
  { http, path, pace, signal }: Pick<FetchOptions, "http" | "pace" | "signal"> & { path: string },
): Promise<string> {
  const fields = new Map([...challenge.matchAll(/([a-z]+)="([^"]*)"/g)].map(([, name, value]) => [name!, value!]));
  const realm = fields.get("realm");
  if (!/^bearer /i.test(challenge) || realm === undefined || !URL.canParse(realm))
    throw new Fault("forbidden", "the registry wants credentials");
  const url = new URL(realm);
  const service = fields.get("service");
  if (service !== undefined) url.searchParams.set("service", service);
  url.searchParams.set("scope", fields.get("scope") ?? `repository:${path}:pull`);
  const reply = await http.get(url, { signal });
  const found = parse(await boundedText(paced(reply, pace), MANIFEST_MOST_BYTES, "the token"));
  const token = found["token"] ?? found["access_token"];
  if (reply.statusCode !== 200 || typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token))
    throw new Fault("forbidden", "the registry gives no token for this image");
  return token;
}

/** The manifest for this architecture, through a list of them if there is one. */
async function manifestOf(
  { reference, architecture, pace }: Omit<FetchOptions, "as" | "mostBytes">,
  registry: Registry,
): Promise<{ config: Descriptor; layers: Descriptor[] }> {
  const read = async (name: string): Promise<Record<string, unknown>> => {
    const body = await boundedText(paced(await registry.manifest(name), pace), MANIFEST_MOST_BYTES, "its manifest");
    if (DIGEST.test(name) && digestOf(body) !== name) throw unsound("its manifest is not what its digest says");
    return parse(body);
  };
  const first = await read(reference.digest ?? reference.tag ?? "latest");
  const found = Array.isArray(first["manifests"]) ? await read(variantOf(first["manifests"], architecture)) : first;
  const { config, layers } = found;
  if (!isDescriptor(config) || !Array.isArray(layers) || !layers.every(isDescriptor))
    throw unsound("its manifest is none");
  if (layers.length > LAYERS_MOST)
    throw unsound(`it has ${layers.length} layers, and ${LAYERS_MOST} is the most that Docker takes`);
  const odd = layers.find(({ mediaType }) => !LAYER.test(mediaType));
  if (odd)
    throw unsound(
      `a layer is of kind ${odd.mediaType.slice(0, 100)}, which is not taken: only tar and gzipped tar are`,
    );
  return { config, layers };
}

function variantOf(manifests: readonly unknown[], architecture: string): string {
  for (const one of manifests) {
    const { platform } = (one ?? {}) as { platform?: { os?: unknown; architecture?: unknown } };
    if (isDescriptor(one) && platform?.os === "linux" && platform.architecture === architecture) return one.digest;
  }
  throw new Fault("invalid", `the image has no variant for ${architecture}`);
}

const unsound = (why: string): Fault => new Fault("invalid", `the registry's image is not sound: ${why}`);
const digestOf = (body: Buffer): string => `sha256:${createHash("sha256").update(body).digest("hex")}`;

function isDescriptor(value: unknown): value is Descriptor {
  const { mediaType, digest, size } = (value ?? {}) as Partial<Descriptor>;
  return (
    typeof mediaType === "string" &&
    typeof digest === "string" &&
    DIGEST.test(digest) &&
    Number.isSafeInteger(size) &&
    size! >= 0
  );
}

function parse(body: Buffer): Record<string, unknown> {
  try {
    const found: unknown = JSON.parse(body.toString("utf8"));
    if (typeof found === "object" && found !== null) return found as Record<string, unknown>;
  } catch {
    // said below
  }
  throw unsound("what it sent is no JSON");
}

/** The body, held to its size and, at its end, to its digest. */
async function* checked(body: AsyncIterable<Buffer>, { digest, size }: Descriptor): AsyncGenerator<Buffer> {
  const hash = createHash("sha256");
  let read = 0;
  for await (const chunk of body) {
    read += chunk.length;
    if (read > size) throw unsound("a part of it is longer than its manifest says");
    hash.update(chunk);
    yield chunk;
  }
  if (read !== size || `sha256:${hash.digest("hex")}` !== digest)
    throw unsound("a part of it is not what its digest says");
}
