// Keeps the kernel's table equal to what the target and this host's own jobs ask for: at each change at once, every 2 s looking
// whether somebody flushed or altered it. No job and no build starts before the table that names it is in force. With control away
// the last target holds; while the container engine does not answer, the jobs last seen do.
import type { HostTarget } from "#api/host-agents.ts";
import type { Log } from "#lib/log.ts";
import { createWake } from "#lib/wake.ts";
import { type Container, LABELS } from "../engine/engine.ts";
import { containerName } from "../job-container.ts";
import { changesText, isAsMeant } from "./changes.ts";
import type { ReachKernel } from "./kernel.ts";
import { type LocalJob, type ReachInput, reachText } from "./rules.ts";

export interface ReachOptions extends Pick<ReachInput, "jobBridge" | "buildBridges"> {
  kernel: ReachKernel;
  /** Control, and what this host's configuration lets in, as far as it is known now. */
  clusterAddresses: () => readonly string[];
  dns: (target: HostTarget) => readonly string[];
  /** Another version is in force, or the table had to be put back. */
  onChange: (what: "version" | "mended") => void;
  log: Log;
  everyMs?: number;
}

export interface ReachKeeper {
  setTarget(target: HostTarget): void;
  /** All containers of jobs, as the engine has them. */
  see(containers: readonly Container[]): void;
  /** Resolves once a job at this address is named by the rules in force. */
  admit(job: { jobId: string; address: string }): Promise<void>;
  /** It did not start there. */
  dismiss(address: string): void;
  /** Resolves once all that was asked for is in force. */
  inForce(): Promise<void>;
  /** Resolves once the builds' networks are named by the rules in force. */
  admitBuilds(networks: ReachInput["builds"]): Promise<void>;
  /** Version of the target's `reach` that the kernel enforces. */
  version(): number | undefined;
  run(signal: AbortSignal): Promise<void>;
}

/** Where routes and rules are somebody else's work. */
export const unkeptReach: ReachKeeper = {
  setTarget: () => undefined,
  see: () => undefined,
  admit: async () => undefined,
  dismiss: () => undefined,
  inForce: async () => undefined,
  admitBuilds: async () => undefined,
  version: () => undefined,
  run: async () => undefined,
};

const EVERY_MS = 2_000;
const MENDED = "somebody changed the network rules of jobs; they are put back";
/** A look takes at most this share of one processor: with ten thousand addresses, it takes 40 ms. */
const LOOK_SHARE = 0.05;

type Wanted = { text: string; version: number | undefined };

