// Hosts: what operators do with them, and the agents' side (join, target, report).
import { Fault } from "#api/fault.ts";
import * as agents from "#api/host-agents.ts";
import * as hosts from "#api/hosts.ts";
import { isEnded, type Job } from "#api/jobs.ts";
import * as members from "#api/members.ts";
import type { StreamEvent } from "#api/stream.ts";
import { newSecret } from "#lib/ids.ts";
import { unhurriedNow } from "#lib/time.ts";
import { clockOff } from "../clock.ts";
import { wishKept } from "../closed-hosts.ts";
import type { Context } from "../context.ts";
import { eventChanges, plainText } from "../events.ts";
import { beatEveryMs, type HostFrames } from "../host-frames.ts";
import { joinMember } from "../identity/join.ts";
import { sha256Hex } from "../identity/principal.ts";
import { renewMember } from "../identity/renew.ts";
import { HOST_NET, prefixOf, type RestingSubnet, withResting } from "../identity/subnets.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { page } from "../paging.ts";
import type { AnswerBeat } from "../quick-beats.ts";
import type { ClusterSettings, HostRecord, JoinTokenRecord, MachineRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { HostFeeds } from "../targets/host-feeds.ts";
import { hostParts } from "../targets/host-parts.ts";

export interface HostRouteParts {
  feeds: HostFeeds;
  frames: HostFrames;
  answerBeats: (answer: AnswerBeat) => void;
  /** No job is on that host, and none is on its way there. */
  isFree: (hostId: string) => boolean;
}

export function mountHosts(
  mount: Mount,
  context: Context,
  { feeds, frames, answerBeats, isFree }: HostRouteParts,
): void {
  const { store, now, presence, jobs, config } = context;
  const pace = () => beatEveryMs(presence.hosts.size, config.hostLostAfterMs);
  const parts = hostParts();

  const find = (idOrName: string): Entry<HostRecord> => {
    const entry =
      store.get<HostRecord>(keys.host(idOrName)) ??
      store.list<HostRecord>(PREFIX.hosts).find(({ value }) => value.name === idOrName);
    if (entry === undefined) throw new Fault("not-found", `no host ${idOrName}`);
    return entry;
  };
  const growsOnceFree = ({ name, subnet }: Pick<HostRecord, "name" | "subnet">): string | undefined => {
    const { clusterRange, hostNet = HOST_NET } = store.get<ClusterSettings>(keys.cluster)!.value;
    if (prefixOf(subnet) <= hostNet) return undefined;
    return `it gets a /${hostNet} once it has no jobs (flynn host drain ${name}), as far as ${clusterRange} has room`;
  };
  const shown = ({ value }: Entry<HostRecord>): hosts.Host => {
    const { keySha256: _, next: __, shortOf: ___, addresses: ____, ...host } = value;
    const seen = presence.hosts.get(host.id);
    const running = jobs.onHost(host.id).filter((job) => !isEnded(job));
    const space = seen?.report.space;
    const clockOffMs = seen === undefined ? undefined : clockOff(seen.report.now, seen.at);
    const hello = presence.members.get(host.id)?.hello;
    const waits = seen?.report.subnetWaits;
    const subnetWaits = waits === undefined ? growsOnceFree(host) : plainText(waits);
    return {
      ...host,
      ...(space === undefined ? {} : { space }),
      ...(clockOffMs === undefined ? {} : { clockOffMs }),
      ...(hello === undefined ? {} : { hello }),
      ...(subnetWaits === undefined ? {} : { subnetWaits }),
      used: sumNeeds(running),
      jobs: running.length,
      ...(seen ? { lastSeenAt: seen.at } : {}),
    };
  };
  const change = async (
    entry: Entry<HostRecord>,
    changed: Partial<HostRecord>,
    actor: string,
    message: string,
    version = entry.version,
  ): Promise<hosts.Host> => {
    const value = { ...entry.value, ...changed };
    const kept =
      changed.cordoned === undefined ? { changes: [], expect: [] } : wishKept(store, value, changed.cordoned);
    await store.commit({
      actor,
      expect: [{ key: entry.key, version }, ...kept.expect],
      mutations: [
        { key: entry.key, value },
        ...kept.changes,
        ...eventChanges(store, now(), { type: "host.changed", subject: value.id, actor, message }),
      ],
    });
    return shown(find(value.id));
  };

  mount(hosts.listHosts, ({ query }) => page(store.list<HostRecord>(PREFIX.hosts), query, shown));
  mount(hosts.getHost, ({ params, etag }) => {
    const entry = find(params.id);
    etag(entry.version);
    return shown(entry);
  });
  mount(hosts.updateHost, async ({ params, body, principal, ifMatch }) => {
    const entry = find(params.id);
    if (
      body.name !== undefined &&
      store.list<HostRecord>(PREFIX.hosts).some(({ value }) => value.name === body.name && value.id !== entry.value.id)
    )
      throw new Fault("conflict", `a host is named ${body.name} already`);
    const tags = Object.fromEntries(
      Object.entries({ ...entry.value.tags, ...body.tags }).filter((tag): tag is [string, string] => tag[1] !== null),
    );
    return change(
      entry,
      { name: body.name ?? entry.value.name, tags },
      principal.name,
      `host ${entry.value.name} was changed`,
      ifMatch,
    );
  });
  mount(hosts.cordonHost, ({ params, principal, ifMatch }) => {
    const entry = find(params.id);
    return change(
      entry,
      { cordoned: true },
      principal.name,
      `host ${entry.value.name} was cordoned: no new jobs are placed there`,
      ifMatch,
    );
  });
  mount(hosts.drainHost, ({ params, principal, ifMatch }) => {
    const entry = find(params.id);
    return change(
      entry,
      { cordoned: true, draining: true },
      principal.name,
      `host ${entry.value.name} is being drained: its jobs move elsewhere`,
      ifMatch,
    );
  });
  mount(hosts.uncordonHost, ({ params, principal, ifMatch }) => {
    const entry = find(params.id);
    return change(
      entry,
      { cordoned: false, draining: undefined },
      principal.name,
      `host ${entry.value.name} takes jobs again`,
      ifMatch,
    );
  });
  mount(hosts.deleteHost, async ({ params, principal, ifMatch }) => {
    const { value: host, key, version } = find(params.id);
    const machine = host.machineId === undefined ? undefined : store.get<MachineRecord>(keys.machine(host.machineId));
    const resting = store.get<RestingSubnet[]>(keys.restingSubnets)?.value ?? [];
    const { hostId: _, ...rest } = machine?.value ?? ({} as MachineRecord);
    const at = now();
    const freed = { subnet: host.subnet, freedAt: at.toISOString() };
    // Its jobs need no word here: the scheduler gives up what ran on a host that is not there.
    await store.commit({
      actor: principal.name,
      expect: [{ key, version: ifMatch ?? version }],
      mutations: [
        { key, value: null },
        { key: keys.restingSubnets, value: withResting(resting, freed, unhurriedNow(at.getTime())) },
        ...(machine?.value.hostId === host.id
          ? [{ key: machine.key, value: { ...rest, state: "approved", reason: "its host was removed" } }]
          : []),
        ...eventChanges(store, at, {
          type: "host.removed",
          subject: host.id,
          actor: principal.name,
          message: `host ${host.name} was removed; its jobs go elsewhere`,
        }),
      ],
    });
    presence.forget(host.id);
    return {};
  });

  mount(members.createJoinToken, async ({ body, principal, idempotent }) => {
    const token = `fjt_${newSecret()}`;
    const expiresAt = new Date(now().getTime() + (body.ttlMs ?? 3_600_000)).toISOString();
    const record: JoinTokenRecord = { role: body.role, expiresAt };
    const { replayed } = await store.commit({
      actor: principal.name,
      ...idempotent,
      mutations: [
        { key: keys.joinToken(sha256Hex(token)), value: record },
        ...eventChanges(store, now(), {
          type: "join-token.created",
          subject: body.role,
          actor: principal.name,
          message: `a join token for a ${body.role} was made, good until ${expiresAt}`,
        }),
      ],
    });
    // Only its hash is kept, so it cannot be told a second time; a token that opens nothing would be worse than none.
    if (replayed)
      throw new Fault("conflict", "this join token was made and shown before; ask again with another Idempotency-Key");
    return { token, expiresAt };
  });
  mount(members.joinCluster, ({ body }) => joinMember(context, body, isFree));
  mount(members.renewMember, ({ body, principal }) => renewMember(context, principal, body.csr));

  mount(
    agents.hostTarget,
    ({ params: { id } }) => forItself(id, feeds.targetOf(id)),
    ({ params: { id }, signal }) => {
      const takesParts = presence.members.get(id)?.hello?.capabilities.includes("job-parts") === true;
      return takesParts ? parts.inParts(feeds.followChanges(id, signal)) : wholeTargets(id, feeds.follow(id, signal));
    },
  );
  const checkMember = (id: string, term: number): void => {
    if (term > store.term)
      throw new Fault("conflict", `host has seen term ${term}, this control is at ${store.term}: it is an old one`);
    if (store.get(keys.host(id)) === undefined)
      throw new Fault("unauthenticated", `host ${id} was removed; join again`);
  };
  mount(agents.reportHost, async ({ params: { id }, body }) => {
    checkMember(id, body.term);
    const known = await frames.report(id, body);
    return { term: store.term, seq: store.durableSeq, known, everyMs: pace() };
  });
  const answerBeat: AnswerBeat = async ({ params: { id }, body }) => {
    checkMember(id, body.term);
    const known = await frames.beat(id, body);
    return { term: store.term, seq: store.durableSeq, known, everyMs: pace() };
  };
  mount(agents.beatHost, answerBeat);
  answerBeats(answerBeat);
}

/** No host is its own peer. One that takes parts leaves itself out by itself. */
const forItself = (hostId: string, target: agents.HostTarget): agents.HostTarget => ({
  ...target,
  peers: target.peers.filter((peer) => peer.hostId !== hostId),
});

async function* wholeTargets(hostId: string, events: AsyncIterable<StreamEvent<agents.HostTarget>>) {
  for await (const event of events)
    yield event.data === undefined ? event : { ...event, data: forItself(hostId, event.data) };
}

function sumNeeds(jobs: readonly Job[]): Job["need"] {
  const sum = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 };
  for (const { need } of jobs) {
    sum.cpuMillis += need.cpuMillis;
    sum.memoryBytes += need.memoryBytes;
    sum.diskBytes += need.diskBytes;
  }
  return sum;
}
