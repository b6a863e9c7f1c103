// What a machine is to be shown. The shape of an offer: the first until it has ignored it twice, then the next. The loader: the
// first there is for it, and when it fetched that and came back as firmware, so that it never ran, the next. What worked is kept
// (learnt.ts), for this machine and as the beginning for others of its kind.

import type { Learnt, Lesson } from "./learnt.ts";
import type { Loader, Rung } from "./loader.ts";

export interface Ladder {
  /** Counts one DISCOVER and says what answers it. `loaders`: those there are for it, in their order. */
  discovered(mac: string, kind?: string, loaders?: readonly Loader[]): Shown;
  /** What its last DISCOVER was answered with, or would be. */
  shown(mac: string): Shown;
  /** The machine did something that only a taken offer explains. */
  progressed(mac: string): void;
  /** iPXE looks for an address: it runs, whatever becomes of it. */
  started(mac: string): void;
  /** It has all of a loader's file. */
  fetched(mac: string, loader: Loader): void;
  /** A loader runs: it asked for its script. Answers what is new in that. */
  ran(mac: string, loader: Loader, product?: string): Lesson | undefined;
}

export interface Shown {
  rung: Rung;
  loader?: Loader | undefined;
  /** This one it fetched and never ran; `loader` is what it is offered instead. */
  refusedLoader?: Loader;
}

interface Climb {
  rung: Rung;
  tries: number;
  kind: string;
  loader: Loader | undefined;
  fetched: Loader | undefined;
  /** What it fetched was seen to run. */
  runs: boolean;
}

export interface LadderOptions {
  maxKeys: number;
  learnt?: Learnt | undefined;
}

const TRIES_PER_RUNG = [2, 1, 1] as const; // EDK2 sends four DISCOVERs per attempt: each rung is seen once

export function createLadder({ maxKeys, learnt }: LadderOptions): Ladder {
  const climbs = new Map<string, Climb>();

  function climbOf(mac: string, kind: string): Climb {
    const known = climbs.get(mac);
    const begin = known === undefined ? learnt?.begins(mac, kind) : undefined;
    const climb: Climb = known ?? {
      rung: begin?.rung ?? 0,
      loader: begin?.loader,
      tries: 0,
      kind,
      fetched: undefined,
      runs: false,
    };
    climbs.delete(mac);
    climbs.set(mac, climb);
    if (climbs.size > maxKeys) climbs.delete(climbs.keys().next().value!);
    return climb;
  }

  return {
    discovered(mac, kind = "", loaders = []) {
      const climb = climbOf(mac, kind);
      climb.kind = kind;
      if (climb.tries >= TRIES_PER_RUNG[climb.rung]) {
        climb.rung = ((climb.rung + 1) % 3) as Rung;
        climb.tries = 0;
      }
      climb.tries++;
      if (climb.loader === undefined || !loaders.includes(climb.loader)) climb.loader = loaders[0];
      const refused = climb.runs ? undefined : climb.fetched;
      climb.fetched = undefined;
      climb.runs = false;
      if (refused === undefined || refused !== climb.loader || loaders.length < 2)
        return { rung: climb.rung, loader: climb.loader };
      climb.loader = loaders[(loaders.indexOf(refused) + 1) % loaders.length];
      return { rung: climb.rung, loader: climb.loader, refusedLoader: refused };
    },
    shown(mac) {
      const climb = climbs.get(mac);
      return { rung: climb?.rung ?? 0, loader: climb?.loader };
    },
    progressed(mac) {
      const climb = climbs.get(mac);
      if (climb) climb.tries = 0;
    },
    started(mac) {
      const climb = climbs.get(mac);
      if (climb) climb.runs = true;
    },
    fetched(mac, loader) {
      const climb = climbs.get(mac);
      if (climb) climb.fetched = loader;
    },
    ran(mac, loader, product) {
      const climb = climbs.get(mac);
      if (climb === undefined || climb.fetched !== loader) return undefined; // it came by a road of its own: the card's ROM
      climb.runs = true;
      climb.tries = 0;
      return learnt?.keep({
        mac,
        kind: climb.kind,
        rung: climb.rung,
        loader,
        ...(product === undefined ? {} : { product }),
      });
    },
  };
}
