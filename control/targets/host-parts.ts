// How a host's target travels to one that takes it in parts: the peers and the closed addresses grow with the cluster, so after the
// first item of a stream only what changed of them is sent. A stream is read in order, so both ends mean the same by "before".
import type { HostTarget, HostTargetPart } from "#api/hosts.ts";
import type { StreamEvent } from "#api/stream.ts";
import { listDiffs } from "./list-changes.ts";

type Peer = HostTarget["peers"][number];
interface Sent {
  peers: readonly Peer[];
  closed: readonly string[] | undefined;
}

export interface HostParts {
  /** The stream's events, each target as what changed since the one before. */
  inParts(events: AsyncIterable<StreamEvent<HostTarget>>): AsyncGenerator<StreamEvent<HostTargetPart>>;
}

export function hostParts(): HostParts {
  const peerDiffs = listDiffs<Peer>(({ hostId }) => hostId);
  const closedDiffs = listDiffs<string>((range) => range);
  const partOf = (target: HostTarget, sent: Sent | undefined): HostTargetPart => {
    if (sent === undefined) return target;
    const { peers, reach, ...rest } = target;
    const part: HostTargetPart = { ...rest };
    if (peers !== sent.peers) part.peerChanges = peerDiffs(sent.peers, peers);
    if (reach === undefined) return part;
    const { closed, ...more } = reach;
    if (sent.closed === undefined) return { ...part, reach };
    if (closed !== sent.closed) part.closedChanges = closedDiffs(sent.closed, closed);
    return { ...part, reach: more };
  };
  return {
    async *inParts(events) {
      let sent: Sent | undefined;
      for await (const { data, ...event } of events) {
        if (data === undefined) {
          yield event;
          continue;
        }
        const part = partOf(data, sent);
        sent = { peers: data.peers, closed: data.reach?.closed };
        yield { ...event, data: part };
      }
    },
  };
}
