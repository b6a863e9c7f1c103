// What one host is told to be: pure, from the store's view.
import type { ProcessType } from "#api/apps.ts";
import type { Artifact } from "#api/artifacts.ts";
import type { BootImage, Profile } from "#api/boot.ts";
import type { BuildSpec } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import type { HostTarget } from "#api/host-agents.ts";
import {
  DEFAULT_HEALTH,
  DEFAULT_LIMITS,
  DEFAULT_STOP_TIMEOUT_MS,
  isOver,
  type Job,
  type JobSpec,
  type Task,
} from "#api/jobs.ts";
import type { Context } from "../context.ts";
import { keys, PREFIX } from "../keys.ts";
import { quarantineOf } from "../quarantine.ts";
import type { ClusterSettings, HostRecord, MachineRecord, ReleaseRecord } from "../records.ts";
import type { Store } from "../store/store.ts";
import { wipeTasksOf } from "../wipes/record.ts";
import { imageOfMachine } from "./boot.ts";
import type { ClusterParts } from "./cluster-parts.ts";

/** What a target holds that others know. */
export interface HostInputs {
  /** A release's variables. */
  envOf(release: ReleaseRecord): Env;
  /** What a job that runs once was given beside them. */
  taskEnvOf(job: Job): Env;
  /** What a command of its own is given to; undefined where that is the image's entrypoint. */
  entrypointOf(processes: ReleaseRecord["processes"], command: readonly string[]): string[] | undefined;
  /** Undefined when the build is over, or not ready for a host. */
  buildOf(job: Job): BuildSpec | undefined;
  stack(): Omit<NonNullable<HostTarget["stack"]>, "prefetch"> | undefined;
}

type Env = Readonly<Record<string, string>>;

/**
 * True when a host is sent the same of both: most of a job's record is what the host itself has reported. Of a build more is read than
 * the job, so a change of it is always one.
 */
export function isSameToHost(before: Job | undefined, after: Job | undefined): boolean {
  if (before === undefined || after === undefined || before.task?.kind === "build") return before === after;
  return (
    before.hostId === after.hostId &&
    isOver(before) === isOver(after) &&
    (before.desired === "stop") === (after.desired === "stop") &&
    before.releaseId === after.releaseId &&
    before.process === after.process &&
    before.app === after.app &&
    (before.task === undefined || (before.startedAt === undefined) === (after.startedAt === undefined))
  );
}

/** Jobs of processes that a host is told, builds left out, by their ids. */
export const jobsToldTo = (hostId: string, jobs: Context["jobs"]): Map<string, Job> =>
  new Map(
    jobs
      .onHost(hostId)
      .filter((job) => !isOver(job) && job.task?.kind !== "build")
      .map((job) => [job.id, job]),
  );

export type TargetContext = Pick<Context, "store" | "jobs" | "registry" | "reaches" | "controlUrls">;

/** `isDue`: of which jobs the specs are made. */
export function hostTargetOf(
  hostId: string,
  { store: newest, jobs, registry, reaches, controlUrls }: TargetContext,
  inputs: HostInputs,
  cluster: Pick<ClusterParts, "peers" | "buildTags">,
  isDue: (job: Job) => boolean = () => true,
): HostTarget {
  const store = newest.durable;
  const host = store.get<HostRecord>(keys.host(hostId))?.value;
  if (host === undefined) throw new Fault("gone", `host ${hostId} was removed from the cluster`);
  const { clusterRange } = store.get<ClusterSettings>(keys.cluster)!.value;
  const live = jobs.onHost(hostId).filter((job) => !isOver(job));
  const specs = live.filter(isDue).map((job) => jobSpec(job, { store, registry, inputs }));
  const builds = live.filter((job) => job.task?.kind === "build").map(inputs.buildOf);
  const quarantine = quarantineOf(newest);
  const stack = inputs.stack();
  const wipes = host.machineId === undefined ? [] : wipeTasksOf(store, host.machineId);
  const mayBuild = Object.entries(cluster.buildTags()).every(([name, value]) => host.tags[name] === value);
  return {
    term: store.term,
    seq: store.durableSeq,
    hostId,
    subnet: host.subnet,
    clusterRange,
    peers: cluster.peers(),
    controlUrls,
    ...(quarantine === undefined ? {} : { quarantine }),
    registry,
    jobs: specs.filter((spec) => spec !== undefined).sort((a, b) => (a.id < b.id ? -1 : 1)),
    builds: builds.filter((spec) => spec !== undefined).sort((a, b) => (a.id < b.id ? -1 : 1)),
    reach: reaches.of(hostId),
    ...(wipes.length > 0 ? { wipes } : {}),
    ...(stack === undefined ? {} : { stack: { ...stack, prefetch: mayBuild } }),
    ...(host.reboot === undefined ? {} : { reboot: host.reboot }),
    ...installOf(store, host),
  };
}

