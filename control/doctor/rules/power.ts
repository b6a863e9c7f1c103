// Stalls before the first packet: power, BMC, the boot override.
import type { TimelineEvent } from "#api/machines.ts";
import { type Boot, isCode } from "../boot.ts";
import { part, type Rule, told } from "../rule.ts";

/** Server firmware takes its time: memory training, option ROMs, RAID. */
const POST_MS = 300_000;

/** Switched on by an order, and no firmware asked since. */
function sincePowerOn({ events }: Boot): { on: TimelineEvent; after: readonly TimelineEvent[] } | undefined {
  const n = events.findLastIndex(isCode("power-on", "power-cycle"));
  const on = events[n];
  if (on === undefined || events.slice(n).some(({ stage }) => stage === "discover")) return undefined;
  return { on, after: events.slice(n + 1) };
}
const isOverdue = ({ now }: Boot, { at }: TimelineEvent): boolean => now.getTime() - Date.parse(at) > POST_MS;
const overrideOf = ({ events }: Boot): TimelineEvent | undefined => events.findLast(isCode("override-set"));
const cameBack = (after: readonly TimelineEvent[]): TimelineEvent | undefined =>
  after.find(({ stage }) => stage === "join" || stage === "ready" || stage === "job-up");

export const POWER_RULES: readonly Rule[] = [
  told("bmc-password", ({ message }) => ({
    what: `its BMC refuses the name or password: ${message}`,
    todo: "give the right ones: flynn machine bmc set NAME; some BMCs lock an account for a while after wrong tries",
  })),
  told("bmc-unreachable", ({ message }) => ({
    what: `its BMC does not answer: ${message}`,
    todo: "look at the BMC's own cable, address and VLAN; it answers while the machine is off too",
  })),
  told("power-ignored", ({ message }) => ({
    what: `its BMC took the order and its power did not change: ${message}`,
    todo: "reset the BMC (its own web page or `mc reset cold`), or pull the power cord for half a minute",
  })),
  told("wol-only", ({ message }) => ({
    what: `it has no BMC that could do that: ${message}`,
    todo: "switch it by hand, or name its BMC: flynn machine bmc set NAME",
  })),
  told("override-ignored", (event, boot) => overrideWords(part(event, "override", "the network"), boot)),
  {
    id: "override-ignored-seen",
    kind: "seen",
    follows: "boot override set, switched on, no DISCOVER, and its host is back all the same",
    find(boot) {
      const since = sincePowerOn(boot);
      const [override, back] = [overrideOf(boot), since && cameBack(since.after)];
      return since === undefined || override === undefined || back === undefined
        ? undefined
        : { ...overrideWords("the network", boot), seen: [override, since.on, back] };
    },
  },
  {
    id: "override-then-silent",
    kind: "seen",
    follows: "boot override set, switched on, and nothing since",
    find(boot) {
      const since = sincePowerOn(boot);
      const override = overrideOf(boot);
      if (since === undefined || override === undefined || cameBack(since.after) || !isOverdue(boot, since.on))
        return undefined;
      return {
        what: "it was set to boot from the network and switched on, and its firmware never asked for an address",
        todo: "look at its screen or flynn machine console: the override may be for UEFI on a machine set to legacy BIOS, and it may have booted its own disk",
        seen: [override, since.on],
      };
    },
  },
  {
    id: "silent-after-power",
    kind: "seen",
    follows: "switched on, no boot override, and nothing since",
    find(boot) {
      const since = sincePowerOn(boot);
      if (since === undefined || overrideOf(boot) || cameBack(since.after) || !isOverdue(boot, since.on))
        return undefined;
      return {
        what: "it was switched on and its firmware never asked for an address",
        todo: "put network boot first in its boot order, and look at its cable and its screen: it may wait for a key, or have no power",
        seen: [since.on],
      };
    },
  },
];

const overrideWords = (to: string, { machine }: Boot) => ({
  what: `its next boot was set to ${to}, and it booted its own disk instead`,
  todo: `put network boot first in its setup for good; its firmware ignores the BMC's override (${[machine.identity.manufacturer, machine.identity.product].filter(Boolean).join(" ") || "of unknown make"})`,
});
