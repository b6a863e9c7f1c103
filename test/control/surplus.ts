// All that retention may delete as of now, in one list.

import type { Change, Store } from "../../control/store/store.ts";
import { type OnError, surplusPortions } from "../../control/surplus.ts";

export const surplus = (store: Store, nowMs: number, onError?: OnError): Change[] =>
  [...surplusPortions(store, nowMs, onError, Number.POSITIVE_INFINITY)].flat();
