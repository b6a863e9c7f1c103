// What a host's push asks of the registry, and the manifest that ends it (OCI distribution spec 1.1). Pure.
import { Fault } from "#api/fault.ts";
import { MANIFESTS } from "./registry-http.ts";

/** Docker unpacks no image of more. */
const LAYERS_MOST = 127;
const DIGEST = "sha256:[0-9a-f]{64}";
const PATH = /^\/v2\/(apps\/[a-z0-9][a-z0-9._-]*)\/(?:blobs\/uploads\/([A-Za-z0-9-]*)|manifests\/([A-Za-z0-9._-]+))$/;

/** What of the registry a host's push asks for. */
export type Write =
  | { type: "begin"; repository: string; mount?: { digest: string; from: string } }
  | { type: "upload"; repository: string; digest?: string }
  | { type: "manifest"; repository: string; tag: string };

/** Undefined for what is no step of a push. */
export function writeOf(method: string | undefined, url: string): Write | undefined {
  const [path = "", search = ""] = url.split(/\?(.*)/s);
  const [, repository, upload, tag] = (url.length > 4_096 ? undefined : PATH.exec(path)) ?? [];
  if (repository === undefined) return undefined;
  if (tag !== undefined)
    return method === "PUT" && search === "" && !tag.startsWith("sha256:")
      ? { type: "manifest", repository, tag }
      : undefined;
  const query = new URLSearchParams(search);
  if (upload === "") {
    if (method !== "POST") return undefined;
    const [digest = "", from = ""] = [query.get("mount") ?? "", query.get("from") ?? ""];
    const isMount = new RegExp(`^${DIGEST}$`).test(digest) && /^[a-z0-9][a-z0-9._/-]*$/.test(from);
    return { type: "begin", repository, ...(isMount ? { mount: { digest, from } } : {}) };
  }
  if (method !== "PATCH" && method !== "PUT" && method !== "DELETE") return undefined;
  const digest = query.get("digest");
  return { type: "upload", repository, ...(method === "PUT" && digest !== null ? { digest } : {}) };
}

/** Fault `invalid` for what is not taken. Of layers and config the digests. */
export function readManifest(body: Buffer, contentType = ""): { mediaType: string; config: string; layers: string[] } {
  const mediaType = contentType.split(";", 1).join("").trim();
  const no = (why: string) => new Fault("invalid", `the image's manifest ${why}`);
  if (!MANIFESTS.includes(mediaType)) throw no(`is of a kind that is not taken (${mediaType.slice(0, 100)})`);
  let found: { config?: { digest?: unknown }; layers?: { digest?: unknown }[] };
  try {
    found = JSON.parse(body.toString("utf8")) as typeof found;
  } catch (cause) {
    throw new Fault("invalid", "the image's manifest is no JSON", { cause });
  }
  const isDigest = (value: unknown): value is string =>
    typeof value === "string" && new RegExp(`^${DIGEST}$`).test(value);
  const config = found?.config?.digest;
  const layers = Array.isArray(found?.layers) ? found.layers.map((layer) => layer?.digest) : undefined;
  if (!isDigest(config) || layers === undefined || !layers.every(isDigest)) throw no("names what is no layer");
  if (layers.length > LAYERS_MOST)
    throw new Fault("invalid", `the image has ${layers.length} layers, ${LAYERS_MOST} is the most that hosts take`);
  return { mediaType, config, layers };
}
