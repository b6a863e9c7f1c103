// How a host's target travels to one that takes it in parts: jobs and apps grow with the host, peers and closed addresses with the cluster,
// so after the first item of a stream only what changed of them is sent. A stream is read in order, so both ends mean the same by "before".
import type { HostTarget, HostTargetPart } from "#api/host-agents.ts";
import type { ReachApp } from "#api/reach.ts";
import type { StreamEvent } from "#api/stream.ts";
import { isSameList } from "../network/reach.ts";
import type { TargetChange } from "./host-feeds.ts";
import { type ListChanges, listDiffs } from "./list-changes.ts";

type Peer = HostTarget["peers"][number];
type Sent = Pick<HostTarget, "peers" | "reach">;

export interface HostParts {
  /** The stream's events, each target as what changed since the one before. */
  inParts(events: AsyncIterable<StreamEvent<TargetChange>>): AsyncGenerator<StreamEvent<HostTargetPart>>;
}

export function hostParts(): HostParts {
  const peerDiffs = listDiffs<Peer>(({ hostId }) => hostId);
  const closedDiffs = listDiffs<string>((range) => range);
  const partOf = ({ target, gone }: TargetChange, sent: Sent | undefined): HostTargetPart => {
    if (sent === undefined) return target;
    const { peers, jobs, reach, ...rest } = target;
    const part: HostTargetPart = { ...rest };
    if (jobs.length > 0 || gone.length > 0) part.jobChanges = { put: jobs, gone };
    if (peers !== sent.peers) part.peerChanges = peerDiffs(sent.peers, peers);
    if (reach === undefined) return part;
    if (sent.reach === undefined) return { ...part, reach };
    const { closed, apps, ...more } = reach;
    if (closed !== sent.reach.closed) part.closedChanges = closedDiffs(sent.reach.closed, closed);
    const appChanges = appDiffs(sent.reach.apps, apps);
    if (appChanges.put.length > 0 || appChanges.gone.length > 0) part.appChanges = appChanges;
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
        const { peers, reach } = data.target;
        sent = { peers, ...(reach === undefined ? {} : { reach }) };
        yield { ...event, data: part };
      }
    },
  };
}

/** Apps are put together anew for each host; their addresses are one array until they change. */
function appDiffs(from: readonly ReachApp[], to: readonly ReachApp[]): ListChanges<ReachApp> {
  if (from === to) return { put: [], gone: [] };
  const before = new Map(from.map((app) => [app.appId, app]));
  const put: ReachApp[] = [];
  for (const app of to) {
    const known = before.get(app.appId);
    before.delete(app.appId);
    if (known === undefined || !isSameList(known.addresses, app.addresses) || !isSameList(known.to, app.to))
      put.push(app);
  }
  return { put, gone: [...before.keys()] };
}
