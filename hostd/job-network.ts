// The bridge that jobs are on: made for the first job, and made anew when this host is given another subnet, once nothing uses the one
// before. Until then what runs goes on in it, jobs to start wait, and control is told why.
import type { HostTarget } from "#api/host-agents.ts";
import { type BridgeNetwork, type Engine, isNetworkInUse } from "./engine/engine.ts";
import { BRIDGE, NETWORK } from "./job-container.ts";
import { firstAddress } from "./network.ts";
import { singleflight } from "./singleflight.ts";

type OfSubnet = Pick<HostTarget, "subnet">;

export interface JobNetwork {
  /** Resolves once containers can have addresses of the target's subnet; a Fault says what it waits for. */
  ensure(target: OfSubnet, signal: AbortSignal): Promise<void>;
  /** Makes one that is of another subnet anew, if nothing uses it; leaves one that is not there to the first job. */
  renew(target: OfSubnet, signal: AbortSignal): Promise<void>;
  /** Why jobs cannot have addresses of the target's subnet yet. */
  waits(): string | undefined;
}

export interface JobNetworkOptions {
  engine: Pick<Engine, "ensureNetwork" | "networkSubnet">;
  /** What it waits for is something else now. */
  onChange?: () => void;
}

export function jobNetwork({ engine, onChange = () => undefined }: JobNetworkOptions): JobNetwork {
  let waits: string | undefined;
  const noted = (now: string | undefined): void => {
    if (waits === now) return;
    waits = now;
    onChange();
  };
  // Docker looks for a free range and takes it in two steps: asked twice at once, it refuses one with "Pool overlaps".
  let turn: Promise<unknown> = Promise.resolve();
  const once = singleflight((subnet) => {
    const done = turn.then(() => engine.ensureNetwork(bridgeNetwork({ subnet })));
    turn = done.catch(() => undefined);
    return done;
  });
  const ensure: JobNetwork["ensure"] = async ({ subnet }, signal) => {
    try {
      await once(subnet, signal);
      noted(undefined);
    } catch (error) {
      if (isNetworkInUse(error)) noted(error.message);
      throw error;
    }
  };

  return {
    ensure,
    async renew(target, signal) {
      const subnet = await engine.networkSubnet(NETWORK);
      if (subnet === undefined || subnet === target.subnet) return noted(undefined);
      await ensure(target, signal).catch((error: unknown) => {
        if (!isNetworkInUse(error)) throw error;
      });
    },
    waits: () => waits,
  };
}

export function bridgeNetwork({ subnet }: OfSubnet): BridgeNetwork {
  return { name: NETWORK, bridge: BRIDGE, subnet, gateway: firstAddress(subnet) };
}