export function keepReach(options: ReachOptions): ReachKeeper {
  const { kernel, onChange, log, everyMs = EVERY_MS } = options;
  const { jobBridge, buildBridges } = options;
  const wake = createWake();
  /** Starts under way, which the engine does not show yet, by address. */
  const admitted = new Map<string, string>();
  /** Jobs that the target no longer names run on for their grace as what they were. */
  const appIds = new Map<string, string>();
  let target: HostTarget | undefined;
  let seen: Map<string, string> | undefined;
  let builds: ReachInput["builds"] = [];
  let applied: { text: string; found: string; version: number | undefined } | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  let ended: AbortSignal | undefined;

  const input = (current: HostTarget): ReachInput => {
    const addresses = new Map([...(seen ?? []), ...admitted]);
    const jobs = [...addresses].map(([address, jobId]): LocalJob => ({ address, appId: appIds.get(jobId) }));
    const clusterAddresses = options.clusterAddresses();
    return { target: current, jobs, jobBridge, buildBridges, builds, dns: options.dns(current), clusterAddresses };
  };

  /** Its answer is compared from then on. */
  const readBack = async (signal: AbortSignal): Promise<string> => {
    try {
      const found = await kernel.read(signal);
      if (found === undefined) throw new Error("the table is gone as soon as it was made");
      return found;
    } catch (error) {
      applied = undefined; // nobody knows what is there: it is written anew
      wake.ring();
      throw error;
    }
  };
  const nowIs = (now: NonNullable<typeof applied>): void => {
    const before = applied?.version;
    applied = now;
    if (before !== now.version) onChange("version");
  };

  const writeWhole = async ({ text, version }: Wanted, signal: AbortSignal, onWritten = () => {}): Promise<void> => {
    await kernel.prepare(signal);
    await kernel.write(text, signal);
    onWritten();
    nowIs({ text, version, found: await readBack(signal) });
  };

  /** What differs alone, where that will do. False: the whole table is to be written. */
  const writeChanges = async (wanted: Wanted, signal: AbortSignal, onWritten: () => void): Promise<boolean> => {
    const from = applied;
    const changes = from && changesText(from.text, wanted.text);
    if (from === undefined || changes === undefined) return false;
    await kernel.prepare(signal);
    try {
      await kernel.write(changes, signal);
    } catch (error) {
      signal.throwIfAborted();
      log.debug({ err: error }, "network rules of jobs could not be changed; the whole table is written");
      return false;
    }
    onWritten();
    const found = await readBack(signal);
    if (!isAsMeant({ before: from.text, after: wanted.text, found: from.found, foundAfter: found })) {
      log.warn(MENDED);
      onChange("mended");
      return false;
    }
    nowIs({ ...wanted, found });
    return true;
  };

  const make = async (signal: AbortSignal, onWritten = () => {}): Promise<void> => {
    // Before the first look, a table would cut off the jobs that run.
    if (target === undefined || seen === undefined) throw new Error("the container engine was not looked at yet");
    const wanted = { text: reachText(input(target)), version: target.reach?.version };
    if (applied?.text === wanted.text) return nowIs({ ...applied, ...wanted });
    if (!(await writeChanges(wanted, signal, onWritten))) await writeWhole(wanted, signal, onWritten);
  };

  /** One after the other: whoever waits finds what was asked for before. */
  const inTurn = (work: (signal: AbortSignal) => Promise<void>): Promise<void> => {
    const done = turn.then(() => work(ended ?? AbortSignal.timeout(EVERY_MS)));
    turn = done.catch(() => undefined);
    return done;
  };
  /** Whoever asked waits for the rules, not for their reading back. */
  const inForce = (): Promise<void> =>
    new Promise<void>((resolve, reject) => {
      inTurn((signal) => make(signal, resolve)).then(resolve, reject);
    }).catch((cause: unknown) => {
      throw new Error("its network rules are not in the kernel yet", { cause });
    });

  const look = async (signal: AbortSignal): Promise<void> => {
    await make(signal);
    await kernel.prepare(signal);
    if (applied === undefined || (await kernel.read(signal)) === applied.found) return;
    log.warn(MENDED);
    await writeWhole(applied, signal);
    onChange("mended");
  };

  return {
    setTarget(next) {
      target = next;
      for (const { id, appId } of next.jobs) appIds.set(id, appId);
      wake.ring();
    },
    see(containers) {
      const found = new Map<string, string>();
      for (const { name, labels, address } of containers) {
        const jobId = labels[LABELS.job] ?? "";
        if (address !== undefined && name === containerName(jobId)) found.set(address, jobId);
      }
      for (const address of found.keys()) admitted.delete(address);
      const named = new Set([...found.values(), ...admitted.values(), ...(target?.jobs ?? []).map(({ id }) => id)]);
      for (const jobId of appIds.keys()) if (!named.has(jobId)) appIds.delete(jobId);
      const before = seen;
      seen = found;
      if (before === undefined || JSON.stringify([...before]) !== JSON.stringify([...found])) wake.ring();
    },
    admit({ jobId, address }) {
      admitted.set(address, jobId);
      return inForce();
    },
    dismiss(address) {
      if (admitted.delete(address)) wake.ring();
    },
    inForce,
    admitBuilds(networks) {
      builds = networks;
      return inForce();
    },
    version: () => applied?.version,
    async run(signal) {
      ended = signal;
      let trouble = "";
      let dueMs = 0;
      while (!signal.aborted) {
        const startedMs = performance.now();
        const isDue = startedMs >= dueMs;
        if (target !== undefined && seen !== undefined)
          await inTurn(isDue ? look : make).then(
            () => {
              if (trouble !== "") log.info("the network rules of jobs are in the kernel");
              trouble = "";
            },
            (error: unknown) => {
              if (!signal.aborted && trouble !== String(error))
                log.error({ err: error }, "the network rules of jobs are not in the kernel; nothing new starts");
              trouble = String(error);
            },
          );
        const nowMs = performance.now();
        if (isDue) dueMs = nowMs + Math.max(everyMs, (nowMs - startedMs) / LOOK_SHARE);
        await wake.wait(Math.max(0, dueMs - nowMs), signal);
      }
    },
  };
}
