// The images a Dockerfile is made from: fetched by hostd before the build, from where builds may fetch, and held to the same rule
// as the Dockerfile in what they have Docker run.
import { lookup } from "node:dns/promises";
import { BlockList, isIPv4 } from "node:net";
import type { HostTarget } from "#api/hosts.ts";
import { checkTrigger, type DockerfilePlan } from "./dockerfile-plan.ts";
import { DockerfileError } from "./dockerfile-syntax.ts";
import { BuildFailure } from "./failure.ts";
import { DEFAULT_DOMAIN, formatReference, type ImageReference } from "./image-reference.ts";
import type { BuildRun } from "./run.ts";

const STACK_IMAGES = ["flynn/builder", "flynn/runner"] as const;

export const stackImage = ({ domain, path }: ImageReference): "builder" | "runner" | undefined =>
  domain === DEFAULT_DOMAIN && STACK_IMAGES.some((name) => name === path)
    ? (path.slice("flynn/".length) as "builder" | "runner")
    : undefined;

/** Why images of this registry are not for builds; undefined: they are. `addresses` is what its name stands for. */
export function refuseRegistry(
  domain: string,
  addresses: readonly string[],
  { registry, clusterRange, peers }: Pick<HostTarget, "registry" | "clusterRange" | "peers">,
): string | undefined {
  const host = domain.replace(/:\d+$/, "").toLowerCase();
  const own = registry.replace(/:\d+$/, "").toLowerCase();
  if (host === own) return "the cluster's own registry is closed to builds";
  const closed = new BlockList();
  for (const range of [clusterRange, "127.0.0.0/8", "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"]) {
    const [base = "", bits] = range.split("/");
    closed.addSubnet(base, Number(bits));
  }
  for (const address of [own, ...peers.map((peer) => peer.address)]) if (isIPv4(address)) closed.addAddress(address);
  const bad = addresses.find((address) => !isIPv4(address) || closed.check(address));
  if (host === "localhost" || bad !== undefined)
    return `registry ${domain} is inside the cluster, which is closed to builds`;
  return undefined;
}

export async function fetchBaseImages({ images }: DockerfilePlan, run: BuildRun): Promise<void> {
  const { parts, target, signal, onProgress } = run;
  for (const { reference, line } of images) {
    const name = formatReference(reference);
    const of = stackImage(reference);
    onProgress("starting", `pulling ${name}`);
    if (of !== undefined) {
      const image = target.stack?.[of];
      if (image === undefined)
        throw new BuildFailure(`line ${line}: the cluster has no stack yet: run \`flynn stack build\``);
      await parts.jobEngine.pull(image, signal);
      await parts.engine.tagImage(image, `flynn/${of}`);
    } else {
      const addresses = await addressesOf(reference.domain.replace(/:\d+$/, ""));
      const refusal = refuseRegistry(reference.domain, addresses, target);
      if (refusal !== undefined) throw new BuildFailure(`line ${line}: FROM ${name}: ${refusal}`);
      await parts.jobEngine.pull(name, signal).catch((cause: unknown) => {
        signal.throwIfAborted();
        throw new BuildFailure(`line ${line}: image ${name} could not be pulled: ${(cause as Error).message}`, {
          cause,
        });
      });
    }
    const facts = await parts.engine.inspectImage(of === undefined ? name : `flynn/${of}:latest`);
    for (const trigger of facts?.onBuild ?? [])
      try {
        checkTrigger(trigger);
      } catch (error) {
        if (!(error instanceof DockerfileError)) throw error;
        throw new BuildFailure(`line ${line}: image ${name} brings a step with it that is refused: ${error.message}`);
      }
  }
}

/** A name that stands for nothing fails at the pull, in the pull's words. */
async function addressesOf(host: string): Promise<string[]> {
  if (isIPv4(host)) return [host];
  const found = await lookup(host, { all: true, family: 4 }).catch(() => []);
  return found.map(({ address }) => address);
}
