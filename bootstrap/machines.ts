// The machines this boot server knows: those control told it of, and those it saw on the wire. Strangers go into a capped,
// rate-limited table: a flood of made-up MACs cannot push out a machine that is known.
import type { BootMachine, BootTarget } from "#api/boot.ts";
import type { MachineIdentity } from "#api/machines.ts";
import type { OfferMachine } from "./dhcp/exchange.ts";
import { sameUuid } from "./identity.ts";
import { rateLimit } from "./rate.ts";

export interface Machines {
  setTarget(target: BootTarget): void;
  readonly target: BootTarget | undefined;
  find(mac: string): BootMachine | undefined;
  /** Adds what is new to what is known of this MAC; undefined when it is a stranger and there are too many of them. */
  see(identity: MachineIdentity): MachineIdentity | undefined;
  /** Everything seen of this MAC so far. */
  identity(mac: string): MachineIdentity;
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
  const newcomers = rateLimit({
    perSecond: strangersPerSecond,
    burst: Math.min(maxStrangers, 2048),
    maxKeys: 1,
    ...(nowMs ? { nowMs } : {}),
  });
  const seen = new Map<string, MachineIdentity>();
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
    see(identity) {
      const { mac } = identity;
      const before = seen.get(mac);
      if (before === undefined && !byMac.has(mac)) {
        if (!newcomers.take("")) return undefined;
        if (seen.size >= maxStrangers && !forgetOne()) return undefined;
      }
      const merged = { ...before, ...identity };
      seen.delete(mac);
      seen.set(mac, merged);
      return merged;
    },
    identity: (mac) => seen.get(mac) ?? { mac },
    offerMachine(mac) {
      const machine = byMac.get(mac);
      return { mayBoot: true, ...(machine ? { hostname: machine.hostname } : {}) };
    },
  };

  /** The stranger that was silent longest makes room. */
  function forgetOne(): boolean {
    for (const mac of seen.keys()) {
      if (byMac.has(mac)) continue;
      return seen.delete(mac);
    }
    return false;
  }
}

/** Why this claim is not the machine control knows under this MAC; undefined when nothing speaks against it. */
export function conflict(machine: BootMachine, claimed: MachineIdentity): string | undefined {
  if (machine.uuid && claimed.uuid && !sameUuid(machine.uuid, claimed.uuid))
    return `its SMBIOS UUID is ${claimed.uuid}, not ${machine.uuid}`;
  if (machine.serial && claimed.serial && machine.serial !== claimed.serial)
    return "its serial number is not the one known";
  return undefined;
}
