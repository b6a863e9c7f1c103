// The containers' bridge network: made once, verified after, made anew when this host was given another subnet.
import type Docker from "dockerode";
import { Fault } from "#api/fault.ts";
import { networkBody } from "./docker-body.ts";
import type { BridgeNetwork } from "./engine.ts";

type Call = <T>(what: string, work: (abortSignal: AbortSignal) => Promise<T>) => Promise<T>;
type WithOptions<T> = (options: { abortSignal: AbortSignal }) => Promise<T>;

export async function ensureNetwork(docker: Docker, wanted: BridgeNetwork, call: Call): Promise<void> {
  const network = docker.getNetwork(wanted.name);
  // Its types lack the options that the code takes.
  const inspect = network.inspect.bind(network) as WithOptions<Docker.NetworkInspectInfo>;
  const remove = network.remove.bind(network) as WithOptions<unknown>;
  const existing = await call("inspect network", (abortSignal) => inspect({ abortSignal })).catch((error: unknown) => {
    if (error instanceof Fault && error.code === "not-found") return undefined;
    throw error;
  });
  if (existing) {
    const subnet = existing.IPAM?.Config?.[0]?.Subnet;
    if (subnet === wanted.subnet) return;
    if (Object.keys(existing.Containers ?? {}).length > 0)
      throw new Fault(
        "conflict",
        `network ${wanted.name} still has containers in ${subnet}; ${wanted.subnet} waits for their end`,
      );
    await call("remove network", (abortSignal) => remove({ abortSignal }));
  }
  await call("create network", (abortSignal) =>
    docker.createNetwork({ ...networkBody(wanted), abortSignal } as unknown as Docker.NetworkCreateOptions),
  );
}
