// Wires this host's builds: Docker's side, the network they run in, and the disk they share.
import { lookup } from "node:dns/promises";
import { isIPv4 } from "node:net";
import type { HostTarget } from "#api/hosts.ts";
import type { HostdConfig } from "../config.ts";
import { type Builds, type BuildsOptions, createBuilds } from "./builds.ts";
import type { BuildEngine } from "./engine.ts";
import { isolateBuilds } from "./isolate.ts";
import { freeBytes, treeBytes } from "./watch.ts";

export interface OpenBuilds
  extends Omit<BuildsOptions, "stateDir" | "prepareNetwork" | "treeBytes" | "freeBytes" | "engine"> {
  config: Pick<HostdConfig, "stateDir" | "controlUrls" | "allowedAddresses" | "manageNetwork">;
  engine: BuildEngine;
}

export function openBuilds({ config, engine, ...options }: OpenBuilds): Builds {
  const { stateDir, controlUrls, allowedAddresses, manageNetwork } = config;
  // One after the other: of two networks made at once, Docker keeps both and refuses one its bridge.
  let turn: Promise<unknown> = Promise.resolve();
  const prepareNetwork = (target: HostTarget, signal: AbortSignal): Promise<void> => {
    const prepared = turn.then(() => prepare(target, signal));
    turn = prepared.catch(() => undefined);
    return prepared;
  };
  const prepare = async (target: HostTarget, signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted();
    const { subnet } = await engine.ensureNetwork();
    if (!manageNetwork) return;
    const control = await addressesOf(controlUrls.map((url) => new URL(url).hostname));
    const clusterAddresses = [...control, ...allowedAddresses];
    await isolateBuilds({ target, subnet, clusterAddresses, dns: options.dns(target) }, signal);
  };
  return createBuilds({
    ...options,
    stateDir,
    engine,
    prepareNetwork,
    treeBytes,
    freeBytes: () => freeBytes(stateDir),
  });
}

async function addressesOf(hosts: readonly string[]): Promise<string[]> {
  const found = hosts.map(async (host) =>
    isIPv4(host) ? [host] : (await lookup(host, { all: true, family: 4 })).map(({ address }) => address),
  );
  return (await Promise.allSettled(found)).flatMap((one) => (one.status === "fulfilled" ? one.value : []));
}
