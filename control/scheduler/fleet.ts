// The hosts as the scheduler sees them: a structure of arrays indexed by a small integer slot, so that scoring 5,000 hosts
// touches no objects; and the ledger of which job holds what on which host. Charging is idempotent per job, hence applying
// the same job record twice changes nothing.
import { type Resources, wholeCapacity, wholeNeed } from "./resources.ts";
import { TagClasses, type Tags } from "./tag-classes.ts";

/** `unready`: joined, but not to be used yet (runtime unhealthy, or held down after flapping). `down`: lost. */
export type HostState =
  | "eligible"
  | "cordoned"
  | "draining"
  | "unready"
  | "down"
  /** Under pressure: what runs goes on, nothing new comes. */
  | "short of disk"
  | "short of memory";

export interface FleetHost {
  id: string;
  /** What people call it; used in reasons. */
  name: string;
  capacity: Resources;
  state: HostState;
  tags: Tags;
  /** What its subnet has for jobs. */
  addresses: number;
}

export const EMPTY = 0;
export const ELIGIBLE = 1;
const STATES: readonly (HostState | "empty")[] = [
  ...(["empty", "eligible", "cordoned", "draining", "unready", "down"] as const),
  ...(["short of disk", "short of memory"] as const),
];

/**
 * A group is one process of one release of an app: what spread and anti-affinity count. Not of all its releases: a rolling
 * deployment of one job per host would wait for ever for the old one to leave.
 */
export function groupKey(app: string, process: string, release: string): string {
  return `${app}/${process}/${release}`;
}

interface Charge {
  hostId: string;
  /** -1 while the host is unknown. */
  slot: number;
  need: Resources;
  group: string;
}

const NO_COUNTS: ReadonlyMap<number, number> = new Map();

export class Fleet {
  /** Slots below this may be in use; `state[slot] === EMPTY` marks a hole. */
  high = 0;
  state: Uint8Array;
  tagClass: Uint32Array;
  capCpu: Int32Array;
  capMemory: Int32Array;
  capDisk: Int32Array;
  freeCpu: Int32Array;
  freeMemory: Int32Array;
  freeDisk: Int32Array;
  capAddresses: Int32Array;
  /** Addresses of its subnet that no job has; each job takes one. */
  freeAddresses: Int32Array;
  /** 1/capacity, 0 where there is none: the score multiplies instead of dividing. */
  invCpu: Float64Array;
  invMemory: Float64Array;
  invDisk: Float64Array;
  readonly classes = new TagClasses();
  readonly #hosts: (FleetHost | undefined)[] = [];
  readonly #slotById = new Map<string, number>();
  readonly #holes: number[] = [];
  readonly #charges = new Map<string, Charge>();
  readonly #countsByGroup = new Map<string, Map<number, number>>();
  /** Jobs charged to a host that is not here (yet), by its id. */
  readonly #strays = new Map<string, Set<string>>();

  constructor(capacity = 64) {
    this.state = new Uint8Array(capacity);
    this.tagClass = new Uint32Array(capacity);
    this.capCpu = new Int32Array(capacity);
    this.capMemory = new Int32Array(capacity);
    this.capDisk = new Int32Array(capacity);
    this.freeCpu = new Int32Array(capacity);
    this.freeMemory = new Int32Array(capacity);
    this.freeDisk = new Int32Array(capacity);
    this.capAddresses = new Int32Array(capacity);
    this.freeAddresses = new Int32Array(capacity);
    this.invCpu = new Float64Array(capacity);
    this.invMemory = new Float64Array(capacity);
    this.invDisk = new Float64Array(capacity);
  }

  get size(): number {
    return this.#slotById.size;
  }

  slotOf(hostId: string): number | undefined {
    return this.#slotById.get(hostId);
  }

  host(slot: number): FleetHost | undefined {
    return this.#hosts[slot];
  }

  stateOf(slot: number): HostState | undefined {
    const state = STATES[this.state[slot] ?? EMPTY]!;
    return state === "empty" ? undefined : state;
  }

  /** Adds the host or brings it up to date; what is charged to it stays charged. Returns its slot. */
  setHost(host: FleetHost): number {
    const known = this.#slotById.get(host.id);
    const slot = known ?? this.#newSlot();
    const { cpuMillis, memoryMiB, diskMiB } = wholeCapacity(host.capacity);
    this.freeCpu[slot]! += cpuMillis - this.capCpu[slot]!;
    this.freeMemory[slot]! += memoryMiB - this.capMemory[slot]!;
    this.freeDisk[slot]! += diskMiB - this.capDisk[slot]!;
    this.freeAddresses[slot]! += host.addresses - this.capAddresses[slot]!;
    this.capCpu[slot] = cpuMillis;
    this.capMemory[slot] = memoryMiB;
    this.capDisk[slot] = diskMiB;
    this.capAddresses[slot] = host.addresses;
    this.invCpu[slot] = cpuMillis > 0 ? 1 / cpuMillis : 0;
    this.invMemory[slot] = memoryMiB > 0 ? 1 / memoryMiB : 0;
    this.invDisk[slot] = diskMiB > 0 ? 1 / diskMiB : 0;
    this.state[slot] = STATES.indexOf(host.state);
    const joined = this.classes.join(host.tags);
    if (known !== undefined) this.classes.leave(this.tagClass[slot]!);
    this.tagClass[slot] = joined;
    this.#hosts[slot] = host;
    if (known === undefined) {
      this.#slotById.set(host.id, slot);
      this.#adoptStrays(host.id, slot);
    }
    return slot;
  }

