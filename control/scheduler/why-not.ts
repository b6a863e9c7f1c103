// Says in plain words why no host takes a job: the narrowest filter that left nothing, with the best that was on offer,
// and the hosts left out by their state. One sentence for the whole group, as `flynn ps` shows it.
import { HOST_NET_LARGEST, jobAddresses } from "../identity/subnets.ts";
import { apart, forWhom } from "./architecture.ts";
import { type Ask, hasRoom } from "./feasible.ts";
import { ELIGIBLE, type Fleet, groupKey, type HostState } from "./fleet.ts";
import {
  DIMENSION_NOUNS,
  DIMENSIONS,
  type Dimension,
  formatAmount,
  formatQuantity,
  type Resources,
  wholeNeed,
} from "./resources.ts";
import { carries, type Tags } from "./tag-classes.ts";

const OUT_OF_USE: readonly [HostState, string][] = [
  ["cordoned", "cordoned"],
  ["draining", "draining"],
  ["short of disk", "short of disk"],
  ["short of memory", "short of memory"],
  ["unready", "not ready"],
  ["down", "lost"],
];

/** Jobs that the largest subnet has addresses for. */
const LARGEST = jobAddresses(`0.0.0.0/${HOST_NET_LARGEST}`);

/** `taken`: what this same round already put where, by slot. */
export function explain(fleet: Fleet, ask: Ask, taken: ReadonlyMap<number, number>): string {
  if (ask.host !== undefined) return explainPinned(fleet, ask, ask.host, taken);
  const all: number[] = [];
  for (let slot = 0; slot < fleet.high; slot++) if (fleet.stateOf(slot) !== undefined) all.push(slot);
  if (all.length === 0) return "no host has joined yet";
  const open = all.filter((slot) => fleet.state[slot] === ELIGIBLE);
  const left = outOfUse(fleet, all);
  if (open.length === 0) return left;
  return left === ""
    ? explainOpen(fleet, ask, open, all, taken)
    : `${explainOpen(fleet, ask, open, all, taken)}; ${left}`;
}

/** The same without what changes with every host: no names, no numbers of hosts, nothing of what is free. */
export function explainBriefly(fleet: Fleet, ask: Ask): string {
  if (ask.host !== undefined) return "waits for the host it is bound to";
  let hosts = 0;
  const open: number[] = [];
  for (let slot = 0; slot < fleet.high; slot++) {
    if (fleet.stateOf(slot) === undefined) continue;
    hosts++;
    if (fleet.state[slot] === ELIGIBLE) open.push(slot);
  }
  if (hosts === 0) return "no host has joined yet";
  if (open.length === 0) return "no host takes new jobs now";
  const where = hostWith(ask.tags);
  const tagged = open.filter((slot) => carries(tagsOf(fleet, slot), ask.tags));
  if (tagged.length === 0) return `no host in use ${doesNot(fleet, open, ask)}`;
  const held = fleet.countsOf(groupKey(ask.app, ask.process, ask.release));
  if (ask.antiAffinity && tagged.every((slot) => held.has(slot)))
    return `each ${where} already runs one ${ask.process} of this app, and it allows one per host`;
  if (tagged.every((slot) => fleet.freeAddresses[slot]! < 1)) return noAddress(fleet, tagged, where);
  return `no ${where} has ${amounts(wholeNeed(ask.need))} free`;
}

function noAddress(fleet: Fleet, slots: readonly number[], where: string): string {
  const most = slots.map((slot) => fleet.capAddresses[slot]!);
  const [least, largest] = [Math.min(...most), Math.max(...most)];
  const each = least === largest ? `each runs ${least} jobs` : `they run ${least} to ${largest} jobs`;
  const more = largest < LARGEST ? ", or give hosts larger subnets (flynn up --host-net 22)" : "";
  return `no ${where} has an address left: ${each}, as many as its subnet has; add hosts${more}`;
}

