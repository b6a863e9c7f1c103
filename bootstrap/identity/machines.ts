// The machines that control decided on, by card, and how many strangers may be let in beside them. What a stranger says is not
// kept: each event carries its own claim. A flood of made-up cards leaves room for those that were seen on the wire.
import type { BootMachine, BootTarget } from "#api/boot.ts";
import type { OfferMachine } from "../dhcp/exchange.ts";
import { rateLimit } from "../rate.ts";

export interface Machines {
  setTarget(target: BootTarget): void;
  readonly target: BootTarget | undefined;
  find(mac: string): BootMachine | undefined;
  /** False for one stranger too many. `seen`: its card was seen on the wire; those that only say so cannot crowd it out. */
  admit(mac: string, seen: boolean): boolean;
  /** What DHCP is to do with it. */
  offerMachine(mac: string): OfferMachine;
}

export interface MachinesOptions {
  maxStrangers?: number;
  strangersPerSecond?: number;
  nowMs?: () => number;
}

export function createMachines({
  maxStrangers = 4096,
  strangersPerSecond = 200,
  nowMs,
}: MachinesOptions = {}): Machines {
  const clock = nowMs ? { nowMs } : {};
  const newcomers = () =>
    strangers(
      maxStrangers,
      rateLimit({ perSecond: strangersPerSecond, burst: Math.min(maxStrangers, 2048), maxKeys: 1, ...clock }),
    );
  const [said, onTheWire] = [newcomers(), newcomers()];
  let target: BootTarget | undefined;
  let byMac = new Map<string, BootMachine>();

  return {
    get target() {
      return target;
    },
    setTarget(next) {
      target = next;
      byMac = new Map(next.machines.flatMap((machine) => machine.macs.map((mac) => [mac, machine] as const)));
    },
    find: (mac) => byMac.get(mac),
    admit: (mac, seen) => byMac.has(mac) || (seen ? onTheWire : said)(mac),
    offerMachine(mac) {
      const machine = byMac.get(mac);
      if (machine === undefined) return { mayBoot: true };
      return { mayBoot: machine.rejected !== true, hostname: machine.hostname };
    },
  };
}

/** Lets in whom it let in before, and new ones at the limit's rate; who was silent longest makes room. */
function strangers(most: number, limit: { take(key: string): boolean }): (mac: string) => boolean {
  const kept = new Set<string>();
  return (mac) => {
    const known = kept.delete(mac);
    if (!known && !limit.take("")) return false;
    kept.add(mac);
    if (kept.size > most) kept.delete(kept.values().next().value!);
    return true;
  };
}
