// From what HAProxy runs to what it should run: runtime commands in an order that never loses a request.
// First what adds capacity, then the maps, then what takes capacity away; a cookie leads nowhere before its slot drains.
import { type Assignment, backendName, isTcp, namedBackends, type Slot, slotName, tcpName } from "./assignment.ts";
import { backendsOf, type MapName, type Maps, mapFile, withoutCanary } from "./maps.ts";
import { moreUrgent, type ReloadReason } from "./reload.ts";
import { PARKED } from "./render.ts";
import type { Scope } from "./scope.ts";
import { atOnce } from "./slices.ts";
import type { Running, RunningSlot } from "./verify.ts";

/** Backends or entries between two looks at the clock. */
const STEP = 100;

export interface Wanted {
  assignment: Assignment;
  maps: Maps;
}
export interface Difference {
  /** Each inner list goes on one line: HAProxy runs it without anything in between. */
  commands: string[][];
  /** Backends, slots or ports that the running configuration does not have. */
  reload: ReloadReason | undefined;
}
export interface DiffOptions {
  /** Directory of the map files, as in the configuration. */
  directory: string;
  /** `address:port` known to accept connections now: traffic at once; else HAProxy's own check decides first. */
  reachable: ReadonlySet<string>;
  /** Only what is in it is compared; everything without one. */
  scope?: Scope;
}

export const diff = (running: Running, wanted: Wanted, options: DiffOptions): Difference =>
  atOnce(differences(running, wanted, options));

export function* differences(
  running: Running,
  { assignment, maps }: Wanted,
  options: DiffOptions,
): Generator<void, Difference> {
  const enable: string[][] = [];
  const drain: string[][] = [];
  const park: string[][] = [];
  let reload: ReloadReason | undefined;
  const { scope } = options;
  const compared = scope === undefined ? namedBackends(assignment) : [...scope.backends];
  for (const [n, [backend, { slots }]] of compared.entries()) {
    if (n % STEP === 0) yield;
    for (const [s, slot] of slots.entries()) {
      const name = `${backend}/${slotName(s)}`;
      const now = running.slots.get(name);
      if (now === undefined) reload = moreUrgent(reload, isTcp(backend) ? "ports" : "all");
      else if (slot === null) {
        if (now.mode !== "maint" || !isAt(PARKED, now)) park.push(parkSlot(name, now));
      } else if (slot.state === "up") enable.push(enableSlot(name, slot, now, options.reachable));
      else drain.push(drainSlot(name, slot, now));
    }
  }
  /** Of a route: nothing before its backend is there, all of its requests for that one before its canary's is. */
  const routeNow = (value: string): string | undefined => {
    const { backend, canary } = backendsOf(value);
    if (!running.slots.has(`${backend}/s1`)) return undefined;
    return canary === undefined || running.slots.has(`${canary}/s1`) ? value : withoutCanary(value);
  };
  const changes = (name: MapName, possible?: MapDifference["possible"]) =>
    diffMap({
      file: `${options.directory}/${mapFile(name)}`,
      now: running.maps[name],
      wanted: maps[name],
      ...(scope ? { keys: scope.keys[name] } : {}),
      ...(possible ? { possible } : {}),
    });
  const [routesSet, routesDel] = yield* changes("routes", routeNow);
  const [repliesSet, repliesDel] = yield* changes("replies");
  const [stickySet, stickyDel] = yield* changes("sticky");
  const [jobsSet, jobsDel] = yield* changes("jobs");
  const before = [enable, repliesSet, jobsSet, stickySet, routesSet];
  const after = [routesDel, stickyDel, drain, park, jobsDel, repliesDel];
  const commands = [...before, ...after].flat();
  return { commands: commands.filter((group) => group.length > 0), reload };
}

/**
 * The same for a worker of an earlier configuration, which still answers on connections it has: a pool whose jobs are all
 * in slots that it lacks gets them in the slots that it has, else its last requests would find no job.
 */
export function fitTo(running: Running, { assignment, maps }: Wanted, scope?: Scope): Wanted & { scope?: Scope } {
  const fit = <B extends Assignment["backends"][number]>(backend: B, name: string): B => {
    const has = backend.slots.filter((_, s) => running.slots.has(`${name}/${slotName(s)}`));
    const up = backend.slots.filter((slot) => slot?.state === "up");
    if (has.some((slot) => slot?.state === "up")) return { ...backend, slots: has };
    return { ...backend, slots: has.map((slot, s) => up[s] ?? slot) };
  };
  if (scope !== undefined) {
    const backends = new Map([...scope.backends].map(([name, backend]) => [name, fit(backend, name)]));
    return { assignment, maps, scope: { ...scope, backends } };
  }
  const backends = assignment.backends.map((backend, b) => fit(backend, backendName(b)));
  const tcp = assignment.tcp?.map((backend) => fit(backend, tcpName(backend.port)));
  return { assignment: tcp ? { backends, tcp } : { backends }, maps };
}

/** Slots that `differences` would let traffic to, to be probed before. */
export function* newAddresses(
  running: Running,
  assignment: Assignment,
  scope?: Scope,
): Generator<void, { address: string; port: number }[]> {
  const found: { address: string; port: number }[] = [];
  for (const [n, [backend, { slots }]] of (scope ? [...scope.backends] : namedBackends(assignment)).entries()) {
    if (n % STEP === 0) yield;
    for (const [s, slot] of slots.entries()) {
      if (slot?.state !== "up") continue;
      const now = running.slots.get(`${backend}/${slotName(s)}`);
      if (now && !serves(slot, now)) found.push({ address: slot.address, port: slot.port });
    }
  }
  return found;
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

interface MapDifference {
  file: string;
  now: ReadonlyMap<string, string>;
  wanted: ReadonlyMap<string, string>;
  keys?: ReadonlySet<string>;
  /** What of a value can be said now; undefined for one that would lead to what is not there yet. */
  possible?: (value: string) => string | undefined;
}

function* diffMap({
  file,
  now,
  wanted,
  keys,
  possible = (value) => value,
}: MapDifference): Generator<void, [string[][], string[][]]> {
  const sets: string[][] = [];
  const gone: string[][] = [];
  let looked = 0;
  for (const key of keys ?? wanted.keys()) {
    if (++looked % STEP === 0) yield;
    const [before, goal] = [now.get(key), wanted.get(key)];
    const value = goal === undefined ? undefined : possible(goal);
    if (value === undefined) {
      if (before !== undefined) gone.push([`del map ${file} ${key}`]);
    } else if (before === undefined) sets.push([`add map ${file} ${key} ${value}`]);
    else if (before !== value && before === "\0twice")
      sets.push([`del map ${file} ${key}`, `add map ${file} ${key} ${value}`]);
    else if (before !== value) sets.push([`set map ${file} ${key} ${value}`]);
  }
  if (keys === undefined)
    for (const key of now.keys()) {
      if (++looked % STEP === 0) yield;
      if (!wanted.has(key)) gone.push([`del map ${file} ${key}`]);
    }
  return [sets, gone];
}
