// Inventories on their way to control: the last of each card, in memory only. A machine that waits sends its own again when nobody here
// knows it (any more), so nothing is lost by a restart.
import type { Body } from "#api/endpoint.ts";
import { isFault } from "#api/fault.ts";
import type { reportMachineInventory } from "#api/inventory.ts";
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";

export type Inventory = Body<typeof reportMachineInventory>;

export interface Inventories {
  add(claim: string, inventory: Inventory): void;
  /** Fingerprint of the card's newest one here; undefined when it should be sent (again). */
  known(mac: string): string | undefined;
  deliver(post: (inventory: Inventory) => Promise<void>, signal: AbortSignal): Promise<void>;
}

const WAITING_MOST = 512;
const KNOWN_MOST = 4096;
/** After so long it is asked for again: parts and neighbours change, and control may have forgotten the machine. */
const FRESH_MS = 10 * 60_000;
/** Control knows the machine once its events have arrived, which come by another way. */
const TRIES_MOST = 20;

export function createInventories({
  log,
  nowMs = () => performance.now(),
}: {
  log: Log;
  nowMs?: () => number;
}): Inventories {
  const waiting = new Map<string, { inventory: Inventory; tries: number }>();
  const known = new Map<string, { claim: string; atMs: number }>();
  const wake = createWake();

  function bound(map: Map<string, unknown>, most: number): void {
    if (map.size > most) map.delete(map.keys().next().value!);
  }

  return {
    add(claim, inventory) {
      const { mac } = inventory;
      waiting.delete(mac);
      waiting.set(mac, { inventory, tries: 0 });
      known.delete(mac);
      known.set(mac, { claim, atMs: nowMs() });
      bound(waiting, WAITING_MOST);
      bound(known, KNOWN_MOST);
      wake.ring();
    },
    known(mac) {
      const last = known.get(mac);
      return last !== undefined && nowMs() - last.atMs < FRESH_MS ? last.claim : undefined;
    },
    async deliver(post, signal) {
      for (let failures = 0; !signal.aborted; ) {
        const next = waiting.entries().next().value;
        if (next === undefined) {
          await wake.wait(Number.POSITIVE_INFINITY, signal);
          continue;
        }
        const [mac, one] = next;
        const isCurrent = () => waiting.get(mac) === one;
        try {
          await post(one.inventory);
          if (isCurrent()) waiting.delete(mac);
          failures = 0;
        } catch (error) {
          one.tries++;
          const hopeless = isFault(error, "invalid") || isFault(error, "conflict") || isFault(error, "too-large");
          if (isCurrent() && (hopeless || one.tries >= TRIES_MOST)) {
            log.warn({ err: error, mac }, "inventory not taken by control, it is dropped");
            waiting.delete(mac);
            continue;
          }
          // The others first: one whose machine is not known yet holds up nobody.
          if (isCurrent()) {
            waiting.delete(mac);
            waiting.set(mac, one);
          }
          await sleep(backoffMs(++failures, 500, 10_000), signal);
        }
      }
    },
  };
}
