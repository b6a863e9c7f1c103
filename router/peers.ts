// Kernel routes from this machine to the subnets of the other hosts, so that HAProxy reaches every job.
import { networkInterfaces } from "node:os";
import type { RouterTarget } from "#api/router-agents.ts";
import { exec } from "#lib/exec.ts";
import { LIST_ROUTES, parseKernelRoutes, routeCommands } from "#lib/ip-routes.ts";

/** Makes the routes equal to the target's peers; resolves with the commands it ran. */
export async function applyPeers({ peers, clusterRange }: RouterTarget, signal: AbortSignal): Promise<string[][]> {
  const { stdout } = await exec(LIST_ROUTES, { timeoutMs: 5_000, signal });
  const localAddresses = Object.values(networkInterfaces()).flatMap((each) =>
    (each ?? []).map(({ address }) => address),
  );
  const commands = routeCommands({ peers, clusterRange, localAddresses, current: parseKernelRoutes(stdout) });
  for (const argv of commands) await exec(argv, { timeoutMs: 5_000, signal });
  return commands;
}
