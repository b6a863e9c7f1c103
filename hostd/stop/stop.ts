// Stops jobs: SIGTERM to every process by the rule, seen through until the container has ended; SIGKILL after the stop time is the
// plan's. Signals go from here, not through the engine: it knows the first process alone, and may not answer. Where that cannot be done
// (processes of another machine, no right to) the engine sends it to the first process.
import process from "node:process";
import { setImmediate } from "node:timers/promises";
import type { Log } from "#lib/log.ts";
import { sleep } from "#lib/time.ts";
import type { Container } from "../engine/engine.ts";
import { LOST_SIGHT_MS } from "../job-record.ts";
import { isProcessOf, pidsOf, readProcesses, unread } from "./processes.ts";
import {
  firstRound,
  isInitName,
  type JobProcess,
  nextRound,
  RULE_MOST_PROCESSES,
  resumed,
  type StopState,
} from "./rule.ts";

export type StopTarget = Pick<Container, "id" | "pid" | "name">;

export interface JobStops {
  /** SIGTERM to all of the container that are told first; false: its processes cannot be known or signalled here. */
  begin(container: StopTarget): Promise<boolean>;
  /** SIGTERM to all that are told first, and no more: whether it ends, and what it starts meanwhile, is its own. False as above. */
  tell(container: StopTarget): Promise<boolean>;
  /** SIGKILL to all; false as above. Of one whose processes have all ended it is true until its engine should have noticed. */
  kill(container: StopTarget): Promise<boolean>;
  /** For how long a container that was told to end is known to have no process left, though the engine says that it runs. */
  emptyForMs(container: Pick<StopTarget, "id">): number | undefined;
  /** What runs now, and what of it is stopping: each is seen through to its end, also one that a hostd before this one began to stop. */
  sync(running: readonly StopTarget[], isStopping: (container: StopTarget) => boolean): void;
}

/** A container on its way out. */
interface Stopping {
  ended: boolean;
  /** Its processes can be seen from here. */
  hadProcesses?: boolean;
  emptySinceMs?: number;
}

export interface JobStopsOptions {
  log: Log;
  signal: AbortSignal;
  everyMs?: number;
  /** The processes of a container, and a signal to one: the kernel's unless given. */
  pids?: (container: StopTarget) => Promise<number[] | undefined>;
  read?: (pids: readonly number[], mostMs: number) => Promise<JobProcess[]>;
  /** Whether it is a process of the container still. */
  isOf?: (container: StopTarget, pid: number) => boolean;
  kill?: (pid: number, signalName: "SIGTERM" | "SIGKILL") => void;
}

/** A process that forks while the others are told is found by looking again at once, so often at most. */
const LOOKS_MOST = 4;
/** The first signals leave within this time, whatever the processes do to be hard to read. */
const SETTLE_MOST_MS = 1_000;
/** Signals between two breaths of the event loop. */
const SENT_AT_ONCE = 256;