/** `3 hosts cordoned, 1 lost`, or nothing. */
function outOfUse(fleet: Fleet, slots: readonly number[]): string {
  const parts: string[] = [];
  for (const [state, word] of OUT_OF_USE) {
    const count = slots.filter((slot) => fleet.stateOf(slot) === state).length;
    if (count > 0) parts.push(parts.length === 0 ? `${plural(count, "host")} ${word}` : `${count} ${word}`);
  }
  return parts.join(", ");
}

function explainOpen(
  fleet: Fleet,
  ask: Ask,
  open: readonly number[],
  all: readonly number[],
  taken: ReadonlyMap<number, number>,
): string {
  const tagged = open.filter((slot) => carries(tagsOf(fleet, slot), ask.tags));
  if (tagged.length === 0) return explainTags(fleet, ask, open, all);
  const held = fleet.countsOf(groupKey(ask.app, ask.process, ask.release));
  const alone = ask.antiAffinity ? tagged.filter((slot) => !held.has(slot) && !taken.has(slot)) : tagged;
  const where = hostWith(ask.tags);
  if (alone.length === 0) {
    return `each ${where} already runs one ${ask.process} of this app, and it allows one per host (${plural(tagged.length, "host")})`;
  }
  const crowded = tagged.length - alone.length;
  const also =
    crowded === 0 ? "" : `; ${plural(crowded, "host")} already ${crowded === 1 ? "runs" : "run"} one ${ask.process}`;
  return explainRoom(fleet, ask, alone, where, taken) + also;
}

function explainTags(fleet: Fleet, ask: Ask, open: readonly number[], all: readonly number[]): string {
  const { architecture, tags: wanted } = apart(ask.tags);
  const elsewhere = all.filter(
    (slot) => fleet.state[slot] !== ELIGIBLE && carries(tagsOf(fleet, slot), ask.tags),
  ).length;
  const but = (one: string, more: string) =>
    elsewhere === 0 ? "" : ` (${plural(elsewhere, "host")} out of use ${elsewhere === 1 ? one : more})`;
  const isOther = (slot: number) => apart(tagsOf(fleet, slot)).architecture !== architecture;
  if (architecture !== undefined && open.every(isOther))
    return `no host ${doesNot(fleet, open, ask)}${but("is", "are")}`;
  const missing = Object.keys(wanted).filter((key) => {
    const one = { [key]: wanted[key]! };
    return !open.some((slot) => carries(tagsOf(fleet, slot), one));
  });
  if (missing.length === 0) {
    const kind = architecture === undefined ? "host" : `${architecture} host`;
    return `no ${kind} carries ${tagList(wanted)}${Object.keys(wanted).length > 1 ? " together" : ""}${but("does", "do")}`;
  }
  return `no host carries ${tagList(Object.fromEntries(missing.map((key) => [key, wanted[key]!])))}${but("does", "do")}`;
}

function explainRoom(
  fleet: Fleet,
  ask: Ask,
  slots: readonly number[],
  where: string,
  taken: ReadonlyMap<number, number>,
): string {
  const need = wholeNeed(ask.need);
  const short: string[] = [];
  const counts: string[] = [];
  for (const dimension of DIMENSIONS) {
    if (need[dimension] === 0) continue;
    const free = (slot: number) => freeOf(fleet, slot, dimension) - (taken.get(slot) ?? 0) * need[dimension];
    const best = slots.reduce((most, slot) => (free(slot) > free(most) ? slot : most));
    const lacking = slots.filter((slot) => free(slot) < need[dimension]).length;
    if (free(best) < need[dimension]) {
      const offer = `largest free: ${formatQuantity(dimension, free(best))} on ${nameOf(fleet, best)}`;
      short.push(`no ${where} has ${formatAmount(dimension, need[dimension])} free (${offer})`);
    } else if (lacking > 0) counts.push(`${lacking} short of ${DIMENSION_NOUNS[dimension]}`);
  }
  const addressless = slots.filter((slot) => fleet.freeAddresses[slot]! - (taken.get(slot) ?? 0) < 1).length;
  if (addressless === slots.length) return noAddress(fleet, slots, where);
  if (short.length > 0) return short.join("; ");
  if (addressless > 0) counts.push(`${addressless} without an address left`);
  return `no ${where} has ${amounts(need)} free together (of ${plural(slots.length, "host")}: ${counts.join(", ")})`;
}

