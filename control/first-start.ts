// What a cluster begins with: its id, its range, the default profile, and one admin token that is shown once.
import type { Profile } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import { newId, newSecret } from "#lib/ids.ts";
import type { ControlConfig } from "./config.ts";
import { sha256Hex } from "./identity/principal.ts";
import { checkRange } from "./identity/subnets.ts";
import { keys } from "./keys.ts";
import type { ClusterSettings, TokenRecord } from "./records.ts";
import type { Store } from "./store/store.ts";

/** Writes the beginnings if there are none. Returns the admin token then; it is stored hashed and cannot be shown again. */
export async function firstStart(store: Store, config: ControlConfig, now: Date): Promise<string | undefined> {
  checkRange(config.clusterRange);
  const settings = store.get<ClusterSettings>(keys.cluster)?.value;
  if (settings !== undefined) {
    if (settings.clusterRange !== config.clusterRange)
      throw new Fault(
        "invalid",
        `clusterRange is ${config.clusterRange}, this cluster was made with ${settings.clusterRange}; it cannot change`,
      );
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
