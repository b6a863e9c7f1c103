// What each kind of build is given to work with, and what it hands back.
import type { BuildResult, BuildSpec } from "#api/builds.ts";
import type { Client } from "#api/client.ts";
import type { HostTarget } from "#api/host-agents.ts";
import type { Log } from "#lib/log.ts";
import type { Engine } from "../engine/engine.ts";
import type { DiskFloor } from "./disk-floor.ts";
import type { BuildEngine } from "./engine.ts";

export interface BuildParts {
  jobEngine: Pick<Engine, "pull" | "start" | "signal" | "remove" | "log">;
  engine: BuildEngine;
  client: Pick<Client, "call" | "download">;
  hostId: string;
  log: Log;
  /** Name servers of the build's container. */
  dns: string[];
  /** Bytes of a directory tree on this host. */
  treeBytes: (path: string) => Promise<number>;
  /** Bytes free where the engine keeps its files. */
  freeBytes: () => Promise<number>;
  /** Control's addresses and others of the cluster, which nothing is fetched from. */
  clusterAddresses: () => readonly string[];
  /** Where registries' own CAs are, as Docker is given them. */
  certsDir?: string;
  /** Who ends when the host runs short. */
  floor: DiskFloor;
}

export interface BuildRun {
  parts: BuildParts;
  target: HostTarget;
  build: BuildSpec;
  sourceFile: string;
  /** One line of output. */
  say: (line: string) => void;
  /** What it is at, for the job's reason. `up`: the build proper runs. */
  onProgress: (state: "starting" | "up", reason: string) => void;
  /** Aborts with a BuildFailure when the build is to end. */
  signal: AbortSignal;
  /** Ends the build: beyond a limit. */
  fail: (failure: Error) => void;
}

export type RunBuild = (run: BuildRun) => Promise<BuildResult>;

const CONTAINER_PREFIX = "flynn-build-";
export const containerName = (buildId: string): string => `${CONTAINER_PREFIX}${buildId}`;
/** By its name: labels come with the images people build, and their apps' containers have them too. */
export const isBuildContainer = (name: string): boolean => name.startsWith(CONTAINER_PREFIX);
/** True of the build's container, its phases' and its volumes, by their names. */
export const isOfBuild = (name: string, buildId: string): boolean =>
  name === containerName(buildId) || name.startsWith(`${containerName(buildId)}-`);
