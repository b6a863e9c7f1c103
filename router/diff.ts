// From what HAProxy runs to what it should run: runtime commands in an order that never loses a request.
// First what adds capacity, then the maps, then what takes capacity away; a cookie leads nowhere before its slot drains.
import { type Assignment, backendName, namedBackends, type Slot, slotName, tcpName } from "./assignment.ts";
import { backendOf, type MapName, type Maps, mapFile } from "./maps.ts";
import { PARKED } from "./render.ts";
import type { Running, RunningSlot } from "./verify.ts";

export interface Wanted {
  assignment: Assignment;
  maps: Maps;
}
export interface Difference {
  /** Each inner list goes on one line: HAProxy runs it without anything in between. */
  commands: string[][];
  /** Backends or slots that the running configuration does not have, or ports that it has too many. */
  needsReload: boolean;
}
export interface DiffOptions {
  /** Directory of the map files, as in the configuration. */
  directory: string;
  /** `address:port` known to accept connections now: traffic at once; else HAProxy's own check decides first. */
  reachable: ReadonlySet<string>;
}

export function diff(running: Running, { assignment, maps }: Wanted, options: DiffOptions): Difference {
  const enable: string[][] = [];
  const drain: string[][] = [];
  const park: string[][] = [];
  let needsReload = false;
  for (const [backend, { slots }] of namedBackends(assignment)) {
    for (const [s, slot] of slots.entries()) {
      const name = `${backend}/${slotName(s)}`;
      const now = running.slots.get(name);
      if (now === undefined) needsReload = true;
      else if (slot === null) park.push(parkSlot(name, now));
      else if (slot.state === "up") enable.push(enableSlot(name, slot, now, options.reachable));
      else drain.push(drainSlot(name, slot, now));
    }
  }
  const served = new Map([...maps.routes].filter(([, value]) => running.slots.has(`${backendOf(value)}/s1`)));
  const changes = (name: MapName, wanted: ReadonlyMap<string, string> = maps[name]) =>
    diffMap(`${options.directory}/${mapFile(name)}`, running.maps[name], wanted);
  const [routesSet, routesDel] = changes("routes", served);
  const [repliesSet, repliesDel] = changes("replies");
  const [stickySet, stickyDel] = changes("sticky");
  const [jobsSet, jobsDel] = changes("jobs");
  const before = [enable, repliesSet, jobsSet, stickySet, routesSet];
  const after = [routesDel, stickyDel, drain, park, jobsDel, repliesDel];
  const commands = [...before, ...after].flat();
  return { commands: commands.filter((group) => group.length > 0), needsReload };
}

/**
 * The same for a worker of an earlier configuration, which still answers on connections it has: a pool whose jobs are all
 * in slots that it lacks gets them in the slots that it has, else its last requests would find no job.
 */
export function fitTo(running: Running, { assignment, maps }: Wanted): Wanted {
  const fit = <B extends Assignment["backends"][number]>(backend: B, name: string): B => {
    const has = backend.slots.filter((_, s) => running.slots.has(`${name}/${slotName(s)}`));
    const up = backend.slots.filter((slot) => slot?.state === "up");
    if (has.some((slot) => slot?.state === "up")) return { ...backend, slots: has };
    return { ...backend, slots: has.map((slot, s) => up[s] ?? slot) };
  };
  const backends = assignment.backends.map((backend, b) => fit(backend, backendName(b)));
  const tcp = assignment.tcp?.map((backend) => fit(backend, tcpName(backend.port)));
  return { assignment: tcp ? { backends, tcp } : { backends }, maps };
}

/** Slots that `diff` would let traffic to, to be probed before. */
export function newAddresses(running: Running, assignment: Assignment): { address: string; port: number }[] {
  return namedBackends(assignment).flatMap(([backend, { slots }]) =>
    slots.flatMap((slot, s) => {
      const now = running.slots.get(`${backend}/${slotName(s)}`);
      return slot?.state === "up" && now && !serves(slot, now) ? [{ address: slot.address, port: slot.port }] : [];
    }),
  );
}

const isAt = (slot: { address: string; port: number }, now: RunningSlot) =>
  slot.address === now.address && slot.port === now.port;
const serves = (slot: Slot, now: RunningSlot) => isAt(slot, now) && now.mode === "ready" && now.weight === 1;
const setAddress = (name: string, to: { address: string; port: number }) =>
  `set server ${name} addr ${to.address} port ${to.port}`;

function enableSlot(name: string, slot: Slot, now: RunningSlot, reachable: ReadonlySet<string>): string[] {
  if (serves(slot, now)) return [];
  const health = reachable.has(`${slot.address}:${slot.port}`) ? "up" : "down";
  return [
    // A slot open at another address goes over at once: an older worker is told command by command (see fitTo), and
    // must not be without a job in between.
    ...(isAt(slot, now) || now.mode === "ready" ? [] : [`set server ${name} state maint`]),
    ...(isAt(slot, now) ? [] : [setAddress(name, slot)]),
    ...(now.weight === 1 ? [] : [`set server ${name} weight 1`]),
    `set server ${name} state ready`,
    `set server ${name} health ${health}`,
  ];
}

function drainSlot(name: string, slot: Slot, now: RunningSlot): string[] {
  if (!isAt(slot, now)) return [`set server ${name} state maint`, setAddress(name, slot)];
  return now.mode === "ready" ? [`set server ${name} state drain`] : [];
}

function parkSlot(name: string, now: RunningSlot): string[] {
  return [
    ...(now.mode === "maint" ? [] : [`set server ${name} state maint`]),
    ...(isAt(PARKED, now) ? [] : [setAddress(name, PARKED)]),
  ];
}

function diffMap(
  file: string,
  now: ReadonlyMap<string, string>,
  wanted: ReadonlyMap<string, string>,
): [string[][], string[][]] {
  const sets: string[][] = [];
  for (const [key, value] of wanted) {
    if (!now.has(key)) sets.push([`add map ${file} ${key} ${value}`]);
    else if (now.get(key) !== value && now.get(key) === "\0twice")
      sets.push([`del map ${file} ${key}`, `add map ${file} ${key} ${value}`]);
    else if (now.get(key) !== value) sets.push([`set map ${file} ${key} ${value}`]);
  }
  return [sets, [...now.keys()].filter((key) => !wanted.has(key)).map((key) => [`del map ${file} ${key}`])];
}
