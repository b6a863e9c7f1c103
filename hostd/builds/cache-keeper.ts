// Keeps the caches of builds within bounds: remembers when each was used, and removes what the rule lets go.
import { join } from "node:path";
import type { BuildSpec } from "#api/builds.ts";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import type { Log } from "#lib/log.ts";
import { type Cache, removableCaches, volumeOf } from "./caches.ts";
import { BUILD_LABELS, type BuildEngine, type LabelledImage } from "./engine.ts";

export interface CacheKeeperOptions {
  engine: Pick<BuildEngine, "volumes" | "removeVolume" | "images" | "removeImage">;
  stateDir: string;
  treeBytes: (path: string) => Promise<number>;
  log: Log;
  maxBytes?: number;
  unusedForMs?: number;
  nowMs?: () => number;
}

export interface CacheKeeper {
  /** A build is about to use its cache; another key of its app is a cleared one. */
  use(build: Pick<BuildSpec, "appId" | "cacheKey">): Promise<void>;
  prune(inUse: ReadonlySet<string>): Promise<void>;
}

interface Kept {
  /** When each key was last used. */
  used: Record<string, number>;
  /** Key of each app. */
  keys: Record<string, string>;
}

const FILE = "build-caches.json";
const DAY_MS = 86_400_000;

export function keepCaches(options: CacheKeeperOptions): CacheKeeper {
  const { engine, stateDir, treeBytes, log, maxBytes = 20 * 1024 ** 3, unusedForMs = 14 * DAY_MS } = options;
  const { nowMs = Date.now } = options;
  const path = join(stateDir, FILE);
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const next = turn.then(work);
    turn = next.catch(() => undefined);
    return next;
  };
  const load = async (): Promise<Kept> => {
    const kept = await readJson<Partial<Kept>>(path);
    return { used: { ...kept?.used }, keys: { ...kept?.keys } };
  };
  const save = (kept: Kept) => writeFileAtomic(path, JSON.stringify(kept), { mode: 0o600 });

  const prune = async (inUse: ReadonlySet<string>): Promise<void> => {
    const kept = await load();
    const now = nowMs();
    const volumes = await engine.volumes(BUILD_LABELS.cache);
    const images = await engine.images();
    const layers = leaves(images).filter(({ refs, labels }) => refs.length === 0 && labels[BUILD_LABELS.cache]);
    const caches = new Map<string, Cache>();
    const add = (key: string, appId: string, sizeBytes: number) => {
      const before = caches.get(key);
      const usedAtMs = kept.used[key] ?? now;
      kept.used[key] = usedAtMs;
      caches.set(key, {
        key,
        appId: appId || (before?.appId ?? ""),
        usedAtMs,
        sizeBytes: sizeBytes + (before?.sizeBytes ?? 0),
      });
    };
    for (const volume of volumes) {
      const { key, appId } = volumeOf(volume);
      add(key, appId, await treeBytes(volume.path));
    }
    const appOf = new Map(Object.entries(kept.keys).map(([appId, key]) => [key, appId]));
    for (const leaf of layers)
      add(leaf.labels[BUILD_LABELS.cache]!, appOf.get(leaf.labels[BUILD_LABELS.cache]!) ?? "", leaf.sizeBytes);
    const currentKeys = new Map(Object.entries(kept.keys));
    for (const { cache, why } of removableCaches([...caches.values()], {
      inUse,
      currentKeys,
      nowMs: now,
      maxBytes,
      unusedForMs,
    })) {
      log.info({ cache: cache.key, why, sizeBytes: cache.sizeBytes }, "build cache removed");
      for (const volume of volumes) if (volumeOf(volume).key === cache.key) await engine.removeVolume(volume.name);
      for (const leaf of layers)
        if (leaf.labels[BUILD_LABELS.cache] === cache.key) await engine.removeImage(leaf.id, { keepParents: false });
      caches.delete(cache.key);
    }
    for (const key of Object.keys(kept.used)) if (!caches.has(key) && !inUse.has(key)) delete kept.used[key];
    for (const [appId, key] of Object.entries(kept.keys)) if (!(key in kept.used)) delete kept.keys[appId];
    await save(kept);
  };

  return {
    use: ({ appId, cacheKey }) =>
      inTurn(async () => {
        const kept = await load();
        kept.used[cacheKey] = nowMs();
        kept.keys[appId] = cacheKey;
        await save(kept);
      }),
    prune: (inUse) => inTurn(() => prune(inUse)),
  };
}

/** Images that none of the others was made from: with one go the images it alone was made from. */
export function leaves(images: readonly LabelledImage[]): LabelledImage[] {
  const parents = new Set(images.map(({ parentId }) => parentId));
  return images.filter(({ id }) => !parents.has(id));
}
