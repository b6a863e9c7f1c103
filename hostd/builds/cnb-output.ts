// What the lifecycle's exporter leaves: the image as an OCI layout, sent to control as the archive it takes, and the image's own
// word on its buildpacks and process types. The builder image is the app's, so all of it is read as a stranger's.
import { createHash } from "node:crypto";
import { posix } from "node:path";
import type { Readable } from "node:stream";
import { json } from "node:stream/consumers";
import { extract, type Header } from "tar-stream";
import { packEntries, singleFile } from "./archive.ts";
import { OCI_CONFIG, OCI_LAYER, OCI_LAYOUT, OCI_MANIFEST } from "./cnb-input.ts";
import { BuildFailure } from "./failure.ts";

const BLOB = /^blobs\/sha256\/[0-9a-f]{64}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const TEXT_MAX_BYTES = 4 << 20;

type Entry = AsyncIterable<Buffer> & { header: Header };

const unsound = (why: string) => new BuildFailure(`the builder's lifecycle left no sound image: ${why}`);

/** A layout's folder, as Docker archives it, as an archive that begins with `oci-layout`: by that it is known for what it is. */
export function layoutArchive(folder: Readable, manifest: string): Readable {
  const digest = createHash("sha256").update(manifest).digest("hex");
  const described = { mediaType: OCI_MANIFEST, digest: `sha256:${digest}`, size: Buffer.byteLength(manifest) };
  const own = `blobs/sha256/${digest}`;
  return packEntries(async (add) => {
    const text = (name: string, content: string) => add({ name, mode: 0o644 }, content);
    await text("oci-layout", OCI_LAYOUT);
    await text("index.json", JSON.stringify({ schemaVersion: 2, manifests: [described] }));
    await text(own, manifest);
    const reader = extract();
    folder.on("error", (error) => reader.destroy(error));
    folder.pipe(reader as unknown as NodeJS.WritableStream);
    try {
      for await (const entry of reader as unknown as AsyncIterable<Entry>) {
        const { type, size } = entry.header;
        const name = posix.normalize(entry.header.name).split("/").slice(1).join("/");
        if (type === "directory" || [own, "oci-layout", "index.json"].includes(name)) {
          for await (const _ of entry);
        } else if (type !== "file" || !BLOB.test(name)) {
          throw unsound(`${name.slice(0, 200)} has no place in it`);
        } else await add({ name, mode: 0o644, size }, entry);
      }
    } finally {
      folder.destroy();
      reader.destroy();
    }
  });
}

export interface BuildMetadata {
  buildpacks: string[];
  processes: Record<string, string>;
  /** Process types that cannot be an app's, by their names as far as they can be shown. */
  leftOut: string[];
}

/**
 * A manifest in OCI's words alone. The lifecycle calls the layers it adds by Docker's names in an OCI manifest, which is neither, and
 * which tools refuse to convert.
 */
export function ociManifest(found: unknown): string {
  const { config, layers } = isRecord(found) ? found : {};
  if (!isRecord(config) || !Array.isArray(layers)) throw unsound("its manifest names no layers");
  const descriptor = (one: unknown, mediaType: string | undefined) => {
    const { digest, size } = isRecord(one) ? one : {};
    if (typeof digest !== "string" || !DIGEST.test(digest) || !Number.isSafeInteger(size) || mediaType === undefined)
      throw unsound("its manifest names what is no layer");
    return { mediaType, digest, size };
  };
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: descriptor(config, OCI_CONFIG),
    layers: layers.map((layer: unknown) => descriptor(layer, LAYER_TYPES[String((layer as Descriptor)?.mediaType)])),
  });
}

interface Descriptor {
  mediaType?: unknown;
}

const LAYER_TYPES: Readonly<Record<string, string>> = {
  [OCI_LAYER]: OCI_LAYER,
  [`${OCI_LAYER}+gzip`]: `${OCI_LAYER}+gzip`,
  [`${OCI_LAYER}+zstd`]: `${OCI_LAYER}+zstd`,
  "application/vnd.docker.image.rootfs.diff.tar": OCI_LAYER,
  "application/vnd.docker.image.rootfs.diff.tar.gzip": `${OCI_LAYER}+gzip`,
};

/** What an image says of itself, and its manifest to be sent. `read` answers a file of the layout as an archive of one. */
export async function readImage(
  read: (path: string) => Promise<Readable>,
): Promise<BuildMetadata & { manifest: string }> {
  const file = async (path: string): Promise<unknown> => {
    const { body } = await singleFile(await read(path), { what: path, maxBytes: TEXT_MAX_BYTES });
    return json(body).catch((cause: unknown) => {
      throw new BuildFailure("the builder's lifecycle left no sound image", { cause });
    });
  };
  const blob = (of: { digest?: unknown } | undefined, what: string) => {
    if (typeof of?.digest !== "string" || !DIGEST.test(of.digest)) throw unsound(`it has no ${what}`);
    return file(`blobs/${of.digest.replace(":", "/")}`);
  };
  const index = (await file("index.json")) as { manifests?: { digest?: unknown }[] } | null;
  const manifest = (await blob(index?.manifests?.[0], "manifest")) as { config?: { digest?: unknown } } | null;
  const config = (await blob(manifest?.config, "config")) as { config?: { Labels?: Record<string, unknown> } } | null;
  const about = buildMetadata(config?.config?.Labels?.["io.buildpacks.build.metadata"]);
  return { ...about, manifest: ociManifest(manifest) };
}

const PROCESS_NAME = /^(?!constructor$)[a-z][a-z0-9_-]{0,29}$/;
const MOST_PROCESSES = 50;
const LINE_MOST = 4_096;

/** The label of that name, read; what is not as it should be is left out. */
export function buildMetadata(label: unknown): BuildMetadata {
  const about = parse(label);
  const buildpacks = list(about["buildpacks"])
    .map(({ id, version }) =>
      typeof id === "string" ? `${id}${typeof version === "string" ? `@${version}` : ""}` : "",
    )
    .filter((name) => /^[\x21-\x7e]{1,200}$/.test(name));
  const found = list(about["processes"]).map(({ type, command, args }) => ({
    type: isText(type) ? type : "",
    line: [command, args].flat().filter(isText).join(" "),
  }));
  const isProper = ({ type, line }: (typeof found)[number], at: number) =>
    PROCESS_NAME.test(type) && line.length <= LINE_MOST && at < MOST_PROCESSES;
  return {
    buildpacks,
    processes: Object.fromEntries(found.filter(isProper).map(({ type, line }) => [type, line])),
    leftOut: found
      .filter((one, at) => !isProper(one, at))
      .slice(0, MOST_PROCESSES)
      .map(({ type }) => type.replace(/[^\x21-\x7e]/g, "?").slice(0, 60)),
  };
}

const isText = (value: unknown): value is string => typeof value === "string";

function parse(label: unknown): Record<string, unknown> {
  if (!isText(label)) return {};
  try {
    const found: unknown = JSON.parse(label);
    return isRecord(found) ? found : {};
  } catch {
    return {};
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
const list = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value.filter(isRecord) : []);