/** What its disk is to boot, where its profile says that it boots from one. */
function installOf(store: Store, { machineId }: HostRecord): Pick<HostTarget, "install"> {
  const machine = machineId === undefined ? undefined : store.get<MachineRecord>(keys.machine(machineId))?.value;
  const profile = machine && store.get<Profile>(keys.profile(machine.profile))?.value;
  if (machine === undefined || profile?.install !== "disk") return {};
  const id = imageOfMachine(store, machine, profile);
  const image = id === undefined ? undefined : store.get<BootImage>(keys.bootImage(id))?.value;
  if (image === undefined) return {};
  const { kernel, initrd, squashfs, cmdline } = image;
  return { install: { id: image.id, kernel, initrd, squashfs, cmdline: [...cmdline, ...profile.cmdline] } };
}

/** Every host whose subnet can be reached: how containers, routers and hosts find one another. */
export function peersOf(store: Store): HostTarget["peers"] {
  return store
    .list<HostRecord>(PREFIX.hosts)
    .flatMap(({ value: { id, subnet, address } }) => (address === undefined ? [] : [{ hostId: id, subnet, address }]));
}

interface SpecContext extends Pick<Context, "store" | "registry"> {
  inputs: HostInputs;
}

function jobSpec(job: Job, context: SpecContext): JobSpec | undefined {
  if (job.task?.kind === "build") return undefined; // sent as a BuildSpec
  const { store, inputs } = context;
  const release = store.get<ReleaseRecord>(keys.release(job.appId, job.releaseId))?.value;
  const artifact =
    release?.artifactId === undefined ? undefined : store.get<Artifact>(keys.artifact(release.artifactId))?.value;
  const process = release?.processes[job.process] ?? (job.task === undefined ? undefined : { port: null });
  if (release === undefined || artifact === undefined || process === undefined) return undefined;
  return {
    id: job.id,
    app: job.app,
    appId: job.appId,
    releaseId: job.releaseId,
    version: job.version,
    process: job.process,
    desired: job.desired === "stop" ? "stop" : "run",
    ...processSpec(release, process, artifact, context),
    ...(job.task === undefined ? {} : taskSpec(job, job.task, release, inputs)),
  };
}

type ProcessSpec = Omit<JobSpec, "id" | "app" | "appId" | "releaseId" | "version" | "process" | "desired">;
/** By the process's object in the release's record: records are frozen, and jobs of one process are told the same. */
const processSpecs = new WeakMap<object, { artifact: Artifact; spec: ProcessSpec }>();

function processSpec(
  release: ReleaseRecord,
  process: ProcessType,
  artifact: Artifact,
  context: SpecContext,
): ProcessSpec {
  const known = processSpecs.get(process);
  if (known?.artifact === artifact) return known.spec;
  const { registry, inputs } = context;
  const spec: ProcessSpec = {
    image: `${registry}/${artifact.repository}@${artifact.digest}`,
    ...(process.command ? { command: process.command } : {}),
    ...(process.entrypoint ? { entrypoint: process.entrypoint } : {}),
    env: inputs.envOf(release),
    ...(process.port === null ? {} : { port: process.port }),
    cpuMillis: process.cpuMillis ?? DEFAULT_LIMITS.cpuMillis,
    memoryBytes: process.memoryBytes ?? DEFAULT_LIMITS.memoryBytes,
    diskBytes: process.diskBytes || DEFAULT_LIMITS.diskBytes,
    pids: process.pids ?? DEFAULT_LIMITS.pids,
    health: process.health ?? (process.port === null ? { ...DEFAULT_HEALTH, type: "none" } : DEFAULT_HEALTH),
    stopTimeoutMs: process.stopTimeoutMs ?? DEFAULT_STOP_TIMEOUT_MS,
  };
  processSpecs.set(process, { artifact, spec });
  return spec;
}

/** What differs for a job that runs once: it serves nothing, and a command of its own is for the image's entrypoint, as in `docker run`. */
function taskSpec(job: Job, task: Task, release: ReleaseRecord, inputs: HostInputs): Partial<JobSpec> {
  const { processes } = release;
  const own = inputs.taskEnvOf(job);
  return {
    task,
    ...(task.command === undefined
      ? {}
      : { command: task.command, entrypoint: inputs.entrypointOf(processes, task.command) }),
    env: { ...inputs.envOf(release), ...own },
    ...(job.startedAt === undefined ? {} : { started: true }),
    port: undefined,
    cpuMillis: job.need.cpuMillis,
    memoryBytes: job.need.memoryBytes,
    health: { ...DEFAULT_HEALTH, type: "none" },
  };
}
