// The hosts' target streams. A record wakes the hosts whose own target it changes, and no other; what it changes for all is sent to all,
// a few at a time. Whether there is anything to send is a comparison of numbers: nothing is built, or kept, to find that out.
import type { Profile } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import type { HostTarget } from "#api/host-agents.ts";
import type { Job } from "#api/jobs.ts";
import { isOver, type MachineOrder } from "#api/machine-orders.ts";
import type { StreamEvent } from "#api/stream.ts";
import { sleep } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import type { JobChange } from "../job-index.ts";
import { keys, PREFIX } from "../keys.ts";
import type { HostRecord, MachineRecord } from "../records.ts";
import type { LogRecord } from "../store/log.ts";
import { clusterParts } from "./cluster-parts.ts";
import { type HostInputs, hostTargetOf, isSameToHost, jobsToldTo, type TargetContext } from "./host.ts";
import { type Turns, turns } from "./turns.ts";

export interface HostFeeds {
  /** What follows from a durable record, once the indexes have taken it in; `jobs`: what it changed of them. */
  apply(record: LogRecord, jobs: readonly JobChange[]): void;
  /** As of now, with every host among the peers, this one too. Fault `gone` for a host that was removed. */
  targetOf(hostId: string): HostTarget;
  /** The target now, an event `current`, and the target again at each change. */
  follow(hostId: string, signal: AbortSignal): AsyncGenerator<StreamEvent<HostTarget>>;
  /** The same, of jobs only what has changed since the item before. */
  followChanges(hostId: string, signal: AbortSignal): AsyncGenerator<StreamEvent<TargetChange>>;
}

export interface TargetChange {
  /** With those of its jobs that are new or told otherwise than before; builds are all there. */
  target: HostTarget;
  /** Ids of jobs that were told before and are no more. */
  gone: string[];
}

export interface HostFeedsOptions {
  /** Whose turn it is. */
  queue?: Turns;
  /** Told each time a target is built. */
  onBuild?: (hostId: string) => void;
}

/** Records whose change concerns every host. */
const EVERYWHERE: ReadonlySet<string> = new Set([keys.stack, keys.restored, keys.cluster]);
/** What machines boot: seldom changed. */
const IMAGES = [PREFIX.profiles, keys.currentBootImage("amd64")];
/** Records that a build's spec is read from, all under the app's id. */
const OF_BUILDS = [PREFIX.builds, PREFIX.buildPlans, PREFIX.buildCaches];

