// The routing generation: the seq at which what routers serve last changed. Computed when asked for, so a burst costs once.
import type { RouterTarget } from "#api/routes.ts";
import type { Store } from "../store/store.ts";
import { changesRouting, type OpenKey, routerTargetOf } from "./router.ts";

export interface Routing {
  /** The target as of now. Its generation grows only when its content changed. */
  current(): RouterTarget;
  /** Called when the content may have changed. Returns the way to stop. */
  onChange(listener: () => void): () => void;
}

export function routing(store: Store, openKey?: OpenKey): Routing {
  let dirty = true;
  let content = "";
  let target = routerTargetOf(store, store.durableSeq, openKey);
  const listeners = new Set<() => void>();
  store.onDurable((record) => {
    if (!record.mutations.some(({ key }) => changesRouting(key))) return;
    dirty = true;
    for (const listener of listeners) listener();
  });
  return {
    current() {
      if (!dirty) return target;
      dirty = false;
      const next = routerTargetOf(store, target.generation, openKey);
      const nextContent = JSON.stringify(next);
      if (nextContent !== content) {
        target = { ...next, generation: Math.max(store.seq, target.generation + (content === "" ? 0 : 1)) };
        content = JSON.stringify({ ...next, generation: target.generation });
      }
      return target;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
