// Every host's reach with its version, kept from durable records. A version is the seq of the record that changed this host's reach
// last, so a host that enforces version v enforces every change up to v. A record costs the hosts it concerns and no other.
import { isIPv4 } from "node:net";
import type { Job } from "#api/jobs.ts";
import type { Reach } from "#api/reach.ts";
import type { ControlConfig } from "../config.ts";
import type { ExternalServiceRecord } from "../external/service.ts";
import { keys, PREFIX } from "../keys.ts";
import type { BmcRecord } from "../power/bmcs.ts";
import type { HostRecord, MemberRecord, NetworkRuleRecord } from "../records.ts";
import type { LogRecord } from "../store/log.ts";
import type { Store } from "../store/store.ts";
import { clusterReach } from "./platform.ts";
import { type ClusterReach, isSameList, isSameReach, memberOf, type ReachView, reachOf } from "./reach.ts";
import { ruleIndex } from "./rules.ts";

export interface Reaches {
  of(hostId: string): Reach;
  /** Hosts that the app's reach concerns: those that run it, and those of apps that a rule joins it to. */
  hostsOf(appId: string): Set<string>;
  /** Seq of the record that changed the app's addresses last. */
  changedSeq(appId: string): number;
  /** How long its newest version is there, in milliseconds. */
  ageMs(hostId: string): number;
  /** The part that is the same for every host. */
  cluster(): ClusterReach;
  /** Called when this host's reach may have changed; `everywhere` when each host's may have. Returns the way to stop. */
  onChange(hostId: string, listener: (everywhere: boolean) => void): () => void;
  apply(record: LogRecord): void;
}

export interface ReachesOptions {
  store: Store;
  config: ControlConfig;
  controlUrls: readonly string[];
  monotonicMs: () => number;
  /** IPv4 addresses of control's own machine; later ones come by a record. */
  localAddresses?: readonly string[];
}

/** Value of `keys.controlAddresses`. */
export interface ControlAddresses {
  addresses: string[];
}

interface HostReach {
  /** Seq of the last record that may have changed it. */
  seq: number;
  known?: Reach;
  knownSinceMs?: number;
  dirty: boolean;
}

type Member = NonNullable<ReturnType<typeof memberOf>>;

