// The containers' bridge network: made once, verified after, made anew when this host was given another subnet.
import type Docker from "dockerode";
import { Fault } from "#api/fault.ts";
import { networkBody } from "./docker-body.ts";
import { type BridgeNetwork, networkInUse } from "./engine.ts";

type Call = <T>(what: string, work: (abortSignal: AbortSignal) => Promise<T>) => Promise<T>;
type WithOptions<T> = (options: { abortSignal: AbortSignal }) => Promise<T>;

export async function ensureNetwork(docker: Docker, wanted: BridgeNetwork, call: Call): Promise<void> {
  const existing = await findNetwork(docker, wanted.name, call);
  if (existing) {
    const subnet = subnetOf(existing) ?? "no subnet";
    if (subnet === wanted.subnet) return;
    const users = Object.values(existing.Containers ?? {}).map(({ Name: name }) => name);
    if (users.length > 0) throw networkInUse(wanted, { subnet, users });
    const network = docker.getNetwork(wanted.name);
    const remove = network.remove.bind(network) as WithOptions<unknown>;
    await call("remove network", (abortSignal) => remove({ abortSignal }));
  }
  await call("create network", (abortSignal) =>
    docker.createNetwork({ ...networkBody(wanted), abortSignal } as unknown as Docker.NetworkCreateOptions),
  );
}

export async function networkSubnet(docker: Docker, name: string, call: Call): Promise<string | undefined> {
  const existing = await findNetwork(docker, name, call);
  return existing && subnetOf(existing);
}

const subnetOf = ({ IPAM }: Docker.NetworkInspectInfo): string | undefined => IPAM?.Config?.[0]?.Subnet;

async function findNetwork(docker: Docker, name: string, call: Call): Promise<Docker.NetworkInspectInfo | undefined> {
  const network = docker.getNetwork(name);
  // Its types lack the options that the code takes.
  const inspect = network.inspect.bind(network) as WithOptions<Docker.NetworkInspectInfo>;
  return call("inspect network", (abortSignal) => inspect({ abortSignal })).catch((error: unknown) => {
    if (error instanceof Fault && error.code === "not-found") return undefined;
    throw error;
  });
}
