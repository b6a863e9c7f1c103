// Carries out what the target says is to be wiped, one disk at a time, and stops when it says so no more. Each disk that was wiped is
// reported until control has heard it; then what is on all of them is reported anew.
import type { Client } from "#api/client.ts";
import { reportHostDisks } from "#api/disks.ts";
import { isFault } from "#api/fault.ts";
import type { HostTarget } from "#api/host-agents.ts";
import { reportHostWipe, type WipeEvidence, type WipeProgress, type WipeTask } from "#api/wipes.ts";
import { exec } from "#lib/exec.ts";
import type { Log } from "#lib/log.ts";
import { retry } from "#lib/retry.ts";
import { causeChain } from "#lib/run.ts";
import { joined } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import type { Disk } from "../state-disk/disk.ts";
import type { DiskOwner } from "../state-disk/mark.ts";
import { readDisks } from "../state-disk/probe.ts";
import { shownDisks } from "../state-disk/take.ts";
import { findDisk } from "./find.ts";
import { canDiscard } from "./methods.ts";
import { wipeDisk } from "./wipe.ts";

export interface WipesOptions {
  client: Pick<Client, "call">;
  hostId: string;
  owner: () => DiskOwner;
  /** The disks of this machine, unless given. */
  read?: (signal: AbortSignal) => Promise<Disk[]>;
  wipe?: typeof wipeDisk;
  reportEveryMs?: number;
  log: Log;
  signal: AbortSignal;
}

export interface Wipes {
  setTarget(target: Pick<HostTarget, "wipes">): void;
  run(): Promise<void>;
}

type Key = string;
const keyOf = ({ orderId, fingerprint }: WipeTask): Key => `${orderId} ${fingerprint}`;
const RETRY_MS = 30_000;

export function openWipes(options: WipesOptions): Wipes {
  const { client, hostId, owner, wipe = wipeDisk, reportEveryMs = 5_000, log, signal } = options;
  const read = options.read ?? ((until) => readDisks(() => [], until));
  const wake = createWake();
  /** Ended here, or waiting for another boot: not begun again by this run. */
  const over = new Set<Key>();
  let tasks: readonly WipeTask[] = [];
  let running: { key: Key; stop: AbortController } | undefined;

  const report = (
    task: WipeTask,
    state: WipeProgress,
    step: string,
    percent: number,
    { evidence, progress }: { evidence?: WipeEvidence; progress?: string } = {},
  ) =>
    client.call(reportHostWipe, {
      params: { id: hostId },
      body: {
        ...{ orderId: task.orderId, fingerprint: task.fingerprint, state, step: step.slice(0, 400) },
        percent: Math.max(0, Math.min(100, Math.floor(percent))),
        ...(evidence ? { evidence } : {}),
        ...(progress ? { progress: progress.slice(0, 200) } : {}),
      },
      signal,
    });
  /** What must be heard is said until it is. */
  const reportEnd = (...said: Parameters<typeof report>) =>
    retry(() => report(...said), {
      ...{ signal, attempts: Number.POSITIVE_INFINITY, maxMs: RETRY_MS },
      retryable: (error) => !isFault(error, "invalid") && !isFault(error, "not-found"),
    });

  async function one(task: WipeTask): Promise<void> {
    const found = findDisk(await read(signal), task, owner());
    over.add(keyOf(task));
    if (found.do === "wait")
      return void (await reportEnd(task, "waiting", `${found.why}; it is wiped after the machine's next boot`, 0));
    if (found.do === "fail") return void (await reportEnd(task, "failed", found.why, 0));
    const { disk, resumed } = found;
    log.info({ path: disk.path, orderId: task.orderId, resumed }, "wipe begins");
    const stop = new AbortController();
    running = { key: keyOf(task), stop };
    const both = joined(signal, stop.signal);
    const progress = tellingEvery(reportEveryMs, (step, percent, progress) =>
      report(task, "running", step, percent, { progress }),
    );
    try {
      const can = await canDiscard(disk.path);
      // Control knows that it began before the disk does.
      await reportEnd(task, "running", `${disk.path}: begins${resumed ? " again, after it was cut off" : ""}`, 0);
      if (both.signal.aborted) return;
      const evidence = await wipe({
        disk,
        task,
        owner: owner(),
        canDiscard: can,
        onProgress: progress.tell,
        signal: both.signal,
      });
      await progress.end();
      await reportEnd(task, "done", `${disk.path}: wiped and read back`, 100, { evidence });
      log.info({ path: disk.path, evidence }, "disk wiped");
    } catch (error) {
      await progress.end();
      if (signal.aborted) return; // this program ends; the next one goes on
      const why = causeChain(error).join(": ");
      log.error({ err: error, path: disk.path }, "disk not wiped");
      await reportEnd(task, "failed", why, 0);
    } finally {
      both.release();
      running = undefined;
    }
    await forgetPartitions(disk.path);
    const disks = shownDisks(await read(signal), owner());
    await retry(() => client.call(reportHostDisks, { params: { id: hostId }, body: { disks }, signal }), {
      ...{ signal, attempts: Number.POSITIVE_INFINITY, maxMs: RETRY_MS },
      retryable: (error) => !isFault(error, "invalid"),
    });
  }

  /** The kernel still has those of the table that is gone. */
  async function forgetPartitions(path: string): Promise<void> {
    await exec(["blockdev", "--rereadpt", path], { timeoutMs: 30_000, signal }).catch((error: unknown) =>
      log.warn({ err: error, path }, "its partitions are known to the kernel until the next boot"),
    );
  }

  return {
    setTarget({ wipes = [] }) {
      tasks = wipes;
      const wanted = new Set(wipes.map(keyOf));
      if (running !== undefined && !wanted.has(running.key)) running.stop.abort(new Error("the order was taken back"));
      wake.ring();
    },
    async run() {
      while (!signal.aborted) {
        const next = tasks.find((task) => !over.has(keyOf(task)));
        if (next === undefined) {
          await wake.wait(Number.POSITIVE_INFINITY, signal);
          continue;
        }
        await one(next).catch((error: unknown) => {
          if (!signal.aborted) log.error({ err: error }, "an order to wipe came to no end");
        });
      }
    },
  };
}

/** The newest, at most so often and one at a time; a report that does not arrive is followed by the next. */
function tellingEvery(everyMs: number, send: (step: string, percent: number, progress: string) => Promise<unknown>) {
  let sentMs = Number.NEGATIVE_INFINITY;
  let sending: Promise<unknown> | undefined;
  return {
    tell(step: string, percent: number, progress: string): void {
      const nowMs = performance.now();
      if (sending !== undefined || nowMs - sentMs < everyMs) return;
      sentMs = nowMs;
      sending = send(step, percent, progress)
        .catch(() => undefined) // the end is what must be heard
        .finally(() => {
          sending = undefined;
        });
    },
    end: async (): Promise<void> => void (await sending),
  };
}
