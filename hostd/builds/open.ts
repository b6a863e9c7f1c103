// Wires this host's builds: Docker's side, the network they run in, and the disk they share.
import type { HostdConfig } from "../config.ts";
import type { ReachKeeper } from "../reach/reach.ts";
import { type Builds, type BuildsOptions, createBuilds } from "./builds.ts";
import { diskFloor } from "./disk-floor.ts";
import type { BuildEngine } from "./engine.ts";
import { freeBytes, treeBytes } from "./watch.ts";

export interface OpenBuilds
  extends Omit<BuildsOptions, "stateDir" | "prepareNetwork" | "treeBytes" | "freeBytes" | "floor" | "engine"> {
  config: Pick<HostdConfig, "stateDir">;
  engine: BuildEngine;
  reach: Pick<ReachKeeper, "admitBuilds">;
}

export function openBuilds({ config, engine, reach, ...options }: OpenBuilds): Builds {
  const { stateDir } = config;
  // One after the other: of two networks made at once, Docker keeps both and refuses one its bridge.
  let turn: Promise<unknown> = Promise.resolve();
  const prepareNetwork = (signal: AbortSignal): Promise<void> => {
    const prepared = turn.then(() => prepare(signal));
    turn = prepared.catch(() => undefined);
    return prepared;
  };
  const prepare = async (signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted();
    await reach.admitBuilds(await engine.ensureNetworks());
  };
  return createBuilds({
    ...options,
    stateDir,
    engine,
    prepareNetwork,
    treeBytes,
    freeBytes: () => freeBytes(stateDir),
    floor: diskFloor(),
  });
}