export function reaches({ store, config, controlUrls, monotonicMs, ...options }: ReachesOptions): Reaches {
  const openedSeq = store.durableSeq;
  const rules = ruleIndex(store);
  const members = new Map<string, Member>();
  const byApp = new Map<string, Map<string, Member>>();
  const byHost = new Map<string, Map<string, Member>>();
  const addresses = new Map<string, string[]>();
  const changed = new Map<string, number>();
  /** Apps whose addresses are to be gathered again. */
  const moved = new Set<string>();
  const hosts = new Map<string, HostReach>();
  const listeners = new Map<string, Set<(everywhere: boolean) => void>>();

  let localAddresses = options.localAddresses ?? [];
  /** Every address of each host's machine. */
  const machines = new Map<string, string[]>();
  /** Whether they are other ones now. */
  const setMachine = (hostId: string, host: HostRecord | undefined): boolean => {
    const before = machines.get(hostId) ?? NO_ADDRESSES;
    const after = host === undefined ? [] : [...(host.address ? [host.address] : []), ...(host.addresses ?? [])];
    if (after.length === 0) machines.delete(hostId);
    else machines.set(hostId, after);
    return !isSameList(before, after);
  };
  for (const { value } of store.list<HostRecord>(PREFIX.hosts)) setMachine(value.id, value);
  /** Addresses of BMCs: no job reaches one, whoever may reach the network that they are in. */
  const bmcs = new Map(store.list<BmcRecord>(PREFIX.machineBmcs).map(({ key, value }) => [key, bmcAddress(value)]));
  const cluster = () =>
    clusterReach({
      config,
      controlUrls,
      routers: store.list<MemberRecord>(PREFIX.routers).map(({ value }) => value),
      machines: [...localAddresses, ...[...machines.values()].flat(), ...[...bmcs.values()].flat()],
    });
  const externals = new Map(
    store.list<ExternalServiceRecord>(PREFIX.externalServices).map(({ value }) => [value.id, value]),
  );
  const externalNames = new Map([...externals.values()].map(({ id, name }) => [name, id]));
  /** The ids that a record's change is about: of what was there before, and of what is there now. */
  const putExternal = (name: string, service: ExternalServiceRecord | undefined): string[] => {
    const before = externalNames.get(name);
    if (before !== undefined) externals.delete(before);
    if (service === undefined) externalNames.delete(name);
    else {
      externalNames.set(name, service.id);
      externals.set(service.id, service);
    }
    return [...(before === undefined ? [] : [before]), ...(service === undefined ? [] : [service.id])];
  };
  const view: ReachView = {
    cluster: cluster(),
    reachableFrom: rules.reachableFrom,
    reaching: rules.reaching,
    outsideOf: (appId) =>
      [...rules.outside(appId)].sort().flatMap((id) => {
        const service = externals.get(id);
        return service === undefined ? [] : [{ address: service.address, port: service.port }];
      }),
    appsOn: (hostId) => new Set([...(byHost.get(hostId)?.values() ?? [])].map(({ appId }) => appId)),
    addressesOf(appId) {
      const known = addresses.get(appId) ?? NO_ADDRESSES;
      if (!moved.delete(appId)) return known;
      const list = [...(byApp.get(appId)?.values() ?? [])].flatMap(({ address }) => address ?? []).sort();
      if (isSameList(list, known)) return known;
      if (list.length === 0) addresses.delete(appId);
      else addresses.set(appId, list);
      return addresses.get(appId) ?? NO_ADDRESSES;
    },
  };

  const setMember = (jobId: string, member: Member | undefined) => {
    const before = members.get(jobId);
    if (before !== undefined) {
      members.delete(jobId);
      takeOut(byApp, before.appId, jobId);
      takeOut(byHost, before.hostId, jobId);
    }
    if (member === undefined) return;
    members.set(jobId, member);
    putIn(byApp, member.appId, jobId, member);
    putIn(byHost, member.hostId, jobId, member);
  };
  for (const { value } of store.list<Job>(PREFIX.jobs)) setMember(value.id, memberOf(value));
  for (const appId of byApp.keys()) moved.add(appId);

  const touch = (hostId: string, seq: number) => {
    const host = hosts.get(hostId);
    if (host === undefined) hosts.set(hostId, { seq, dirty: true });
    else {
      host.seq = seq;
      host.dirty = true;
    }
  };
  /** Hosts that run the app, or one that may reach it or that it may reach. */
  const hostsOf = function* (appId: string): Generator<string> {
    for (const id of [appId, ...rules.reachableFrom(appId), ...rules.reaching(appId)])
      for (const { hostId } of byApp.get(id)?.values() ?? []) yield hostId;
  };

  const refreshed = (hostId: string): Required<HostReach> => {
    const host: HostReach = hosts.get(hostId) ?? { seq: openedSeq, dirty: true };
    hosts.set(hostId, host);
    if (host.dirty) {
      host.dirty = false;
      const next = reachOf(hostId, view);
      if (host.known === undefined || !isSameReach(host.known, next)) {
        host.known = { version: host.seq, ...next };
        host.knownSinceMs = monotonicMs();
      }
    }
    return host as Required<HostReach>;
  };

  return {
    of: (hostId) => refreshed(hostId).known,
    hostsOf: (appId) => new Set(hostsOf(appId)),
    changedSeq: (appId) => changed.get(appId) ?? openedSeq,
    ageMs: (hostId) => monotonicMs() - refreshed(hostId).knownSinceMs,
    cluster: () => view.cluster,
    onChange(hostId, listener) {
      const there = listeners.get(hostId) ?? new Set();
      listeners.set(hostId, there.add(listener));
      return () => {
        there.delete(listener);
        if (there.size === 0 && listeners.get(hostId) === there) listeners.delete(hostId);
      };
    },
    apply({ seq, mutations }) {
      const touched = new Set<string>();
      const touchApp = (appId: string) => {
        for (const hostId of hostsOf(appId)) touched.add(hostId);
      };
      let platformChanged = false;
      for (const { key, value } of mutations) {
        if (key.startsWith(PREFIX.jobs)) {
          const jobId = key.slice(key.lastIndexOf("/") + 1);
          const before = members.get(jobId);
          const after = value === null ? undefined : memberOf(value as unknown as Job);
          if (isSameMember(before, after)) continue;
          setMember(jobId, after);
          // One without an address adds its app to its own host, and nothing anywhere else.
          const isAddressed =
            before?.address !== after?.address || (before && after ? before.appId !== after.appId : false);
          for (const member of [before, after]) {
            if (member === undefined) continue;
            touched.add(member.hostId);
            if (!isAddressed && byApp.has(member.appId)) continue;
            if (byApp.has(member.appId)) {
              moved.add(member.appId);
              changed.set(member.appId, seq);
            } else {
              changed.delete(member.appId);
              moved.delete(member.appId);
              addresses.delete(member.appId);
            }
            touchApp(member.appId);
          }
        } else if (key.startsWith(PREFIX.networkRules)) {
          const id = key.slice(PREFIX.networkRules.length);
          const about = rules.put(id, (value as unknown as NetworkRuleRecord | null) ?? undefined);
          for (const appId of about) touchApp(appId);
        } else if (key.startsWith(PREFIX.externalServices)) {
          const name = key.slice(PREFIX.externalServices.length);
          for (const id of putExternal(name, (value as unknown as ExternalServiceRecord | null) ?? undefined))
            for (const appId of rules.reachingOutside(id)) touchApp(appId);
        } else if (key.startsWith(PREFIX.machineBmcs)) {
          if (value === null) bmcs.delete(key);
          else bmcs.set(key, bmcAddress(value as unknown as BmcRecord));
          platformChanged = true;
        } else if (key.startsWith(PREFIX.routers)) platformChanged = true;
        else if (key === keys.controlAddresses) {
          localAddresses = (value as unknown as ControlAddresses | null)?.addresses ?? [];
          platformChanged = true;
        } else if (key.startsWith(PREFIX.hosts)) {
          const hostId = key.slice(PREFIX.hosts.length);
          if (setMachine(hostId, (value as unknown as HostRecord | null) ?? undefined)) platformChanged = true;
          if (value === null) hosts.delete(hostId);
          else if (!hosts.has(hostId)) touch(hostId, seq); // one that joins again begins after what it had
        }
      }
      const next = platformChanged ? cluster() : view.cluster;
      const everywhere = new Set<string>();
      if (next !== view.cluster && !isSameCluster(next, view.cluster)) {
        view.cluster = next;
        for (const each of [hosts, listeners, byHost])
          for (const hostId of each.keys()) if (!touched.has(hostId)) everywhere.add(hostId);
      }
      for (const which of [touched, everywhere]) for (const hostId of which) touch(hostId, seq);
      for (const which of [touched, everywhere])
        for (const hostId of which) for (const listener of listeners.get(hostId) ?? []) listener(which === everywhere);
    },
  };
}

const NO_ADDRESSES: string[] = [];

/** One that is named and not numbered is closed by `--closed-networks` alone. */
const bmcAddress = ({ address }: BmcRecord): string[] => {
  const host = address?.replace(/:\d+$/, "") ?? "";
  return isIPv4(host) ? [host] : [];
};

function isSameCluster(a: ClusterReach, b: ClusterReach): boolean {
  return (
    isSameList(a.closed, b.closed) && JSON.stringify({ ...a, closed: [] }) === JSON.stringify({ ...b, closed: [] })
  );
}

const isSameMember = (a: Member | undefined, b: Member | undefined): boolean =>
  a === b || (a?.appId === b?.appId && a?.hostId === b?.hostId && a?.address === b?.address);

function putIn(groups: Map<string, Map<string, Member>>, group: string, jobId: string, member: Member): void {
  const there = groups.get(group) ?? new Map<string, Member>();
  groups.set(group, there.set(jobId, member));
}

function takeOut(groups: Map<string, Map<string, Member>>, group: string, jobId: string): void {
  const there = groups.get(group);
  there?.delete(jobId);
  if (there?.size === 0) groups.delete(group);
}
