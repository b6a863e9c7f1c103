// Who is this machine? The one place where the boot plane asks: of a script, by what the asker says and what was seen of it; of
// everything after, by the token of its boot. What follows is boot-choice.ts; who may do what with a token is tokens.ts.

import type { BootMachine, BootTarget } from "#api/boot.ts";
import type { Claimed, Observed } from "#api/machine-identity.ts";
import type { Loader } from "../dhcp/loader.ts";
import type { Images } from "../images.ts";
import { type BootChoice, chooseBoot } from "./boot-choice.ts";
import { identityOfQuery } from "./claim.ts";
import { type Guarded, guarded } from "./guard.ts";
import type { Machines } from "./machines.ts";
import type { Once } from "./once.ts";
import type { Sight, Source } from "./sight.ts";
import type { BootRecord, Tokens, Use } from "./tokens.ts";

export interface WhoOptions {
  machines: Pick<Machines, "find" | "target">;
  images: Pick<Images, "get" | "refusal">;
  tokens: Pick<Tokens, "check" | "use" | "bootAt" | "bootsOf">;
  sight: Pick<Sight, "sourceOf" | "observed">;
  once: Pick<Once, "of">;
  controlIsThere: () => boolean;
}

/** Somebody who asks for a script: what it says, what was seen of it, and what it is to boot. */
export interface Asker {
  claimed: Claimed;
  observed: Observed;
  source: Source;
  choice: BootChoice;
  /** Why it is given another boot than it is to have. */
  why?: string;
  /** The order by which it is given this once. */
  orderId?: string;
}

/** Somebody who shows a boot's token. */
export type Booting = { use: Use; source: Source };
/** The same, of a boot whose machine may go on. */
export type Fetching =
  | { ok: true; boot: BootRecord; source: Source; first: boolean; machine: BootMachine; target: BootTarget }
  | { ok: false; use: Extract<Use, { ok: false }>; source: Source };

export interface Who {
  /** Its card, or a relay for its network, is seen: else there is no answer at all. */
  isSeen(address: string): boolean;
  /** Undefined for one that names no card. */
  asks(query: URLSearchParams, address: string, loader: Loader): Asker | undefined;
  /** A sign of life with a token. */
  shows(token: string, address: string): Booting;
  /** A fetch of what only this boot may have. */
  fetches(token: string, path: string, address: string): Promise<Fetching>;
  /** What was seen of whoever uses this boot's token. */
  seenOf(boot: BootRecord, source: Source): { claimed: Claimed; observed: Observed; bootId: string; imageId: string };
  /** The boot that an address is in the middle of. */
  bootAt(address: string): BootRecord | undefined;
}

export function whoIs({ machines, images, tokens, sight, once, controlIsThere }: WhoOptions): Who {
  const { sourceOf } = sight;
  /** As a person ordered for once, else as it is to boot, else what its failed boots make of that. */
  const toBoot = (known: BootMachine | undefined, ordered: BootMachine["once"]): Partial<Guarded> => {
    if (known === undefined) return {};
    if (ordered !== undefined)
      return { machine: { ...known, target: ordered.target === "inventory" ? "boot" : ordered.target } };
    return guarded(known, tokens.bootsOf(known.id), controlIsThere());
  };
  return {
    isSeen(address) {
      const { card, relay } = sourceOf(address);
      return card !== undefined || relay !== undefined;
    },
    asks(query, address, loader) {
      const claimed = identityOfQuery(query, loader);
      if (claimed === undefined) return undefined;
      const source = sourceOf(address, claimed.mac);
      const observed = sight.observed(source, claimed.mac);
      const known = machines.find(claimed.mac);
      const order = known && once.of(known);
      // The command line of a signed image says what it boots: it cannot be told to look around instead.
      const ordered = order?.target === "inventory" && loader === "uki" ? undefined : order;
      const { machine, why } = toBoot(known, ordered);
      const chosen = chooseBoot({
        target: machines.target,
        machine,
        claimed,
        observed,
        imageOf: images.get,
        refusalOf: images.refusal,
      });
      const choice: BootChoice =
        ordered?.target === "inventory" && chosen.kind === "boot"
          ? { kind: "inventory", image: chosen.image, ordered: true }
          : chosen;
      const isGiven =
        choice.kind === "boot" ||
        choice.kind === "rescue" ||
        choice.kind === "local-disk" ||
        (choice.kind === "inventory" && choice.ordered);
      return {
        ...{ claimed, observed, source, choice },
        ...(why === undefined ? {} : { why }),
        ...(ordered && isGiven ? { orderId: ordered.id } : {}),
      };
    },
    shows(token, address) {
      const source = sourceOf(address);
      return { use: tokens.check(token, source), source };
    },
    async fetches(token, path, address) {
      const source = sourceOf(address);
      const use = await tokens.use(token, path, source);
      if (!use.ok) return { ok: false, use, source };
      const { boot, first } = use;
      const { target } = machines;
      const machine = machines.find(boot.mac);
      if (machine === undefined || machine.rejected || target === undefined || machine.id !== boot.machineId) {
        const reason = "the machine may not boot any more";
        return { ok: false, use: { ok: false, status: 410, reason, code: "token-machine-gone", boot }, source };
      }
      return { ok: true, boot, source, first, machine, target };
    },
    seenOf: (boot, source) => ({
      claimed: { mac: boot.mac },
      observed: sight.observed(source, boot.mac),
      bootId: boot.bootId,
      imageId: boot.imageId,
    }),
    bootAt: (address) => tokens.bootAt(sourceOf(address)),
  };
}
