// The port to a container engine: what hostd asks of Docker, and of the fake that tests run on. Every call ends by itself
// within a deadline; what the engine refuses arrives as a Fault (`unavailable`/`timeout`: the engine itself is in trouble).
import { Fault, isFault } from "#api/fault.ts";

export interface Engine {
  /** Version of a live engine; throws when it does not answer. */
  probe(): Promise<EngineFacts>;
  /** Every job's container, running or not: its own name and its label `flynn.job` say the same. */
  list(): Promise<Container[]>;
  /** Makes the image present. Throws Fault `invalid` when it can never run here (architecture). */
  pull(image: string, signal: AbortSignal): Promise<void>;
  /** Creates a container, or finds that the one of this name exists already. */
  create(spec: ContainerSpec): Promise<void>;
  /** Throws what `isAddressTaken` knows when another container has its address. */
  start(name: string): Promise<void>;
  signal(name: string, signalName: SignalName): Promise<void>;
  /** Removes a container, running or not; one that is gone already is no error. */
  remove(name: string): Promise<void>;
  /** The log from `since` on, then what follows; ends when the container has ended and all was read. */
  log(name: string, options: { since?: string; signal: AbortSignal }): AsyncIterable<EngineLogLine>;
  /**
   * An item after changes of any flynn container: a hint to look again, nothing more. An end that was announced is in the next list, or its
   * container is `unanswered` there, and another item comes with the answer.
   */
  changes(signal: AbortSignal): AsyncIterable<void>;
  /** One of another subnet is made anew; while containers are on it, that is refused (`isNetworkInUse`) and it stays as it is. */
  ensureNetwork(network: BridgeNetwork): Promise<void>;
  /** Undefined when there is no such network. */
  networkSubnet(name: string): Promise<string | undefined>;
  /** References of the images here by which containers name them. */
  images(): Promise<ImageRef[]>;
  removeImage(ref: string): Promise<void>;
}

/** `SIGTERM`, as kill(1) lists them. */
export type SignalName = `SIG${string}`;

export interface EngineFacts {
  version: string;
  /** As image manifests spell it: amd64, arm64. */
  architecture: string;
}

export type ContainerStatus = "created" | "running" | "exited" | "removing" | "dead";

export interface Container {
  id: string;
  name: string;
  status: ContainerStatus;
  labels: Readonly<Record<string, string>>;
  image: string;
  address?: string;
  /** Of its first process while it runs, as this machine numbers it. */
  pid?: number;
  /** What the image or the job begins every command with. */
  entrypoint?: readonly string[];
  startedAt?: string;
  exitCode?: number;
  oomKilled?: boolean;
  /** Where it writes on this machine's disk. */
  disk?: ContainerDisk;
  /** The engine lists it and does not answer for it: details are missing, and how it ended may still come (`asked`) or will not (`failed`). */
  unanswered?: "asked" | "failed";
  /** What the engine says of a failed start. */
  error?: string;
}

export interface ContainerDisk {
  /** Directories that are its own: its writable layer, volumes that its image declares, its engine's directory for it. */
  paths: readonly string[];
  /** Its engine's directory for it, one of `paths`: kept output, and the files it sees as /etc/hosts and the like, which it may write. */
  own?: string;
  /** The file system holds its writable layer to its limit. */
  quota: boolean;
}

export interface ContainerSpec {
  name: string;
  image: string;
  labels: Record<string, string>;
  env: Record<string, string>;
  command?: string[];
  entrypoint?: string[];
  hostname: string;
  network: string;
  /** Its own address on that network; the engine's choice when undefined. */
  address?: string;
  /** Of its card; the engine's choice when undefined. */
  macAddress?: string;
  dns: string[];
  memoryBytes: number;
  /** Of its writable layer, where the file system can hold it to that. */
  diskBytes?: number;
  cpuMillis: number;
  pids: number;
  /** Its streams are a client's: stdin stays open, and what is said on them is not kept as a log. */
  interactive?: { tty: boolean };
}

export interface EngineLogLine {
  /** RFC 3339 UTC with microseconds. */
  at: string;
  stream: "stdout" | "stderr";
  line: string;
  /** A piece of a line longer than an entry may be: the next entry of the stream goes on with it. */
  partial?: boolean;
}

export interface BridgeNetwork {
  name: string;
  bridge: string;
  subnet: string;
  gateway: string;
}

export interface ImageRef {
  ref: string;
  sizeBytes: number;
}

export const addressTaken = (what: string, cause?: unknown): Fault =>
  new Fault("conflict", `${what}: its address is in use`, { cause, details: { field: "address" } });

export const networkInUse = (network: BridgeNetwork, { subnet, users }: { subnet: string; users: string[] }): Fault =>
  new Fault(
    "conflict",
    `network ${network.name} has ${subnet} until ${users.slice(0, 3).join(", ")}${users.length > 3 ? ` and ${users.length - 3} more` : ""} ${users.length === 1 ? "has" : "have"} ended; then it gets ${network.subnet}`,
    { details: { field: "network" } },
  );

export const isNetworkInUse = (error: unknown): error is Fault =>
  isFault(error, "conflict") && error.details?.["field"] === "network";

export const isAddressTaken = (error: unknown): boolean =>
  isFault(error, "conflict") && error.details?.["field"] === "address";

export const LABELS = {
  job: "flynn.job",
  app: "flynn.app",
  appId: "flynn.app-id",
  process: "flynn.process",
  host: "flynn.host",
  spec: "flynn.spec",
  attempt: "flynn.attempt",
  attach: "flynn.attach",
} as const;
