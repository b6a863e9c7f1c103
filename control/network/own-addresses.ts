// Addresses of control's own machine, which no job reaches: read at start, and every minute after; a change becomes a record, so that
// every host's reach has a new version.
import type { Log } from "#lib/log.ts";
import { every } from "#lib/time.ts";
import { keys } from "../keys.ts";
import type { Store } from "../store/store.ts";
import { isSameList } from "./reach.ts";
import type { ControlAddresses } from "./reaches.ts";

const EVERY_MS = 60_000;

export async function keepOwnAddresses(options: {
  store: Store;
  /** What every host's reach has of them now. */
  known: readonly string[];
  read: () => string[];
  log: Log;
  everyMs?: number;
  signal: AbortSignal;
}): Promise<void> {
  const { store, read, log, everyMs = EVERY_MS, signal } = options;
  let { known } = options;
  for await (const _ of every(everyMs, signal)) {
    const addresses = read();
    if (isSameList(known, addresses)) continue;
    const value: ControlAddresses = { addresses };
    try {
      await store.commit({ actor: "control", mutations: [{ key: keys.controlAddresses, value }] });
      known = addresses;
    } catch (error) {
      log.warn({ err: error }, "addresses of this machine could not be written down, they are tried again");
    }
  }
}
