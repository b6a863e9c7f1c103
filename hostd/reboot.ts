// Ends this boot when control orders it, and no other: an order names the boot that it is for, so that the next one has obeyed it already.
// Only what control says now counts, never the copy on disk.
import type { HostTarget } from "#api/host-agents.ts";
import { exec } from "#lib/exec.ts";
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { causeChain } from "#lib/run.ts";
import { sleep } from "#lib/time.ts";

export interface RebootOptions {
  /** The kernel's, of now. */
  bootId: string;
  /** What must be done before, such as writing the image that is to boot; it is tried again when it fails. */
  before?: (signal: AbortSignal) => Promise<void>;
  reboot?: (signal: AbortSignal) => Promise<void>;
  /** Between two tries; on the monotonic clock unless given. */
  wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
  log: Log;
  signal: AbortSignal;
}

const systemd = async (signal: AbortSignal): Promise<void> => {
  await exec(["systemctl", "reboot"], { timeoutMs: 30_000, signal });
};

/** Told each target; begins at most one reboot at a time, and tries one that failed again while the order stands. */
export function rebooter({
  bootId,
  before = async () => undefined,
  reboot = systemd,
  wait = sleep,
  log,
  signal,
}: RebootOptions): (target: HostTarget) => void {
  let ordered: string | undefined;
  let obeying = false;
  const obey = async (): Promise<void> => {
    obeying = true;
    for (let failures = 0; ordered !== undefined && !signal.aborted; ) {
      log.warn({ orderId: ordered }, "reboots as ordered");
      try {
        await before(signal);
        if (ordered === undefined) break; // taken back meanwhile
        await reboot(signal);
        return; // the machine goes down; `obeying` stays, so that it is asked for once
      } catch (error) {
        if (!signal.aborted) log.error({ causes: causeChain(error) }, "reboot failed, it is tried again");
        await wait(backoffMs(++failures, 1_000, 30_000), signal);
      }
    }
    obeying = false;
  };
  return ({ reboot: order }) => {
    ordered = order?.bootId === bootId ? order.orderId : undefined;
    if (ordered !== undefined && !obeying) void obey();
  };
}
