// The scheduler's own picture, kept from the store: the fleet with what every job holds, and which jobs each host has. A
// key is always read as it stands in the store now, never from an old record, so refreshing in any order ends right.
import { isEnded, isOver, isSilent, type Job } from "#api/jobs.ts";
import { jobAddresses } from "../identity/subnets.ts";
import { keys, PREFIX } from "../keys.ts";
import type { HostRecord } from "../records.ts";
import type { Store } from "../store/store.ts";
import { askedTags, hostTags } from "./architecture.ts";
import { Fleet, groupKey, type HostState } from "./fleet.ts";
import { holdsRoom, isWanted, spreadName, toFleet, waitsForHost } from "./job-rules.ts";
import type { Tags } from "./tag-classes.ts";

/** What a job is to its formation; an app needs another look only when this changes. */
export type Standing = "waiting" | "placed" | "leaving" | "silent" | "ended";

interface Known {
  standing: Standing;
  hostId: string | undefined;
  /** Monotonic: when its end was seen. */
  endedMs?: number;
}

export interface Draining {
  /** Of the record that made it so. */
  seq: number;
  /** Monotonic: since when it was seen to. */
  sinceMs: number;
}

export interface ClusterViewOptions {
  monotonicMs?: () => number;
  /** Wall clock, for how long ago jobs ended that were over at the start. */
  now?: () => number;
  /** A record that cannot be taken in: it is left out, and the others go on. */
  onError?: (error: unknown, key: string) => void;
}

/** Older ends than this hold nothing up. */
const ENDED_KNOWN_MS = 600_000;

const NONE: ReadonlySet<string> = new Set();

export class ClusterView {
  readonly fleet = new Fleet();
  readonly #store: Store;
  readonly #known = new Map<string, Known>();
  readonly #keysByHost = new Map<string, Set<string>>();
  /** Draining jobs by key. */
  readonly draining = new Map<string, Draining>();
  /** Slots where room appeared since this was last emptied. */
  readonly freed = new Set<number>();
  /** Hosts given up: lost, and their jobs replaced. */
  readonly #gone = new Set<string>();
  /** Hosts being drained. */
  readonly #leaving = new Set<string>();

  readonly #monotonicMs: () => number;

  constructor(store: Store, options: ClusterViewOptions = {}) {
    const { monotonicMs = () => performance.now(), now = Date.now, onError } = options;
    this.#store = store;
    this.#monotonicMs = monotonicMs;
    const guarded = (key: string, refresh: () => void) => {
      try {
        refresh();
      } catch (error) {
        if (onError === undefined) throw error;
        onError(error, key);
      }
    };
    for (const { key } of store.list(PREFIX.hosts)) guarded(key, () => this.refreshHost(key));
    for (const { key, value } of store.list<Job>(PREFIX.jobs))
      guarded(key, () => {
        this.refreshJob(key);
        const known = this.#known.get(key);
        if (known?.endedMs === undefined) return;
        // By the clock as it was and is, but never from the future and never longer ago than it may count.
        const agoMs = now() - Date.parse(value.endedAt ?? value.createdAt);
        known.endedMs -= Math.min(ENDED_KNOWN_MS, Math.max(0, Number.isNaN(agoMs) ? 0 : agoMs));
      });
  }

  /** When the job's end was seen, on the monotonic clock; undefined for one that has not ended. */
  endedMs(key: string): number | undefined {
    return this.#known.get(key)?.endedMs;
  }

  /** Given up or removed: what it ran is to be replaced. */
  isGone(hostId: string): boolean {
    return this.#gone.has(hostId) || this.fleet.slotOf(hostId) === undefined;
  }

  /** Neither lost nor given up. */
  isHeard(hostId: string): boolean {
    const slot = this.fleet.slotOf(hostId);
    return slot !== undefined && this.fleet.stateOf(slot) !== "down";
  }

  isLeaving(hostId: string): boolean {
    return this.#leaving.has(hostId);
  }

  get anyLeaving(): boolean {
    return this.#leaving.size > 0;
  }

  /** `true`: given up. `false`: heard again, and judged by its record. */
  setGone(hostId: string, gone: boolean): void {
    if (gone) this.#gone.add(hostId);
    else this.#gone.delete(hostId);
    this.refreshHost(keys.host(hostId));
  }

  keysOn(hostId: string): ReadonlySet<string> {
    return this.#keysByHost.get(hostId) ?? NONE;
  }