export function jobStops(options: JobStopsOptions): JobStops {
  const { log, signal, everyMs = 250, pids = pidsOf, read = readProcesses, kill = process.kill } = options;
  const { isOf = isProcessOf } = options;
  const stopping = new Map<string, Stopping>();

  const send = async (
    container: StopTarget,
    to: readonly number[],
    signalName: "SIGTERM" | "SIGKILL" = "SIGTERM",
  ): Promise<void> => {
    for (const [n, pid] of to.entries()) {
      if (n % SENT_AT_ONCE === SENT_AT_ONCE - 1) await setImmediate();
      if (!isOf(container, pid)) continue;
      try {
        kill(pid, signalName);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
  };
  const keyOf = (found: readonly number[]): string => found.join();

  /** Of a crowd only the first process is looked at, which may be an init. */
  const readSome = async (container: StopTarget, found: readonly number[], mostMs: number): Promise<JobProcess[]> => {
    if (found.length <= RULE_MOST_PROCESSES) return read(found, mostMs);
    const [first] = await read(
      found.filter((pid) => pid === container.pid),
      mostMs,
    );
    const parent = first !== undefined && isInitName(first.name) ? first.pid : 0;
    const others = found.filter((pid) => pid !== first?.pid);
    return [...(first === undefined ? [] : [first]), ...others.map((pid) => ({ ...unread(pid), parent }))];
  };

  /** Looks until nobody new is found; returns what was told and who is there. */
  const settle = async (
    container: StopTarget,
    start: StopState | undefined,
  ): Promise<{ state: StopState; seen: string }> => {
    const dueMs = performance.now() + SETTLE_MOST_MS;
    let state = start;
    let seen = "";
    for (let looks = 0; looks < LOOKS_MOST; looks++) {
      const found = (await pids(container)) ?? [];
      seen = keyOf(found);
      const processes = await readSome(container, found, Math.max(0, dueMs - performance.now()));
      const { now, ...next } = state === undefined ? firstRound(processes) : nextRound(processes, state);
      state = next;
      if (now.length === 0) break;
      await send(container, now);
      if (performance.now() > dueMs) break;
    }
    return { state: state!, seen };
  };

  const seeThrough = async (container: StopTarget, of: Stopping, begun?: StopState): Promise<void> => {
    let state = begun;
    let seen = "";
    let failing = false;
    for (; !of.ended && !signal.aborted; await sleep(everyMs, signal)) {
      try {
        const found = await pids(container);
        if (found === undefined || found.length === 0) {
          of.emptySinceMs = performance.now();
          return;
        }
        of.hadProcesses = true;
        state ??= resumed(await readSome(container, found, SETTLE_MOST_MS));
        if (keyOf(found) !== seen) ({ state, seen } = await settle(container, state));
        failing = false;
      } catch (error) {
        if (!failing) log.warn({ err: error, container: container.name }, "a stop cannot be seen through now");
        failing = true;
      }
    }
  };
  const watch = (container: StopTarget, of: Stopping, begun?: StopState): void => {
    stopping.set(container.id, of);
    void seeThrough(container, of, begun);
  };

  return {
    async begin(container) {
      const of: Stopping = { ended: false };
      const before = stopping.get(container.id);
      if (before) before.ended = true; // one that a hostd before this one began: this one tells anew, and sees it through
      stopping.set(container.id, of); // a look at what runs meanwhile leaves it to this one
      try {
        const found = await pids(container);
        if (found !== undefined && found.length > 0) {
          of.hadProcesses = true;
          const { state } = await settle(container, undefined);
          watch(container, of, state);
          return true;
        }
        if (found !== undefined) {
          of.emptySinceMs = performance.now(); // nobody is left to be told
          return true;
        }
      } catch (error) {
        log.warn({ err: error, container: container.name }, "processes cannot be signalled from here");
      }
      stopping.delete(container.id);
      return false;
    },
    async tell(container) {
      const found = await pids(container);
      if (found === undefined || found.length === 0) return false;
      await settle(container, undefined);
      return true;
    },
    async kill(container) {
      const found = await pids(container);
      if (found === undefined || found.length === 0) {
        const of = stopping.get(container.id);
        if (!of?.hadProcesses) return false;
        // Nobody is left to be killed. An engine that hangs over it would be asked for a minute, and nothing be said meanwhile.
        of.emptySinceMs ??= performance.now();
        return performance.now() - of.emptySinceMs < LOST_SIGHT_MS;
      }
      try {
        await send(container, found, "SIGKILL");
        return true;
      } catch (error) {
        log.warn({ err: error, container: container.name }, "processes cannot be signalled from here");
        return false;
      }
    },
    emptyForMs({ id }) {
      const sinceMs = stopping.get(id)?.emptySinceMs;
      return sinceMs === undefined ? undefined : performance.now() - sinceMs;
    },
    sync(running, isStopping) {
      const ids = new Set(running.map(({ id }) => id));
      for (const [id, of] of stopping)
        if (!ids.has(id)) {
          of.ended = true;
          stopping.delete(id);
        }
      for (const container of running)
        if (isStopping(container) && !stopping.has(container.id)) watch(container, { ended: false });
    },
  };
}
