// Images whose artifact was collected leave the registry: first the manifest, and when some did, the layers nothing uses any more.
// Their names wait in the store, so that a stop in between forgets none.
import type { Artifact } from "#api/artifacts.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { unhurriedNow } from "#lib/time.ts";
import { type BuildPlan, unendedBuilds } from "./builds/record.ts";
import { keys, PREFIX } from "./keys.ts";
import type { Registry } from "./registry.ts";
import type { Entry } from "./store/entry.ts";
import type { Change, Store } from "./store/store.ts";

export interface DeadImage {
  repository: string;
  digest: string;
  diedAt: string;
}

/** An image pushed again meanwhile has the same digest: so long it is left alone, for whoever pushed to say so in the store. */
const REST_MS = 3_600_000;
const COLLECT_EVERY_MS = 3_600_000;
const AT_ONCE = 100;

/** To be written with the deletion of the artifacts. */
export function buriedImages(artifacts: readonly Artifact[], at: Date): Change[] {
  return artifacts.map(({ id, repository, digest }) => ({
    key: keys.deadImage(id),
    value: { repository, digest, diedAt: at.toISOString() } satisfies DeadImage,
  }));
}

/** Images that nothing in the store speaks of any more: to be removed, or only forgotten when something does again. */
export function restingImages(store: Store, nowMs: number): { remove: Entry<DeadImage>[]; forget: Entry<DeadImage>[] } {
  const due = store
    .list<DeadImage>(PREFIX.deadImages)
    .filter(({ value }) => Date.parse(value.diedAt) <= nowMs - REST_MS)
    .slice(0, AT_ONCE);
  if (due.length === 0) return { remove: [], forget: [] };
  const used = new Set<string>();
  const busy = new Set<string>();
  for (const { value } of store.list<Artifact>(PREFIX.artifacts)) used.add(`${value.repository} ${value.digest}`);
  for (const build of unendedBuilds(store)) {
    if (build.product?.type === "image") used.add(`apps/${build.appId} ${build.product.digest}`);
    // What it began on stays until it has ended, whatever the stack is by then; nobody buries it a second time.
    const on = store.get<BuildPlan>(keys.buildPlan(build.appId, build.id))?.value.stack;
    for (const image of Object.values(on ?? {})) busy.add(`${image.repository} ${image.digest}`);
  }
  const stack = store.get<Record<string, unknown>>(keys.stack)?.value ?? {};
  for (const one of Object.values(stack) as Partial<DeadImage>[])
    if (one?.repository !== undefined) used.add(`${one.repository} ${one.digest}`);
  for (const { value } of store.list<DeadImage>(keys.stackUpload(""))) used.add(`${value.repository} ${value.digest}`);
  const isIn = (images: ReadonlySet<string>, { value }: Entry<DeadImage>) =>
    images.has(`${value.repository} ${value.digest}`);
  return {
    remove: due.filter((entry) => !isIn(used, entry) && !isIn(busy, entry)),
    forget: due.filter((entry) => isIn(used, entry)),
  };
}

export interface ImageSweeper {
  /** One turn; what cannot be done now is tried at the next. */
  sweep(signal: AbortSignal): Promise<void>;
}

export function imageSweeper(options: {
  store: Store;
  images: Pick<Registry, "remove" | "collect">;
  log: Log;
  /** The time of day by which images rest. */
  now?: () => number;
}): ImageSweeper {
  const { store, images, log, now = unhurriedNow } = options;
  let removed = 0;
  let collectedMs = Number.NEGATIVE_INFINITY;
  return {
    async sweep(signal) {
      const { remove, forget } = restingImages(store, now());
      const done = [...forget];
      try {
        for (const entry of remove) {
          if (!(await images.remove(entry.value.repository, entry.value.digest, signal))) break; // busy: next time
          removed++;
          done.push(entry);
        }
        if (removed > 0 && performance.now() - collectedMs >= COLLECT_EVERY_MS) {
          const collected = await images.collect(signal);
          if (collected) {
            log.info({ removed }, "images no release uses left the registry");
            removed = 0;
            collectedMs = performance.now();
          }
        }
      } catch (error) {
        log.warn({ causes: causeChain(error) }, "cleaning the registry failed, trying again");
      }
      if (done.length > 0)
        await store.commit({ actor: "retention", mutations: done.map(({ key }) => ({ key, value: null })) });
    },
  };
}
