// The slots of a backend: which job has which, what leaves, what is free. Pure.
import type { RouterTarget } from "#api/router-agents.ts";
import { type Backend, printable, type Refusal, type Slot } from "./assignment.ts";

export type Job = RouterTarget["pools"][number]["backends"][number];

const MAX_SLOTS = 4096;
/** A slot costs HAProxy about 7 KB whether it is used or not: from so many backends on, room grows by half, with fewer slots each. */
const MANY_BACKENDS = 2048;
const SLOTS_OF_MANY = 4;
/** The first route of another protocol than HTTP/1.1 makes room for so many pools: it is a reload. */
const FIRST_OF_PROTOCOL = 4;

export const jobKey = (job: { jobId: string; address: string; port: number }) =>
  `${job.jobId} ${job.address}:${job.port}`;

export function keepOrDrain(backend: Backend, jobs: Job[] | undefined, isBusy: (slot: number) => boolean): Backend {
  if (backend.pool === undefined && jobs === undefined && backend.slots.every((slot) => slot === null)) return backend;
  const states = new Map((jobs ?? []).map((job) => [jobKey(job), job.state]));
  const slots = backend.slots.map((slot, s): Slot | null => {
    if (slot === null) return null;
    const state = states.get(jobKey(slot));
    if (state !== undefined) return { ...slot, state };
    return slot.state === "up" || isBusy(s) ? { ...slot, state: "leaving" } : null;
  });
  const inUse = jobs !== undefined || slots.some((slot) => slot !== null);
  const { pool, protocol } = backend;
  return { ...(inUse && pool ? { pool } : {}), ...(protocol ? { protocol } : {}), slots };
}

export const freeBackend = (slots: number, protocol?: Backend["protocol"]): Backend => ({
  ...(protocol ? { protocol } : {}),
  slots: new Array<Slot | null>(slots).fill(null),
});

/** Free backends by how many slots they have, the first of each size first: taking one looks through none. */
export function freeBackends(
  backends: Backend[],
  slots: number,
  protocol?: Backend["protocol"],
): { take(jobs: number): number } {
  const bySize = new Map<number, number[]>();
  const add = (b: number) => {
    const size = backends[b]!.slots.length;
    const same = bySize.get(size);
    if (same) same.push(b);
    else bySize.set(size, [b]);
  };
  let count = 0;
  for (let b = backends.length - 1; b >= 0; b--)
    if (backends[b]!.protocol === protocol) {
      count++;
      if (!backends[b]!.pool) add(b);
    }
  return {
    /** The smallest with room for a rolling deploy of `jobs`, else the largest; there are more of them when none is free. */
    take(jobs) {
      if (bySize.size === 0) {
        const before = backends.length;
        const isMany = count >= MANY_BACKENDS;
        const least = protocol === undefined ? 1 : FIRST_OF_PROTOCOL;
        for (let more = Math.max(least, isMany ? count / 2 : count); more > 0; more--)
          backends.push(freeBackend(isMany ? Math.min(slots, SLOTS_OF_MANY) : slots, protocol));
        count += backends.length - before;
        for (let b = backends.length - 1; b >= before; b--) add(b);
      }
      const sizes = [...bySize.keys()].sort((a, b) => a - b);
      const size = sizes.find((each) => each >= jobs * 2) ?? sizes.at(-1)!;
      const same = bySize.get(size)!;
      const b = same.pop()!;
      if (same.length === 0) bySize.delete(size);
      return b;
    },
  };
}

/** Gives each job without one a slot; a job that is only draining was never served here and needs none. */
export function placeJobs(backend: Backend, jobs: Job[], refused: Refusal[]): void {
  const placed = new Set(backend.slots.filter((slot) => slot !== null).map(jobKey));
  for (const job of jobs) {
    if (job.state !== "up" || placed.has(jobKey(job))) continue;
    let s = backend.slots.indexOf(null);
    if (s < 0) {
      s = backend.slots.length;
      if (s >= MAX_SLOTS) {
        refused.push({ what: `job ${printable(job.jobId)}`, why: `a pool has at most ${MAX_SLOTS} jobs on a router` });
        continue;
      }
      backend.slots.push(...freeBackend(Math.max(1, s)).slots);
    }
    backend.slots[s] = { jobId: job.jobId, address: job.address, port: job.port, state: "up" };
  }
}
