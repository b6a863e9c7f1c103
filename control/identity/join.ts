// Joining: a single-use token or a boot server's grant, plus a CSR, becomes an id and a certificate. Spending the token and
// writing the member is one record, so a token is good for exactly one member even when two ask at once.
import { type JoinGrant, type Profile, readJoinGrant, verifyJoinGrant } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import type { HostFacts, JoinReply, JoinRequest, JoinRole } from "#api/hosts.ts";
import { newId } from "#lib/ids.ts";
import type { Context } from "../context.ts";
import { eventChanges, timelineChanges } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import { hostName } from "../names.ts";
import type { ClusterSettings, HostRecord, JoinTokenRecord, MachineRecord, MemberRecord } from "../records.ts";
import type { Change, Store } from "../store/store.ts";
import type { Issued } from "./authority.ts";
import { sha256Hex } from "./principal.ts";
import { freeSubnet } from "./subnets.ts";

/** What a token is worth: the role it lets in, the machine it was given to, and the changes that spend it. */
interface Worth {
  role: JoinRole;
  machine?: MachineRecord;
  grant?: JoinGrant;
  spend: Change[];
  expect: { key: string; version: number }[];
}

export async function joinMember(context: Context, request: JoinRequest): Promise<JoinReply> {
  const { store, authority, now, log } = context;
  const worth = weigh(store, request.token, now());
  if (worth.role !== request.role)
    throw new Fault("forbidden", `this token lets in a ${worth.role}, not a ${request.role}`);
  if (request.role === "host" && request.facts === undefined) throw new Fault("invalid", "a host joins with its facts");
  const known = request.role === "host" ? knownHost(store, worth.machine) : undefined;
  const id = known?.id ?? newId(request.role);
  const issued = await authority.issueMember({ role: request.role, id, csrPem: request.csr });
  const settings = store.get<ClusterSettings>(keys.cluster)!.value;
  const at = now();

  let member: { key: string; value: HostRecord | MemberRecord };
  if (request.role === "host")
    member = {
      key: keys.host(id),
      value: hostRecord({ store, settings, id, known, worth, issued, facts: request.facts!, wanted: request.name, at }),
    };
  else {
    const key = request.role === "router" ? keys.router(id) : keys.bootServer(id);
    member = {
      key,
      value: {
        id,
        name: request.name.slice(0, 63),
        keySha256: issued.keySha256,
        publicKeyPem: issued.publicKeyPem,
        joinedAt: at.toISOString(),
      },
    };
  }
  const host = request.role === "host" ? (member.value as HostRecord) : undefined;
  await store.commit({
    actor: `${request.role} ${member.value.name}`,
    expect: worth.expect,
    mutations: [
      ...worth.spend,
      member,
      ...(worth.machine && host ? machineJoined(store, worth, host, at) : []),
      ...eventChanges(store, at, {
        type: `${request.role}.joined`,
        subject: id,
        actor: request.role,
        message: `${request.role} ${member.value.name} joined${known ? " again" : ""}`,
      }),
    ],
  });
  log.info({ id, role: request.role, name: member.value.name, machineId: worth.machine?.id }, "member joined");
  return {
    id,
    certificate: issued.certificate,
    caPem: authority.caPem,
    expiresAt: issued.expiresAt,
    clusterRange: settings.clusterRange,
    ...(host ? { subnet: host.subnet } : {}),
  };
}

function weigh(store: Store, token: string, now: Date): Worth {
  const grant = readJoinGrant(token);
  if (grant === undefined) {
    const key = keys.joinToken(sha256Hex(token));
    const entry = store.get<JoinTokenRecord>(key);
    if (entry === undefined) throw new Fault("unauthenticated", "the join token is not known, or was used already");
    if (Date.parse(entry.value.expiresAt) < now.getTime())
      throw new Fault("unauthenticated", "the join token has expired");
    return { role: entry.value.role, spend: [{ key, value: null }], expect: [{ key, version: entry.version }] };
  }
  const server = store.get<MemberRecord>(keys.bootServer(grant.bootServerId))?.value;
  if (server === undefined) throw new Fault("unauthenticated", "the join grant is of an unknown boot server");
  verifyJoinGrant(token, server.publicKeyPem, now.getTime());
  const machine = store.get<MachineRecord>(keys.machine(grant.machineId))?.value;
  if (machine === undefined) throw new Fault("unauthenticated", "the join grant is for a machine that is not known");
  if (machine.approvedAt === undefined) throw new Fault("forbidden", `machine ${machine.name} is not approved`);
  const used = keys.usedGrant(grant.nonce);
  if (store.get(used)) throw new Fault("unauthenticated", "the join grant was used already");
  return {
    role: "host",
    machine,
    grant,
    spend: [{ key: used, value: { expiresAt: new Date(grant.expiresAtMs).toISOString() } }],
    expect: [{ key: used, version: 0 }],
  };
}

/** The host this machine was before: a power cycle brings back the same host, not a new one. */
function knownHost(store: Store, machine: MachineRecord | undefined): HostRecord | undefined {
  return machine?.hostId === undefined ? undefined : store.get<HostRecord>(keys.host(machine.hostId))?.value;
}

interface NewHost {
  store: Store;
  settings: ClusterSettings;
  id: string;
  known: HostRecord | undefined;
  worth: Worth;
  issued: Issued;
  facts: HostFacts;
  wanted: string;
  at: Date;
}

function hostRecord({ store, settings, id, known, worth, issued, facts, wanted, at }: NewHost): HostRecord {
  const hosts = store.list<HostRecord>(PREFIX.hosts).map(({ value }) => value);
  const profile = worth.machine && store.get<Profile>(keys.profile(worth.machine.profile))?.value;
  return {
    id,
    name:
      known?.name ??
      hostName(
        worth.machine?.name ?? wanted,
        hosts.map(({ name }) => name),
      ),
    state: "joining",
    reason: "has a certificate, has not reported yet",
    cordoned: known?.cordoned ?? false,
    ...(worth.machine ? { machineId: worth.machine.id } : {}),
    ...(facts.address ? { address: facts.address } : {}),
    subnet:
      known?.subnet ??
      freeSubnet(
        settings.clusterRange,
        hosts.map(({ subnet }) => subnet),
      ),
    capacity: facts.capacity,
    tags: { ...profile?.tags, ...worth.machine?.tags, ...known?.tags },
    keySha256: issued.keySha256,
    agentVersion: facts.agentVersion,
    bootId: facts.bootId,
    joinedAt: at.toISOString(),
  };
}

function machineJoined(store: Store, worth: Worth, host: HostRecord, at: Date): Change[] {
  const machine = worth.machine!;
  const bootId = worth.grant!.bootId;
  return [
    { key: keys.machine(machine.id), value: { ...machine, hostId: host.id, bootId, lastSeenAt: at.toISOString() } },
    ...timelineChanges(store, at, machine.id, [
      { stage: "join", bootId, message: `its agent joined as host ${host.name} (${host.subnet})` },
    ]),
  ];
}
