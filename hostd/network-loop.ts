// Keeps the kernel's routes and rules for the cluster's network and the bridge of this host's part of it, and the addresses that lead
// to control, which jobs may reach.
import type { HostTarget } from "#api/host-agents.ts";
import type { Log } from "#lib/log.ts";
import { createWake } from "#lib/wake.ts";
import { addressesOf } from "./control-addresses.ts";
import { BRIDGE } from "./job-container.ts";
import type { JobNetwork } from "./job-network.ts";
import { applyNetwork } from "./network-apply.ts";

const EVERY_MS = 30_000;
const AGAIN_MS = 2_000;

export interface NetworkLoop {
  /** Addresses of the cluster's own parts, as they were looked up last. */
  clusterAddresses(): string[];
  /** Look now. */
  ring(): void;
  run(signal: AbortSignal): Promise<void>;
}

export interface NetworkLoopOptions {
  /** False: nothing is done. */
  isManaged: boolean;
  controlUrls: () => readonly string[];
  allowedAddresses: readonly string[];
  target: () => HostTarget | undefined;
  healthy: () => boolean;
  jobs: Pick<JobNetwork, "renew" | "waits">;
  log: Log;
}

export async function networkLoop(options: NetworkLoopOptions): Promise<NetworkLoop> {
  const { isManaged, controlUrls, target, healthy, jobs, log } = options;
  const allowedAddresses = [...options.allowedAddresses];
  const wake = createWake();
  let addresses = await addressesOf(controlUrls(), allowedAddresses);
  let last = "";
  const turn = async (signal: AbortSignal): Promise<void> => {
    const current = target();
    addresses = await addressesOf(controlUrls(), allowedAddresses, addresses);
    if (current === undefined || !healthy()) return;
    const waited = jobs.waits();
    const done = await Promise.allSettled([
      jobs.renew(current, signal),
      applyNetwork({ target: current, bridge: BRIDGE, allowedAddresses: addresses }, signal),
    ]);
    const failure = done.find((each) => each.status === "rejected")?.reason as unknown;
    if (failure !== undefined && !signal.aborted && last !== String(failure))
      log.warn({ err: failure }, "network not as it should be");
    last = failure === undefined ? "" : String(failure);
    const waits = jobs.waits();
    if (waits !== undefined && waits !== waited) log.warn({ waits }, "the jobs' network waits for its new subnet");
    if (waits === undefined && waited !== undefined) log.info({ subnet: current.subnet }, "jobs have their new subnet");
  };
  return {
    clusterAddresses: () => addresses,
    ring: wake.ring,
    async run(signal) {
      while (isManaged && !signal.aborted) {
        await turn(signal);
        await wake.wait(last === "" && jobs.waits() === undefined ? EVERY_MS : AGAIN_MS, signal);
      }
    },
  };
}