  removeHost(hostId: string): void {
    const slot = this.#slotById.get(hostId);
    if (slot === undefined) return;
    for (const [jobId, charge] of this.#charges) {
      if (charge.slot !== slot) continue;
      this.#count(charge.group, slot, -1);
      charge.slot = -1;
      this.#stray(hostId, jobId);
    }
    this.classes.leave(this.tagClass[slot]!);
    this.state[slot] = EMPTY;
    for (const column of [this.capCpu, this.capMemory, this.capDisk, this.capAddresses]) column[slot] = 0;
    for (const column of [this.freeCpu, this.freeMemory, this.freeDisk, this.freeAddresses]) column[slot] = 0;
    this.#hosts[slot] = undefined;
    this.#slotById.delete(hostId);
    this.#holes.push(slot);
  }

  /** Says that the job holds `need` on the host from now on; replaces what it held before, anywhere. */
  charge(jobId: string, hostId: string, group: string, need: Resources): void {
    const held = this.#charges.get(jobId);
    const whole = wholeNeed(need);
    if (held !== undefined) {
      if (held.hostId === hostId && held.group === group && sameResources(held.need, whole)) return;
      this.release(jobId);
    }
    const slot = this.#slotById.get(hostId) ?? -1;
    const charge: Charge = { hostId, slot, need: whole, group };
    this.#charges.set(jobId, charge);
    if (slot < 0) this.#stray(hostId, jobId);
    else this.#take(charge);
  }

  /** Gives back what the job held. Returns the slot that has more room now, if there is one. */
  release(jobId: string): number | undefined {
    const charge = this.#charges.get(jobId);
    if (charge === undefined) return undefined;
    this.#charges.delete(jobId);
    if (charge.slot < 0) {
      const strays = this.#strays.get(charge.hostId);
      strays?.delete(jobId);
      if (strays?.size === 0) this.#strays.delete(charge.hostId);
      return undefined;
    }
    this.freeCpu[charge.slot]! += charge.need.cpuMillis;
    this.freeMemory[charge.slot]! += charge.need.memoryMiB;
    this.freeDisk[charge.slot]! += charge.need.diskMiB;
    this.freeAddresses[charge.slot]!++;
    this.#count(charge.group, charge.slot, -1);
    return charge.slot;
  }

  /** How many of the group's jobs each slot holds. */
  countsOf(group: string): ReadonlyMap<number, number> {
    return this.#countsByGroup.get(group) ?? NO_COUNTS;
  }

  get charged(): number {
    return this.#charges.size;
  }

  hostOfJob(jobId: string): string | undefined {
    return this.#charges.get(jobId)?.hostId;
  }

  #take(charge: Charge): void {
    this.freeCpu[charge.slot]! -= charge.need.cpuMillis;
    this.freeMemory[charge.slot]! -= charge.need.memoryMiB;
    this.freeDisk[charge.slot]! -= charge.need.diskMiB;
    this.freeAddresses[charge.slot]!--;
    this.#count(charge.group, charge.slot, 1);
  }

  #count(group: string, slot: number, by: 1 | -1): void {
    let counts = this.#countsByGroup.get(group);
    if (counts === undefined) {
      counts = new Map();
      this.#countsByGroup.set(group, counts);
    }
    const count = (counts.get(slot) ?? 0) + by;
    if (count > 0) counts.set(slot, count);
    else counts.delete(slot);
    if (counts.size === 0) this.#countsByGroup.delete(group);
  }

  #stray(hostId: string, jobId: string): void {
    const strays = this.#strays.get(hostId);
    if (strays === undefined) this.#strays.set(hostId, new Set([jobId]));
    else strays.add(jobId);
  }

  #adoptStrays(hostId: string, slot: number): void {
    for (const jobId of this.#strays.get(hostId) ?? []) {
      const charge = this.#charges.get(jobId)!;
      charge.slot = slot;
      this.#take(charge);
    }
    this.#strays.delete(hostId);
  }

  #newSlot(): number {
    const hole = this.#holes.pop();
    if (hole !== undefined) return hole;
    if (this.high === this.state.length) this.#grow();
    return this.high++;
  }

  #grow(): void {
    const length = this.state.length * 2;
    const grow = <T extends { set(from: T): void; length: number }>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    this.state = grow(this.state, new Uint8Array(length));
    this.tagClass = grow(this.tagClass, new Uint32Array(length));
    this.capCpu = grow(this.capCpu, new Int32Array(length));
    this.capMemory = grow(this.capMemory, new Int32Array(length));
    this.capDisk = grow(this.capDisk, new Int32Array(length));
    this.freeCpu = grow(this.freeCpu, new Int32Array(length));
    this.freeMemory = grow(this.freeMemory, new Int32Array(length));
    this.freeDisk = grow(this.freeDisk, new Int32Array(length));
    this.capAddresses = grow(this.capAddresses, new Int32Array(length));
    this.freeAddresses = grow(this.freeAddresses, new Int32Array(length));
    this.invCpu = grow(this.invCpu, new Float64Array(length));
    this.invMemory = grow(this.invMemory, new Float64Array(length));
    this.invDisk = grow(this.invDisk, new Float64Array(length));
  }
}

function sameResources(a: Resources, b: Resources): boolean {
  return a.cpuMillis === b.cpuMillis && a.memoryMiB === b.memoryMiB && a.diskMiB === b.diskMiB;
}
