// What a cluster begins with: its id, its range, the default profile, and one admin token that is shown once.
import type { Profile } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import { newId, newSecret } from "#lib/ids.ts";
import { unhurriedNow } from "#lib/time.ts";
import type { ControlConfig } from "./config.ts";
import { sha256Hex } from "./identity/principal.ts";
import { checkHostNet, checkRange, freeSubnet, HOST_NET, isWider, type RestingSubnet } from "./identity/subnets.ts";
import { keys, PREFIX } from "./keys.ts";
import type { ClusterSettings, HostRecord, TokenRecord } from "./records.ts";
import type { Store } from "./store/store.ts";

/**
 * The range from now on. It may grow: every host keeps its subnet, and new ones have more to choose from. One that was made wider stays
 * so when it is not given any more.
 */
function keptRange(kept: string, given: string): string {
  if (kept === given || isWider(kept, given)) return kept;
  if (isWider(given, kept)) return given;
  throw new Fault(
    "invalid",
    `clusterRange is ${given}, and hosts have subnets of ${kept}: give that one, or a wider one that it lies in`,
  );
}

/** What hosts get from now on. A larger size than before is refused while there is no room for one of it. */
function keptHostNet(
  store: Store,
  { clusterRange, hostNet = HOST_NET }: ClusterSettings,
  given: number,
  now: Date,
): number {
  if (given === hostNet) return hostNet;
  checkHostNet(clusterRange, given);
  if (given < hostNet)
    freeSubnet(clusterRange, given, {
      taken: store.list<HostRecord>(PREFIX.hosts).map(({ value }) => value.subnet),
      resting: store.get<RestingSubnet[]>(keys.restingSubnets)?.value ?? [],
      nowMs: unhurriedNow(now.getTime()),
    });
  return given;
}

async function keptSettings(store: Store, config: ControlConfig, now: Date): Promise<ClusterSettings | undefined> {
  const settings = store.get<ClusterSettings>(keys.cluster);
  if (settings === undefined) return undefined;
  const { key, value, version } = settings;
  const clusterRange = keptRange(value.clusterRange, config.clusterRange);
  const grown = { ...value, clusterRange };
  const hostNet = config.hostNet === undefined ? value.hostNet : keptHostNet(store, grown, config.hostNet, now);
  if (clusterRange === value.clusterRange && hostNet === value.hostNet) return value;
  if (store.paused !== undefined) return value; // at the next start
  const next: ClusterSettings = { ...grown, ...(hostNet === undefined ? {} : { hostNet }) };
  await store.commit({ actor: "start", expect: [{ key, version }], mutations: [{ key, value: next }] });
  return next;
}

/** Writes the beginnings if there are none; the range and the size of hosts' subnets that stand go into `config`. Returns the admin token then; it is stored hashed and cannot be shown again. */
export async function firstStart(store: Store, config: ControlConfig, now: Date): Promise<string | undefined> {
  checkRange(config.clusterRange);
  const kept = await keptSettings(store, config, now);
  if (kept !== undefined) {
    config.clusterRange = kept.clusterRange;
    config.hostNet = kept.hostNet;
    return undefined;
  }
  checkHostNet(config.clusterRange, config.hostNet ?? HOST_NET);
  const token = newSecret();
  const at = now.toISOString();
  const cluster: ClusterSettings = {
    clusterId: newId("cluster", now.getTime()),
    clusterRange: config.clusterRange,
    ...(config.hostNet === undefined ? {} : { hostNet: config.hostNet }),
    createdAt: at,
  };
  const profile: Profile = {
    name: "default",
    image: "current",
    cmdline: [],
    tags: {},
    sshKeys: [],
    diskPolicy:
      config.diskPolicy === "find-empty"
        ? { name: "find-empty", mode: "find-empty", minSizeBytes: 1024 ** 3 }
        : { name: "ram-only", mode: "ram" },
  };
  const admin: TokenRecord = { id: newId("token", now.getTime()), name: "admin", permissions: ["*"], createdAt: at };
  await store.commit({
    actor: "first start",
    expect: [{ key: keys.cluster, version: 0 }],
    mutations: [
      { key: keys.cluster, value: cluster },
      { key: keys.profile("default"), value: profile },
      { key: keys.token(sha256Hex(token)), value: admin },
    ],
  });
  return token;
}
