// What a cluster begins with: its id, its range, the default profile, and one admin token that is shown once.
import type { Profile } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import { newId, newSecret } from "#lib/ids.ts";
import type { ControlConfig } from "./config.ts";
import { sha256Hex } from "./identity/principal.ts";
import { checkRange, isWider } from "./identity/subnets.ts";
import { keys } from "./keys.ts";
import type { ClusterSettings, TokenRecord } from "./records.ts";
import type { Entry } from "./store/entry.ts";
import type { Store } from "./store/store.ts";

/**
 * The range from now on. It may grow: every host keeps its subnet, and new ones have more to choose from. One that was made wider stays
 * so when it is not given any more.
 */
async function keptRange(store: Store, settings: Entry<ClusterSettings>, clusterRange: string): Promise<string> {
  const { key, value, version } = settings;
  if (value.clusterRange === clusterRange || isWider(value.clusterRange, clusterRange)) return value.clusterRange;
  if (!isWider(clusterRange, value.clusterRange))
    throw new Fault(
      "invalid",
      `clusterRange is ${clusterRange}, and hosts have subnets of ${value.clusterRange}: give that one, or a wider one that it lies in`,
    );
  if (store.paused !== undefined) return value.clusterRange; // at the next start
  await store.commit({
    actor: "start",
    expect: [{ key, version }],
    mutations: [{ key, value: { ...value, clusterRange } satisfies ClusterSettings }],
  });
  return clusterRange;
}

/** Writes the beginnings if there are none; the range that stands goes into `config`. Returns the admin token then; it is stored hashed and cannot be shown again. */
export async function firstStart(store: Store, config: ControlConfig, now: Date): Promise<string | undefined> {
  checkRange(config.clusterRange);
  const settings = store.get<ClusterSettings>(keys.cluster);
  if (settings !== undefined) {
    config.clusterRange = await keptRange(store, settings, config.clusterRange);
    return undefined;
  }
  const token = newSecret();
  const at = now.toISOString();
  const cluster: ClusterSettings = {
    clusterId: newId("cluster", now.getTime()),
    clusterRange: config.clusterRange,
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
