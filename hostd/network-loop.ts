// Keeps the kernel's routes and rules for the cluster's network, and the addresses that lead to control, which jobs may reach.
import type { HostTarget } from "#api/hosts.ts";
import type { Log } from "#lib/log.ts";
import { addressesOf } from "./control-addresses.ts";
import { BRIDGE } from "./job-container.ts";
import { applyNetwork } from "./network-apply.ts";
import { createWake } from "./wake.ts";

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
  log: Log;
}

export async function networkLoop(options: NetworkLoopOptions): Promise<NetworkLoop> {
  const { isManaged, controlUrls, target, healthy, log } = options;
  const allowedAddresses = [...options.allowedAddresses];
  const wake = createWake();
  let addresses = await addressesOf(controlUrls(), allowedAddresses);
  let last = "";
  const turn = async (signal: AbortSignal): Promise<void> => {
    const current = target();
    addresses = await addressesOf(controlUrls(), allowedAddresses, addresses);
    if (current === undefined || !healthy()) return;
    await applyNetwork({ target: current, bridge: BRIDGE, allowedAddresses: addresses }, signal).then(
      () => {
        last = "";
      },
      (error: unknown) => {
        if (!signal.aborted && last !== String(error)) log.warn({ err: error }, "network not as it should be");
        last = String(error);
      },
    );
  };
  return {
    clusterAddresses: () => addresses,
    ring: wake.ring,
    async run(signal) {
      while (isManaged && !signal.aborted) {
        await turn(signal);
        await wake.wait(last === "" ? EVERY_MS : AGAIN_MS, signal);
      }
    },
  };
}
