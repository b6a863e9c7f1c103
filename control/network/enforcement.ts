// How far hosts enforce their reach, from what they reported.
import type { Static } from "typebox";
import type { HostReport } from "#api/host-agents.ts";
import type { NetworkHost } from "#api/network.ts";
import type { Part } from "#api/status.ts";
import type { Context } from "../context.ts";
import { keys, PREFIX } from "../keys.ts";
import type { HostRecord } from "../records.ts";
import type { ClusterReach } from "./reach.ts";

/** A host that reports every 2 s and enforces less than what it should for so long is said to be behind. */
const BEHIND_MS = 10_000;

export interface Known {
  term: number;
  /** Of its reach as it is now. */
  version: number;
  /** What it reported last to this control. */
  report: Pick<HostReport, "term" | "reachVersion"> | undefined;
}

/** Pure. */
export function enforcement(
  { id, name, state }: Pick<HostRecord, "id" | "name" | "state">,
  { term, version, report }: Known,
): NetworkHost {
  if (report === undefined || state === "lost") return { id, name, state: "silent", version };
  const { reachVersion: enforcedVersion } = report;
  if (enforcedVersion === undefined) return { id, name, state: "unsupported", version };
  // Versions of another term may be those of a control that lost its last records.
  const isCurrent = report.term === term && enforcedVersion >= version;
  return { id, name, state: isCurrent ? "current" : "behind", version, enforcedVersion };
}

type Around = Pick<Context, "store" | "reaches" | "presence">;

export function enforcementOn(host: HostRecord, { store, reaches, presence }: Around): NetworkHost {
  const { version } = reaches.of(host.id);
  return enforcement(host, { term: store.term, version, report: presence.hosts.get(host.id)?.report });
}

/** Hosts that do not enforce what their reach was at `seq`, though it holds and they could. */
export function lateHosts(hosts: readonly NetworkHost[], seq: number): string[] {
  return hosts.flatMap(({ state, version, enforcedVersion, name }) =>
    state === "behind" && version >= seq && (enforcedVersion ?? 0) < seq ? [name] : [],
  );
}

/** Hosts that do not let the app's jobs as they are now through yet, by name. */
export function hostsBehind(around: Around, appId: string): string[] {
  const { store, reaches } = around;
  const hosts = [...reaches.hostsOf(appId)].flatMap((id) => store.get<HostRecord>(keys.host(id))?.value ?? []);
  return lateHosts(
    hosts.map((host) => enforcementOn(host, around)),
    reaches.changedSeq(appId),
  );
}

/** Calls the listener at a router's report, and at a host's that enforces another reach than before. Returns the way to stop. */
export function onProof({ hosts, routers, onFrame }: Context["presence"], listener: () => void): () => void {
  const enforced = new Map<string, number | undefined>();
  return onFrame((id) => {
    const version = hosts.get(id)?.report.reachVersion;
    if (!routers.has(id) && enforced.get(id) === version) return;
    enforced.set(id, version);
    listener();
  });
}

/** Every host, and how long its newest version is there, in milliseconds. */
export function hostsEnforcing(around: Around): { host: NetworkHost; ageMs: number }[] {
  return around.store
    .list<HostRecord>(PREFIX.hosts)
    .map(({ value }) => ({ host: enforcementOn(value, around), ageMs: around.reaches.ageMs(value.id) }));
}

/** The network as a part of the status. Pure. */
export function networkPart(
  { appNetwork, egress }: Pick<ClusterReach, "appNetwork" | "egress">,
  hosts: readonly { host: NetworkHost; ageMs: number }[],
): Static<typeof Part> {
  const names = (state: NetworkHost["state"], leastMs = 0) =>
    hosts.flatMap(({ host, ageMs }) => (host.state === state && ageMs >= leastMs ? [host.name] : []));
  const [old, behind] = [names("unsupported"), names("behind", BEHIND_MS)];
  const faults = [
    ...(old.length === 0
      ? []
      : [`not known to be enforced on ${old.join(", ")}: the agent is too old, or manages no network`]),
    ...(behind.length === 0 ? [] : [`${behind.join(", ")} enforces an older state`]),
  ];
  const settings = `apps reach ${appNetwork === "app" ? "their own app and what rules open" : "every app"}, outside: ${egress}`;
  return {
    name: "network",
    state: faults.length === 0 ? "ok" : "degraded",
    message: [settings, ...faults].join("; "),
  };
}
