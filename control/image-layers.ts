// What an image weighs once unpacked: each layer as often as the image names it, since Docker unpacks it once for each place that it
// has. Names are those of `docker save` (manifest.json) and of OCI layouts; one that cannot be followed counts as the heaviest piece.
import { posix } from "node:path";
import { Fault } from "#api/fault.ts";

export interface Weight {
  bytes: number;
  entries: number;
}

export interface ImageLayers {
  /** A file of the archive, and what it unpacks to; a link may stand for any. */
  piece(name: string, weight: Weight | "link"): void;
  /** Text of a file that may be a manifest. Fault `invalid` when it names too many layers. */
  manifest(text: string): void;
  /** Of the heaviest image that is described. */
  weight(): Weight;
}

/** Docker unpacks no image of more. */
const LAYERS_MOST = 127;
const NAMES_MOST = 4_096;
const NAME_MOST_LENGTH = 512;

export function imageLayers(): ImageLayers {
  const weights = new Map<string, Weight | "link">();
  const images: string[][] = [];
  const heaviest: Weight = { bytes: 0, entries: 0 };
  let isWhole = true;
  const weightOf = (name: string): Weight => {
    const known = isWhole ? weights.get(name) : undefined;
    return known === undefined || known === "link" ? heaviest : known;
  };
  return {
    piece(given, weight) {
      const name = clean(given);
      const before = weights.get(name);
      if (weight !== "link") raise(heaviest, weight);
      if (before === "link" || name.length > NAME_MOST_LENGTH) return;
      if (before === undefined && weights.size >= NAMES_MOST) isWhole = false;
      else if (weight === "link") weights.set(name, weight);
      // Two of one name: readers differ in which they take.
      else weights.set(name, raise({ ...(before ?? { bytes: 0, entries: 0 }) }, weight));
    },
    manifest(text) {
      for (const layers of layerLists(text)) {
        if (layers.length > LAYERS_MOST)
          throw new Fault(
            "invalid",
            `the image has ${layers.length} layers, ${LAYERS_MOST} is the most that hosts take`,
          );
        if (images.length >= NAMES_MOST) throw new Fault("invalid", "the archive has too many images");
        images.push(layers);
      }
    },
    weight() {
      const most: Weight = { bytes: 0, entries: 0 };
      for (const layers of images) {
        const sum: Weight = { bytes: 0, entries: 0 };
        for (const { bytes, entries } of layers.map(weightOf)) {
          sum.bytes += bytes;
          sum.entries += entries;
        }
        raise(most, sum);
      }
      return most;
    },
  };
}

function raise(to: Weight, { bytes, entries }: Weight): Weight {
  to.bytes = Math.max(to.bytes, bytes);
  to.entries = Math.max(to.entries, entries);
  return to;
}

const clean = (name: string): string => posix.normalize(name).replace(/\/$/, "");

/** Go's JSON takes keys in any case, and the long s for an s. */
const fold = (key: string): string => key.replaceAll("\u017f", "s").toLowerCase();

function layerLists(text: string): string[][] {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return []; // no manifest to anybody
  }
  return (Array.isArray(found) ? found : [found]).flatMap((image: unknown) =>
    Object.entries(image ?? {}).flatMap(([key, value]) =>
      ["layers", "fslayers"].includes(fold(key)) && Array.isArray(value) ? [value.map(nameOf)] : [],
    ),
  );
}

function nameOf(layer: unknown): string {
  if (typeof layer === "string") return clean(layer);
  const digests = Object.entries(layer ?? {}).filter(([key]) => ["digest", "blobsum"].includes(fold(key)));
  const [, digest] = digests.length === 1 ? digests[0]! : [];
  return typeof digest === "string" ? clean(`blobs/${digest.replace(":", "/")}`) : "";
}
