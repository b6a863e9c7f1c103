// Keeps the caches of builds within bounds: remembers when each was used, and removes what the rule lets go.
import { join } from "node:path";
import type { BuildSpec } from "#api/builds.ts";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import type { Log } from "#lib/log.ts";
import { type Cache, cacheKeyOf, isCacheVolume, removableCaches, volumeOf } from "./caches.ts";
import { BUILD_LABELS, type BuildEngine, type LabelledImage } from "./engine.ts";
import { isBaseName, isUnnamed } from "./image-reference.ts";

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
  /** A base image of Dockerfiles, by the name that Docker knows it by. */
  useBase(name: string): Promise<void>;
  prune(inUse: ReadonlySet<string>): Promise<void>;
}

interface Kept {
  /** When each key was last used. */
  used: Record<string, number>;
  /** Key of each app. */
  keys: Record<string, string>;
  /** When each base image was last used, by its name. */
  bases: Record<string, number>;
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
    return { used: { ...kept?.used }, keys: { ...kept?.keys }, bases: { ...kept?.bases } };
  };
  const save = (kept: Kept) => writeFileAtomic(path, JSON.stringify(kept), { mode: 0o600 });

  const prune = async (inUse: ReadonlySet<string>): Promise<void> => {
    const kept = await load();
    const now = nowMs();
    const volumes = (await engine.volumes(BUILD_LABELS.cache)).filter(isCacheVolume);
    const images = await engine.images();
    const byId = new Map(images.map((image) => [image.id, image]));
    const layers = leaves(images).flatMap((leaf) => {
      const key = isUnnamed(leaf.refs) ? cacheKeyOf(leaf, byId) : undefined;
      return key ? [{ ...leaf, key }] : [];
    });
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
    for (const { key, sizeBytes } of layers) add(key, appOf.get(key) ?? "", sizeBytes);
    const currentKeys = new Map(Object.entries(kept.keys));
    for (const { cache, why } of removableCaches([...caches.values()], {
      inUse,
      currentKeys,
      nowMs: now,
      maxBytes,
      unusedForMs,
    })) {
      try {
        for (const volume of volumes) if (volumeOf(volume).key === cache.key) await engine.removeVolume(volume.name);
        for (const { id, key } of layers) if (key === cache.key) await engine.removeImage(id, { keepParents: false });
      } catch (error) {
        // The others are no worse for it; it is tried again after the next build.
        log.warn({ err: error, cache: cache.key }, "build cache not removed");
        continue;
      }
      log.info({ cache: cache.key, why, sizeBytes: cache.sizeBytes }, "build cache removed");
      caches.delete(cache.key);
    }
    await pruneBases(kept, images, now);
    for (const key of Object.keys(kept.used)) if (!caches.has(key) && !inUse.has(key)) delete kept.used[key];
    for (const [appId, key] of Object.entries(kept.keys)) if (!(key in kept.used)) delete kept.keys[appId];
    await save(kept);
  };

  const pruneBases = async (kept: Kept, images: readonly LabelledImage[], now: number): Promise<void> => {
    const bases: Cache[] = [];
    for (const { refs, sizeBytes } of images)
      for (const key of refs.filter(isBaseName)) {
        const usedAtMs = kept.bases[nameOf(key)] ?? now;
        kept.bases[nameOf(key)] = usedAtMs;
        bases.push({ key, appId: "", sizeBytes, usedAtMs });
      }
    const inUse = new Set(bases.filter(({ usedAtMs }) => now - usedAtMs < DAY_MS).map(({ key }) => key));
    const policy = { inUse, currentKeys: new Map<string, string>(), nowMs: now, maxBytes, unusedForMs };
    for (const { cache, why } of removableCaches(bases, policy))
      await engine.removeImage(cache.key, { keepParents: false }).then(
        () => log.info({ image: cache.key, why }, "base image removed"),
        (error: unknown) => log.warn({ err: error, image: cache.key }, "base image not removed"),
      );
    const names = new Set(bases.map(({ key }) => nameOf(key)));
    for (const name of Object.keys(kept.bases)) if (!names.has(name)) delete kept.bases[name];
  };

  return {
    useBase: (name) =>
      inTurn(async () => {
        const kept = await load();
        kept.bases[name] = nowMs();
        await save(kept);
      }),
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

const nameOf = (ref: string): string => ref.replace(/:[^:/]*$/, "");

/** Images that none of the others was made from: with one go the images it alone was made from. */
export function leaves(images: readonly LabelledImage[]): LabelledImage[] {
  const parents = new Set(images.map(({ parentId }) => parentId));
  return images.filter(({ id }) => !parents.has(id));
}
