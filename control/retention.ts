// Nothing grows for ever: what may be deleted (surplus.ts) is, with the images that go with it; and old events are.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { every, unhurriedNow } from "#lib/time.ts";
import { eventsToTrim } from "./events.ts";
import type { ImageSweeper } from "./image-sweep.ts";
import type { Store } from "./store/store.ts";
import { COMMIT_MOST, type OnError, surplusPortions } from "./surplus.ts";

export async function retentionLoop(
  store: Store,
  options: { log: Log; signal: AbortSignal; images: ImageSweeper; everyMs?: number },
): Promise<void> {
  const { log, signal, images, everyMs = 30_000 } = options;
  const onError: OnError = (error, what) =>
    log.error({ causes: causeChain(error), what }, "what is over could not be told from what is not, it stays for now");
  const attempt = async (what: string, work: () => Promise<unknown>) => {
    try {
      await work();
    } catch (error) {
      log.warn({ causes: causeChain(error), what }, "retention failed");
    }
  };
  const sweeping = async () => {
    for await (const _ of every(everyMs, signal)) {
      await attempt("records", async () => {
        for (const found of surplusPortions(store, unhurriedNow(), onError)) {
          const mutations = found.slice(0, COMMIT_MOST);
          if (mutations.length > 0) await store.commit({ actor: "retention", mutations });
          else await nextTurn();
          if (signal.aborted) return;
        }
      });
      await attempt("images", () => images.sweep(signal));
    }
  };
  // As fast as they come: a cluster in trouble writes thousands a second.
  const trimming = async () => {
    for await (const _ of every(Math.min(everyMs, TRIM_EVERY_MS), signal))
      await attempt("events", () => trimEvents(store, signal));
  };
  await Promise.all([sweeping(), trimming()]);
}

const TRIM_EVERY_MS = 1_000;

export async function trimEvents(store: Store, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const mutations = eventsToTrim(store, COMMIT_MOST);
    if (mutations.length > 0) await store.commit({ actor: "retention", mutations });
    if (mutations.length < COMMIT_MOST) return;
  }
}
