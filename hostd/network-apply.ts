// Brings the kernel in line with the network rule through `ip` and `iptables`; repeated in a slow loop, since a reboot, a link
// that went down and a fresh dockerd all lose parts of it.
import { writeFile } from "node:fs/promises";
import { exec } from "#lib/exec.ts";
import { LIST_ROUTES, parseKernelRoutes, routeCommands } from "#lib/ip-routes.ts";
import { chainText, jumpCommands, type NetworkInput, otherPeers } from "./network.ts";

const TIMEOUT_MS = 10_000;
const FORWARDING = "/proc/sys/net/ipv4/ip_forward";

export async function applyNetwork(input: NetworkInput, signal: AbortSignal): Promise<void> {
  const run = (argv: readonly string[], stdin?: string) => exec(argv, { timeoutMs: TIMEOUT_MS, signal, input: stdin });
  await writeFile(FORWARDING, "1").catch((cause: unknown) => {
    throw new Error("switch on IPv4 forwarding", { cause });
  });
  const { target } = input;
  const current = parseKernelRoutes((await run(LIST_ROUTES)).stdout);
  const commands = routeCommands({
    peers: otherPeers(target),
    current,
    localAddresses: [],
    clusterRange: target.clusterRange,
  });
  const failures: unknown[] = [];
  for (const argv of commands) {
    // One unreachable peer must not keep the others from their routes.
    await run(argv).catch((error: unknown) => failures.push(error));
  }
  await run(["iptables-restore", "--wait", "5", "--noflush"], chainText(input));
  for (const { check, add } of jumpCommands()) await run(check).catch(() => run(add));
  if (failures.length > 0) throw failures[0];
}
