// Which build caches may go. An app has one cache on a host, named by its key: a cleared one has another key.
import type { BuildSpec } from "#api/builds.ts";
import { BUILD_LABELS, type CacheVolume, type LabelledImage } from "./engine.ts";

/** Docker takes [a-zA-Z0-9][a-zA-Z0-9_.-]; the key comes from control, and is checked with the build. */
export const cacheVolume = (cacheKey: string): string => `flynn-cache-${cacheKey}`;

export const cacheLabels = ({ app, appId, cacheKey }: Pick<BuildSpec, "app" | "appId" | "cacheKey">) => ({
  [BUILD_LABELS.cache]: cacheKey,
  [BUILD_LABELS.app]: app,
  [BUILD_LABELS.appId]: appId,
});

export interface Cache {
  key: string;
  appId: string;
  sizeBytes: number;
  /** When a build last used it. */
  usedAtMs: number;
}

export interface CachePolicy {
  /** Keys of builds that run or wait: never removed. */
  inUse: ReadonlySet<string>;
  /** Newest key seen of each app. */
  currentKeys: ReadonlyMap<string, string>;
  nowMs: number;
  maxBytes: number;
  unusedForMs: number;
}

/** The caches to remove: cleared ones, ones long unused (their app may be gone), and the oldest beyond the cap. */
export function removableCaches(caches: readonly Cache[], policy: CachePolicy): { cache: Cache; why: string }[] {
  const { inUse, currentKeys, nowMs, maxBytes, unusedForMs } = policy;
  const removed: { cache: Cache; why: string }[] = [];
  const kept: Cache[] = [];
  for (const cache of caches) {
    const current = currentKeys.get(cache.appId);
    if (inUse.has(cache.key)) kept.push(cache);
    else if (current !== undefined && current !== cache.key) removed.push({ cache, why: "cleared" });
    else if (nowMs - cache.usedAtMs > unusedForMs) removed.push({ cache, why: "unused" });
    else kept.push(cache);
  }
  let total = kept.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  for (const cache of kept.sort((a, b) => a.usedAtMs - b.usedAtMs)) {
    if (total <= maxBytes) break;
    if (inUse.has(cache.key)) continue;
    removed.push({ cache, why: "beyond the cap" });
    total -= cache.sizeBytes;
  }
  return removed;
}

/** By name and label: a label alone says nothing. */
export const isCacheVolume = ({ name, labels }: CacheVolume): boolean =>
  name === cacheVolume(labels[BUILD_LABELS.cache] ?? "");

/**
 * The cache key that an image in between belongs to: the label of the first step after its base image, which the platform wrote. Steps
 * after it are people's, and may label their images with another's key.
 */
export function cacheKeyOf(image: LabelledImage, byId: ReadonlyMap<string, LabelledImage>): string | undefined {
  let key = image.labels[BUILD_LABELS.cache];
  let parent = byId.get(image.parentId);
  for (let depth = 0; parent !== undefined && !isPulled(parent) && depth < 1_000; depth++) {
    key = parent.labels[BUILD_LABELS.cache] ?? key;
    parent = byId.get(parent.parentId);
  }
  return key;
}

/** A base image: it was made from nothing here, and is known by a name. */
const isPulled = ({ parentId, refs }: LabelledImage): boolean => parentId === "" && refs.length > 0;

export const volumeOf = (volume: CacheVolume): { key: string; appId: string } => ({
  key: volume.labels[BUILD_LABELS.cache] ?? "",
  appId: volume.labels[BUILD_LABELS.appId] ?? "",
});
