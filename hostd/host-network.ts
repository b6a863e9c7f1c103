// The network of a host's containers: the bridges and routes, who may reach whom, and the name servers that containers are given.
import type { HostTarget } from "#api/host-agents.ts";
import type { Log } from "#lib/log.ts";
import { BRIDGES } from "./builds/engine.ts";
import type { HostdConfig } from "./config.ts";
import { type ContainerDns, containerDns } from "./dns.ts";
import type { Engine } from "./engine/engine.ts";
import { BRIDGE } from "./job-container.ts";
import { type JobNetwork, jobNetwork } from "./job-network.ts";
import { type NetworkLoop, networkLoop } from "./network-loop.ts";
import { reachKernel } from "./reach/kernel.ts";
import { keepReach, type ReachKeeper, unkeptReach } from "./reach/reach.ts";

export interface HostNetwork {
  dns: ContainerDns;
  /** Docker's network of jobs. */
  jobs: JobNetwork;
  /** The kernel's routes and addresses. */
  routes: NetworkLoop;
  reach: ReachKeeper;
  run(signal: AbortSignal): Promise<void>;
}

export interface HostNetworkOptions {
  config: HostdConfig;
  engine: Engine;
  healthy: () => boolean;
  target: () => HostTarget | undefined;
  controlUrls: () => readonly string[];
  /** Something that control wants to know has changed. */
  onChange: () => void;
  log: Log;
}

/** Bridges of jobs and of builds: their addresses are this machine's alone. */
export const OWN_BRIDGES: readonly string[] = [BRIDGE, ...Object.values(BRIDGES)];

export async function hostNetwork(options: HostNetworkOptions): Promise<HostNetwork> {
  const { config, engine, healthy, target, controlUrls, onChange, log } = options;
  const { manageNetwork: isManaged, allowedAddresses } = config;
  const dns = containerDns(config.dns);
  const jobs = jobNetwork({ engine, onChange });
  const routes = await networkLoop({ isManaged, allowedAddresses, healthy, log, controlUrls, target, jobs });
  const reach = isManaged
    ? keepReach({
        kernel: reachKernel([...OWN_BRIDGES]),
        jobBridge: BRIDGE,
        buildBridges: Object.values(BRIDGES),
        clusterAddresses: routes.clusterAddresses,
        dns: dns.open,
        onChange(what) {
          if (what === "version") onChange();
          else routes.ring();
        },
        log,
      })
    : unkeptReach;
  const run = async (signal: AbortSignal) => void (await Promise.all([routes.run(signal), reach.run(signal)]));
  return { dns, jobs, routes, reach, run };
}