  /** Jobs that are not over; those it may return with are. */
  hasJobsOn(hostId: string): boolean {
    return [...this.keysOn(hostId)].some((key) => this.#known.get(key)?.standing !== "silent");
  }

  get jobCount(): number {
    return this.#known.size;
  }

  knows(key: string, job: Job): boolean {
    const known = this.#known.get(key);
    const charged = this.fleet.hostOfJob(job.id);
    const holds = holdsRoom(job) ? job.hostId : undefined;
    return known !== undefined && known.standing === standingOf(job) && charged === holds;
  }

  /** What a host must have for jobs of a release that is to run where these tags are. */
  askedTags(tags: Tags, appId: string, releaseId: string): Tags {
    return askedTags(this.#store, tags, appId, releaseId);
  }

  refreshHost(key: string): void {
    const entry = this.#store.get<HostRecord>(key);
    const id = key.slice(PREFIX.hosts.length);
    if (entry === undefined) {
      this.#gone.delete(id);
      this.#leaving.delete(id);
      this.fleet.removeHost(id);
      return;
    }
    const { name, capacity, architecture, draining, subnet } = entry.value;
    const tags = hostTags(entry.value.tags, architecture);
    if (draining === true) this.#leaving.add(id);
    else this.#leaving.delete(id);
    const state = this.#gone.has(id) ? "down" : stateOf(entry.value);
    this.fleet.setHost({ id, name, capacity: toFleet(capacity), state, tags, addresses: jobAddresses(subnet) });
  }

  /** Returns true when the job's standing changed. `seq`: of the record that may have changed it. */
  refreshJob(key: string, seq = this.#store.seq): boolean {
    const job = this.#store.get<Job>(key)?.value;
    const before = this.#known.get(key);
    if (job === undefined) {
      // Also of a job that never came to be: it was charged when it was planned, and its record was refused.
      this.#release(key.slice(key.lastIndexOf("/") + 1));
      if (before === undefined) return false;
      this.#known.delete(key);
      this.draining.delete(key);
      this.#moveTo(key, before.hostId, undefined);
      return true;
    }
    const standing = standingOf(job);
    if (holdsRoom(job)) {
      const group = groupKey(job.appId, spreadName(job), job.releaseId);
      this.fleet.charge(job.id, job.hostId!, group, toFleet(job.need));
    } else this.#release(job.id);
    const hostId = isOver(job) ? undefined : job.hostId;
    if (before === undefined || before.hostId !== hostId) this.#moveTo(key, before?.hostId, hostId);
    if (before === undefined || before.hostId !== hostId || before.standing !== standing) {
      const endedMs = standing === "ended" ? (before?.endedMs ?? this.#monotonicMs()) : undefined;
      this.#known.set(key, { standing, hostId, ...(endedMs === undefined ? {} : { endedMs }) });
    }
    if (job.desired === "drain" && standing === "leaving") {
      if (!this.draining.has(key)) this.draining.set(key, { seq, sinceMs: this.#monotonicMs() });
    } else this.draining.delete(key);
    return before?.standing !== standing;
  }

  #release(jobId: string): void {
    const slot = this.fleet.release(jobId);
    if (slot !== undefined) this.freed.add(slot);
  }

  #moveTo(key: string, from: string | undefined, to: string | undefined): void {
    if (from !== undefined) {
      const left = this.#keysByHost.get(from);
      left?.delete(key);
      if (left?.size === 0) this.#keysByHost.delete(from);
    }
    if (to === undefined) return;
    const there = this.#keysByHost.get(to);
    if (there === undefined) this.#keysByHost.set(to, new Set([key]));
    else there.add(key);
  }
}

function standingOf(job: Job): Standing {
  if (isSilent(job)) return "silent";
  if (isEnded(job)) return "ended";
  if (!isWanted(job)) return "leaving";
  return waitsForHost(job) ? "waiting" : "placed";
}

function stateOf(host: HostRecord): HostState {
  if (host.state === "lost") return "down";
  if (host.state !== "ready" || host.heldUntil !== undefined) return "unready";
  if (host.cordoned) return "cordoned";
  return host.shortOf === "disk" ? "short of disk" : host.shortOf === "memory" ? "short of memory" : "eligible";
}

export function appOfKey(key: string, prefix: string): string {
  const end = key.indexOf("/", prefix.length);
  return end < 0 ? key.slice(prefix.length) : key.slice(prefix.length, end);
}
