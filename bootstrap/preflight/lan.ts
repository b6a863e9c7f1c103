// The watch of this boot server's own LAN, by real packets, and what wakes whoever tells control of it.
import type { Log } from "#lib/log.ts";
import { createWake, type Wake } from "#lib/wake.ts";
import type { BootConfig } from "../config.ts";
import { askLan } from "./probe.ts";
import { type LanWatch, watchLan } from "./watch.ts";

export type Lan = LanWatch & { changed: Wake };

export function ownLan({ interface: name, address }: Pick<BootConfig, "interface" | "address">, log: Log): Lan {
  const changed = createWake();
  const watch = watchLan({
    ask: (signal) => askLan({ interface: name, address, signal }),
    own: address,
    onChange: changed.ring,
    log,
  });
  return { ...watch, changed };
}
