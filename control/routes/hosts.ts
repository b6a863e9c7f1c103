// Hosts: what operators do with them, and the agents' side (join, target, report).
import { Fault } from "#api/fault.ts";
import * as hosts from "#api/hosts.ts";
import type { Job } from "#api/jobs.ts";
import { newSecret } from "#lib/ids.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { stateFeed } from "../feed.ts";
import { joinMember } from "../identity/join.ts";
import { sha256Hex } from "../identity/principal.ts";
import { renewMember } from "../identity/renew.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { page } from "../paging.ts";
import type { HostRecord, JoinTokenRecord, MachineRecord } from "../records.ts";
import { acceptReport } from "../reports.ts";
import type { Entry } from "../store/store.ts";
import { hostTargetOf } from "../targets/host.ts";

export function mountHosts(mount: Mount, context: Context): void {
  const { store, now, presence, jobs } = context;

  const find = (idOrName: string): Entry<HostRecord> => {
    const entry =
      store.get<HostRecord>(keys.host(idOrName)) ??
      store.list<HostRecord>(PREFIX.hosts).find(({ value }) => value.name === idOrName);
    if (entry === undefined) throw new Fault("not-found", `no host ${idOrName}`);
    return entry;
  };
  const shown = ({ value }: Entry<HostRecord>): hosts.Host => {
    const { keySha256: _, next: __, ...host } = value;
    const seen = presence.hosts.get(host.id);
    const running = jobs.onHost(host.id).filter((job) => job.state !== "down" && job.state !== "lost");
    return { ...host, used: sumNeeds(running), jobs: running.length, ...(seen ? { lastSeenAt: seen.at } : {}) };
  };
  const change = async (
    entry: Entry<HostRecord>,
    changed: Partial<HostRecord>,
    actor: string,
    message: string,
    version = entry.version,
  ): Promise<hosts.Host> => {
    const value = { ...entry.value, ...changed };
    await store.commit({
      actor,
      expect: [{ key: entry.key, version }],
      mutations: [
        { key: entry.key, value },
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
    const { hostId: _, ...rest } = machine?.value ?? ({} as MachineRecord);
    // Its jobs need no word here: the scheduler gives up what ran on a host that is not there.
    await store.commit({
      actor: principal.name,
      expect: [{ key, version: ifMatch ?? version }],
      mutations: [
        { key, value: null },
        ...(machine?.value.hostId === host.id
          ? [{ key: machine.key, value: { ...rest, state: "approved", reason: "its host was removed" } }]
          : []),
        ...eventChanges(store, now(), {
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

  mount(hosts.createJoinToken, async ({ body, principal, idempotent }) => {
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
  mount(hosts.joinCluster, ({ body }) => joinMember(context, body));
  mount(hosts.renewMember, ({ body, principal }) => renewMember(context, principal, body.csr));

  mount(
    hosts.hostTarget,
    ({ params }) => hostTargetOf(params.id, context),
    ({ params: { id }, signal }) =>
      stateFeed({
        subscribe: (wake) =>
          context.store.onDurable((record) => {
            const peers = record.mutations.some(({ key }) => key.startsWith(PREFIX.hosts) || key === keys.stack);
            // The index has applied the record before any listener here runs; a job that left this host was dropped from it then.
            if (peers || record.mutations.some(({ key }) => key.startsWith(PREFIX.jobs))) wake();
          }),
        build: () => hostTargetOf(id, context),
        sameness: ({ seq: _, ...target }) => JSON.stringify(target),
        id: (target) => String(target.seq),
        signal,
      }),
  );
  mount(hosts.reportHost, async ({ params, body }) => {
    if (body.term > store.term)
      throw new Fault(
        "conflict",
        `host has seen term ${body.term}, this control is at ${store.term}: it is an old one`,
      );
    if (store.get(keys.host(params.id)) === undefined)
      throw new Fault("unauthenticated", `host ${params.id} was removed; join again`);
    presence.hostSeen(params.id, body);
    await acceptReport(context, params.id, body);
    return { term: store.term, seq: store.durableSeq };
  });
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
