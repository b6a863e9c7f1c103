// Which shape of offer a machine is to be shown: the first until it has ignored it twice, then the next; the rung a machine
// last made progress on is kept for its next boot.
import type { Rung } from "./exchange.ts";

export interface Ladder {
  /** Counts one DISCOVER and says which rung answers it. */
  discovered(mac: string): Rung;
  /** The machine did something that only a taken offer explains. */
  progressed(mac: string): void;
}

const TRIES_PER_RUNG = [2, 1, 1] as const; // EDK2 sends four DISCOVERs per attempt: each rung is seen once

export function createLadder({ maxKeys }: { maxKeys: number }): Ladder {
  const climbs = new Map<string, { rung: Rung; tries: number }>();
  return {
    discovered(mac) {
      const climb = climbs.get(mac) ?? { rung: 0, tries: 0 };
      climbs.delete(mac);
      climbs.set(mac, climb);
      if (climbs.size > maxKeys) climbs.delete(climbs.keys().next().value!);
      if (climb.tries >= TRIES_PER_RUNG[climb.rung]) {
        climb.rung = ((climb.rung + 1) % 3) as Rung;
        climb.tries = 0;
      }
      climb.tries++;
      return climb.rung;
    },
    progressed(mac) {
      const climb = climbs.get(mac);
      if (climb) climb.tries = 0;
    },
  };
}