function explainPinned(fleet: Fleet, ask: Ask, hostId: string, taken: ReadonlyMap<number, number>): string {
  const slot = fleet.slotOf(hostId);
  if (slot === undefined) return `bound to host ${hostId}, which is not in the cluster`;
  const why = whyNotHere(fleet, slot, ask, taken) ?? `already runs one ${ask.process} of this app`;
  return `bound to host ${nameOf(fleet, slot)}, which ${why}`;
}

/** Why this one host does not take a job of the ask: `is cordoned`, `does not carry tag disk=ssd`; undefined when it does. */
export function whyNotHere(
  fleet: Fleet,
  slot: number,
  ask: Ask,
  taken: ReadonlyMap<number, number> = new Map(),
): string | undefined {
  const word = OUT_OF_USE.find(([state]) => state === fleet.stateOf(slot))?.[1];
  if (word !== undefined) return `is ${word}`;
  const { architecture, tags } = apart(ask.tags);
  const own = apart(tagsOf(fleet, slot));
  if (architecture !== undefined && own.architecture !== architecture)
    return `is ${own.architecture}, and ${forWhom(ask.release, architecture)}`;
  if (!carries(own.tags, tags)) return `does not carry ${tagList(tags)}`;
  const need = wholeNeed(ask.need);
  const mine = taken.get(slot) ?? 0;
  if (!hasRoom(fleet, slot, need, mine)) {
    if (fleet.freeAddresses[slot]! - mine < 1)
      return `runs ${fleet.capAddresses[slot]} jobs, and its subnet has no address left`;
    const free = (each: Dimension) => freeOf(fleet, slot, each) - mine * need[each];
    const lacks = DIMENSIONS.filter((each) => need[each] > 0 && free(each) < need[each]);
    const parts = lacks.map(
      (each) => `${formatQuantity(each, free(each))} of the ${formatAmount(each, need[each])} needed`,
    );
    return `has only ${parts.join(" and ")} free`;
  }
  const held = fleet.countsOf(groupKey(ask.app, ask.process, ask.release));
  if (ask.antiAffinity && (mine > 0 || held.has(slot))) return `already runs one ${ask.process} of this app`;
  return undefined;
}

function amounts(need: Resources): string {
  const parts = DIMENSIONS.filter((dimension) => need[dimension] > 0).map((each) => formatAmount(each, need[each]));
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

/** What all of them lack, the architecture before tags: `is arm64: the image is for arm64`, `carries tag disk=ssd`. */
function doesNot(fleet: Fleet, slots: readonly number[], { tags: all, release }: Ask): string {
  const { architecture, tags } = apart(all);
  const fits = (slot: number) => apart(tagsOf(fleet, slot)).architecture === architecture;
  if (architecture !== undefined && !slots.some(fits))
    return `is ${architecture}, and ${forWhom(release, architecture)}`;
  return `carries ${tagList(tags)}`;
}

function hostWith(all: Tags): string {
  const { tags } = apart(all);
  return Object.keys(tags).length === 0 ? "host" : `host with ${tagList(tags)}`;
}

function tagList(tags: Tags): string {
  const parts = Object.keys(tags)
    .sort()
    .map((key) => `${key}=${tags[key]}`);
  return parts.length === 1 ? `tag ${parts[0]}` : `tags ${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

function freeOf(fleet: Fleet, slot: number, dimension: Dimension): number {
  return { cpuMillis: fleet.freeCpu, memoryMiB: fleet.freeMemory, diskMiB: fleet.freeDisk }[dimension][slot]!;
}

function tagsOf(fleet: Fleet, slot: number): Tags {
  return fleet.classes.tagsOf(fleet.tagClass[slot]!);
}

function nameOf(fleet: Fleet, slot: number): string {
  return fleet.host(slot)?.name ?? "";
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
