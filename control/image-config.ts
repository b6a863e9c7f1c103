// What the config of an image may be that hosts run: each container made of it carries its labels and its environment, and hosts read
// those of all containers at once. Shape: OCI image-spec, config.md.
import { Fault } from "#api/fault.ts";
import { formatSize } from "#lib/units.ts";

/** Images of Cloud Native Buildpacks describe their build in labels of some tens of KiB. */
export const LABELS_MOST_BYTES = 256 * 1024;
export const ENV_MOST_BYTES = 128 * 1024; // that of one string of execve(2) on Linux
const CONFIG_MOST_BYTES = 4 * 1024 * 1024; // what registries and readers of manifests take

interface ImageConfig {
  architecture?: string;
  os?: string;
  config?: { Labels?: Record<string, unknown> | null; Env?: unknown[] | null } | null;
}

/** Of hosts that there can be. */
export const ARCHITECTURES: readonly string[] = ["amd64", "arm64"];

/** The architecture of the image. Fault `invalid`, with what to change, unless hosts of one of these can run an image of this config. */
export function checkImageConfig(text: string, architectures: readonly string[] = ARCHITECTURES): string {
  if (Buffer.byteLength(text) > CONFIG_MOST_BYTES) throw tooLarge("config", Buffer.byteLength(text), CONFIG_MOST_BYTES);
  const { architecture: made, os, config } = parsed(text);
  if (made === undefined || !architectures.includes(made) || os !== "linux")
    throw new Fault("invalid", `the image is for ${os}/${made}, hosts are linux/${architectures.join(" or linux/")}`);
  const labelsBytes = Buffer.byteLength(JSON.stringify(config?.Labels ?? {}));
  if (labelsBytes > LABELS_MOST_BYTES) throw tooLarge("labels", labelsBytes, LABELS_MOST_BYTES);
  const envBytes = Buffer.byteLength(JSON.stringify(config?.Env ?? []));
  if (envBytes > ENV_MOST_BYTES) throw tooLarge("environment", envBytes, ENV_MOST_BYTES);
  return made;
}

function parsed(text: string): ImageConfig {
  try {
    const found = JSON.parse(text) as unknown;
    if (typeof found === "object" && found !== null && !Array.isArray(found)) return found;
  } catch {
    // said below
  }
  throw new Fault("invalid", "the image's config is not a JSON object");
}

const tooLarge = (what: string, bytes: number, most: number): Fault =>
  new Fault(
    "invalid",
    `the image's ${what} ${what === "labels" ? "are" : "is"} ${formatSize(bytes)}, and may be ${formatSize(most)}: put what is large into a file of the image`,
  );