export function hostFeeds(
  context: TargetContext,
  inputs: HostInputs,
  { queue = turns(), onBuild }: HostFeedsOptions = {},
): HostFeeds {
  const { store, jobs, reaches } = context;
  const cluster = clusterParts(store);
  /** Of the last record that changed what only this host is told. */
  const ownSeqs = new Map<string, number>();
  const followers = new Map<string, Set<() => void>>();
  let everywhereSeq = store.durableSeq;

  const wake = (hostId: string, everywhere = false): void => {
    for (const turn of followers.get(hostId) ?? []) queue.ask(turn, everywhere);
  };
  const wakeAll = (seq: number): void => {
    everywhereSeq = seq;
    for (const hostId of followers.keys()) wake(hostId, true);
  };
  const touch = (hostId: string | undefined, seq: number): void => {
    if (hostId === undefined) return;
    ownSeqs.set(hostId, seq);
    wake(hostId);
  };
  const hostOf = (machineId: string): string | undefined =>
    store.get<MachineRecord>(keys.machine(machineId))?.value.hostId;
  const buildHosts = function* (appId: string): Generator<string | undefined> {
    for (const { task, hostId } of jobs.ofApp(appId)) if (task?.kind === "build") yield hostId;
  };
  const takeIn = ({ seq, mutations }: LogRecord, changes: readonly JobChange[]): void => {
    for (const { before, after } of changes) {
      if (isSameToHost(before, after)) continue;
      for (const job of [before, after]) touch(job?.hostId, seq);
    }
    for (const { key, value } of mutations) {
      if (key.startsWith(PREFIX.hosts)) {
        const hostId = key.slice(PREFIX.hosts.length);
        const changed = cluster.setHost(hostId, (value as unknown as HostRecord | null) ?? undefined);
        if (changed.own) touch(hostId, seq);
        if (value === null) ownSeqs.delete(hostId);
        if (changed.everywhere) wakeAll(seq);
      } else if (EVERYWHERE.has(key) || IMAGES.some((prefix) => key.startsWith(prefix))) wakeAll(seq);
      else if (key.startsWith(PREFIX.machines)) {
        const machine = value as unknown as MachineRecord | null;
        const profile = machine && store.get<Profile>(keys.profile(machine.profile))?.value;
        // The image that its disk is to boot; nothing else of a machine is told its host.
        if (profile?.install === "disk") touch(machine?.hostId, seq);
      } else if (key.startsWith(PREFIX.machineWipes)) touch(hostOf(key.slice(PREFIX.machineWipes.length)), seq);
      else if (key.startsWith(PREFIX.machineOrders)) {
        const order = value as unknown as MachineOrder | null;
        if (order?.kind === "wipe" && isOver(order)) touch(hostOf(order.machineId), seq);
      } else {
        const prefix = OF_BUILDS.find((each) => key.startsWith(each));
        if (prefix === undefined) continue;
        for (const hostId of buildHosts(key.slice(prefix.length).split("/", 1)[0]!)) touch(hostId, seq);
      }
    }
  };
  const targetOf = (hostId: string, isDue?: (job: Job) => boolean): HostTarget => {
    onBuild?.(hostId);
    return hostTargetOf(hostId, context, inputs, cluster, isDue);
  };
  /** Two equal ones mean that there is nothing new to send. */
  const versionOf = (hostId: string): string => {
    if (store.durable.get(keys.host(hostId)) === undefined)
      throw new Fault("gone", `host ${hostId} was removed from the cluster`);
    return `${ownSeqs.get(hostId) ?? 0} ${everywhereSeq} ${reaches.of(hostId).version}`;
  };

  const each = async function* <T>(
    hostId: string,
    signal: AbortSignal,
    build: () => { seq: number; data: T },
  ): AsyncGenerator<StreamEvent<T>> {
    const due = createWake();
    const turn = due.ring;
    const there = followers.get(hostId) ?? new Set();
    followers.set(hostId, there.add(turn));
    const stopReach = reaches.onChange(hostId, (everywhere) => wake(hostId, everywhere));
    try {
      let sent: string | undefined;
      queue.ask(turn);
      while (!signal.aborted) {
        await due.wait(Number.POSITIVE_INFINITY, signal);
        if (signal.aborted) return;
        const version = versionOf(hostId);
        if (version === sent) continue;
        const { seq, data } = build();
        const id = String(seq);
        yield { event: "item", id, data };
        if (sent === undefined) yield { event: "current", id };
        sent = version;
        await sleep(queue.restMs(), signal);
      }
    } finally {
      stopReach();
      queue.forget(turn);
      there.delete(turn);
      if (there.size === 0 && followers.get(hostId) === there) followers.delete(hostId);
    }
  };

  return {
    apply(record, changes) {
      try {
        takeIn(record, changes);
      } catch (error) {
        wakeAll(record.seq); // whatever was to follow from it does
        throw error;
      }
    },
    targetOf: (hostId) => targetOf(hostId),
    follow: (hostId, signal) =>
      each(hostId, signal, () => {
        const target = targetOf(hostId);
        return { seq: target.seq, data: target };
      }),
    followChanges(hostId, signal) {
      let told: ReadonlyMap<string, Job> = new Map();
      return each(hostId, signal, () => {
        const before = told;
        told = jobsToldTo(hostId, jobs);
        const target = targetOf(hostId, (job) => !isSameToHost(before.get(job.id), job));
        return { seq: target.seq, data: { target, gone: [...before.keys()].filter((id) => !told.has(id)) } };
      });
    },
  };
}
