// The port to what a build needs of the container engine beside running jobs: containers that are fed and read as archives,
// Docker's own build, images as archives, volumes for caches. Refusals arrive as a Fault, as those of the job engine.
import type { Readable } from "node:stream";

export interface BuildEngine {
  /** The builds' networks, made when they are not there. Answers where they are. */
  ensureNetworks(): Promise<BuildNetwork[]>;
  inspectImage(ref: string): Promise<ImageFacts | undefined>;
  tagImage(ref: string, repository: string, tag?: string): Promise<void>;
  createContainer(spec: BuildContainer): Promise<void>;
  /** Unpacks a tar archive at the container's root. */
  put(name: string, archive: Readable, signal: AbortSignal): Promise<void>;
  /** A path of the container as tar archive; `not-found` when there is none. */
  get(name: string, path: string, signal: AbortSignal): Promise<Readable>;
  state(name: string): Promise<BuildContainerState | undefined>;
  /** Bytes the container has written to its own file system. */
  writtenBytes(name: string): Promise<number>;
  /** Containers of Docker's own build steps, and what they have written. */
  buildSteps(): Promise<{ id: string }[]>;
  /** Limits a build step's processes; any other container is left alone. */
  limitPids(step: string, pids: number): Promise<void>;
  /** Docker's build: its messages as they come. Ends the build when the signal aborts. */
  build(options: DockerBuild, context: Readable, signal: AbortSignal): AsyncIterable<BuildMessage>;
  /** One item per container killed for memory: its id. */
  outOfMemory(signal: AbortSignal): AsyncIterable<string>;
  /** As `docker load`: the archive's images, under the names it gives them. */
  loadImage(archive: Readable, signal: AbortSignal): Promise<void>;
  /** As `docker save`. */
  saveImage(ref: string, signal: AbortSignal): Promise<Readable>;
  /** As `docker push`, under a name it has: what the registry has is not sent. Fault `forbidden` for what the registry refuses. */
  pushImage(repository: string, tag: string, signal: AbortSignal): Promise<void>;
  /** `keepParents`: the images it was made from stay as cache. */
  removeImage(ref: string, options: { keepParents: boolean }): Promise<void>;
  /** Images here, those a build left in between too. */
  images(): Promise<LabelledImage[]>;
  /** Names of containers with the label. */
  containers(label: string): Promise<{ name: string; labels: Readonly<Record<string, string>> }[]>;
  ensureVolume(name: string, labels: Record<string, string>): Promise<void>;
  /** Volumes with the label. */
  volumes(label: string): Promise<CacheVolume[]>;
  removeVolume(name: string): Promise<void>;
}

export interface ImageFacts {
  id: string;
  user: string;
  env: Readonly<Record<string, string>>;
  labels: Readonly<Record<string, string>>;
  onBuild: string[];
  sizeBytes: number;
}

export interface BuildContainer {
  name: string;
  image: string;
  /** Undefined: the image's own. */
  user?: string;
  labels: Record<string, string>;
  command: string[];
  volumes: readonly VolumeMount[];
  /** Beside the image's own. */
  env?: Readonly<Record<string, string>>;
  /** `none`: it reaches nothing at all. Undefined: the builds' network. */
  network?: "none";
  dns: string[];
  limits: BuildShare;
}

export interface VolumeMount {
  volume: string;
  path: string;
}

/** What a build may take of its host: ceilings, and a small weight, so that apps win. */
export interface BuildShare {
  cpuMillis: number;
  memoryBytes: number;
  pids: number;
}

export interface BuildContainerState {
  running: boolean;
  exitCode: number;
  oomKilled: boolean;
  /** What the engine says of a failed start. */
  error: string;
}

export interface DockerBuild {
  dockerfile: string;
  target?: string;
  args: Record<string, string>;
  labels: Record<string, string>;
  limits: BuildShare;
}

/** A record of Docker's build output, as far as it is read. */
export interface BuildMessage {
  stream?: string;
  status?: string;
  error?: string;
  errorDetail?: { code?: number; message?: string };
  aux?: { ID?: string };
}

export interface LabelledImage {
  id: string;
  parentId: string;
  /** Tags and digests it is known by: one with any is no build's leftover, whatever its labels say. */
  refs: string[];
  labels: Readonly<Record<string, string>>;
  sizeBytes: number;
  createdAtMs: number;
}

export interface CacheVolume {
  name: string;
  labels: Readonly<Record<string, string>>;
  /** Its directory on the host. */
  path: string;
}

export interface BuildNetwork {
  bridge: string;
  subnet: string;
}

/** Of containers of our making, which hold no capability. */
export const BUILD_NETWORK = "flynn-build";
/** Of Docker's own build steps: they hold CAP_NET_RAW and could take another's place on a bridge, so they have one to themselves. */
export const STEP_NETWORK = "flynn-build-step";
export const BRIDGES: Readonly<Record<string, string>> = { [BUILD_NETWORK]: "flynnb0", [STEP_NETWORK]: "flynnb1" };
export const BUILD_LABELS = {
  /** Id of the build a container or image belongs to. */
  build: "flynn.build",
  app: "flynn.app",
  appId: "flynn.app-id",
  /** Cache key of a volume or of an image in between. */
  cache: "flynn.cache",
} as const;
