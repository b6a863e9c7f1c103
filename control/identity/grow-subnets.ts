// Hosts with a subnet smaller than hosts get now are given one of that size while they have no jobs. What they had rests. A host is
// looked at and its record written in one turn: no placement comes between, and a job placed after it is told after it.
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { every, unhurriedNow } from "#lib/time.ts";
import { eventChanges, type NewEvent } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import type { ClusterSettings, HostRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Change, Store } from "../store/store.ts";
import { HOST_NET, jobAddresses, largerSubnets, prefixOf, type RestingSubnet, withResting } from "./subnets.ts";

const EVERY_MS = 2_000;
/** Every host hears of each. */
const AT_ONCE = 64;

export interface GrowOptions {
  store: Store;
  /** No job is on the host, none is on its way to it, and none is kept for its return. */
  isFree: (hostId: string) => boolean;
  now: () => Date;
  log: Log;
  signal: AbortSignal;
  everyMs?: number;
}

export async function growSubnets({ store, isFree, now, log, signal, everyMs = EVERY_MS }: GrowOptions): Promise<void> {
  let wasShort = false;
  for await (const _ of every(everyMs, signal)) {
    if (store.paused !== undefined) continue;
    const grown = growth(store, { isFree, now: now() });
    if (grown.left > 0 && !wasShort)
      log.warn({ hosts: grown.left }, "the cluster's range has no room for larger subnets of hosts");
    wasShort = grown.left > 0;
    if (grown.mutations.length === 0) continue;
    const { expect, mutations } = grown;
    await store
      .commit({ actor: "control", expect, mutations })
      .catch((error: unknown) => log.warn({ causes: causeChain(error) }, "subnets did not grow, it is tried again"));
  }
}

export interface Growth {
  expect: { key: string; version: number }[];
  mutations: Change[];
  /** Free hosts that found no room. */
  left: number;
}

/** What makes subnets grow now; nothing to be written when there is none to grow. */
export function growth(store: Store, { isFree, now }: { isFree: (hostId: string) => boolean; now: Date }): Growth {
  const { clusterRange, hostNet = HOST_NET } = store.get<ClusterSettings>(keys.cluster)!.value;
  const none: Growth = { expect: [], mutations: [], left: 0 };
  const hosts = store.list<HostRecord>(PREFIX.hosts);
  const ready = ({ value }: Entry<HostRecord>) =>
    prefixOf(value.subnet) > hostNet && value.state === "ready" && isFree(value.id);
  const small = hosts.filter(ready);
  if (small.length === 0) return none;
  let resting = store.get<RestingSubnet[]>(keys.restingSubnets)?.value ?? [];
  const taken = hosts.map(({ value }) => value.subnet);
  const nowMs = unhurriedNow(now.getTime());
  const free = largerSubnets(clusterRange, hostNet, { taken, resting, nowMs });
  const grown = none;
  const events: NewEvent[] = [];
  for (const [n, { key, value, version }] of small.slice(0, AT_ONCE).entries()) {
    const { value: subnet } = free.next();
    if (subnet === undefined) {
      grown.left = small.length - n;
      break;
    }
    resting = withResting(resting, { subnet: value.subnet, freedAt: now.toISOString() }, nowMs);
    grown.expect.push({ key, version });
    grown.mutations.push({ key, value: { ...value, subnet } satisfies HostRecord });
    events.push({
      type: "host.changed",
      subject: value.id,
      actor: "control",
      message: `host ${value.name} has subnet ${subnet} in place of ${value.subnet}: addresses for ${jobAddresses(subnet)} jobs`,
    });
  }
  if (events.length > 0)
    grown.mutations.push({ key: keys.restingSubnets, value: resting }, ...eventChanges(store, now, ...events));
  return grown;
}
