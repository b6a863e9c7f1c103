// What is the same for every host and is read from all of their records: found again when one of them changes what it is read from, not
// each time a target is built.
import type { HostTarget } from "#api/host-agents.ts";
import { buildTags } from "../builds/start.ts";
import { PREFIX } from "../keys.ts";
import type { HostRecord } from "../records.ts";
import type { Store } from "../store/store.ts";

export interface ClusterParts {
  /** Every host with an address; another list when one of them is another. */
  peers(): HostTarget["peers"];
  /** Tags that the jobs of builds ask for. */
  buildTags(): Record<string, string>;
  /** Takes a durable host record in; undefined when it was removed. Says whether its own target or every host's is another now. */
  setHost(hostId: string, host: HostRecord | undefined): { own: boolean; everywhere: boolean };
}

interface Kept {
  peer?: HostTarget["peers"][number];
  subnet: string;
  tags: string;
  reboot: string | undefined;
  /** What of it counts for where builds go. */
  builds: string | undefined;
}

export function clusterParts(newest: Store): ClusterParts {
  const store = newest.durable;
  const kept = new Map<string, Kept>();
  const read = ({ id, subnet, address, tags, state, cordoned, reboot }: HostRecord): Kept => ({
    ...(address === undefined ? {} : { peer: { hostId: id, subnet, address } }),
    subnet,
    tags: JSON.stringify(tags),
    reboot: reboot?.orderId,
    builds: state === "ready" && !cordoned ? tags["build"] : undefined,
  });
  for (const { value } of store.list<HostRecord>(PREFIX.hosts)) kept.set(value.id, read(value));
  let list: HostTarget["peers"] | undefined;
  let tags: Record<string, string> | undefined;

  return {
    peers: () => (list ??= [...kept.values()].flatMap(({ peer }) => peer ?? []).sort(byHostId)),
    buildTags: () => (tags ??= buildTags(store)),
    setHost(hostId, host) {
      const before = kept.get(hostId);
      const after = host && read(host);
      const isPeerSame = before?.peer?.address === after?.peer?.address && before?.peer?.subnet === after?.peer?.subnet;
      if (after === undefined) kept.delete(hostId);
      // A row that says the same stays the same object: whoever has it need not be sent it again.
      else kept.set(hostId, isPeerSame && before?.peer ? { ...after, peer: before.peer } : after);
      if (!isPeerSame) list = undefined;
      const formerTags = JSON.stringify(tags);
      if (before?.builds !== after?.builds) tags = buildTags(store);
      return {
        own: before?.subnet !== after?.subnet || before?.tags !== after?.tags || before?.reboot !== after?.reboot,
        everywhere: !isPeerSame || JSON.stringify(tags) !== formerTags,
      };
    },
  };
}

const byHostId = (a: { hostId: string }, b: { hostId: string }): number => (a.hostId < b.hostId ? -1 : 1);
