// Joining: a single-use token or a boot server's grant, plus a CSR, becomes an id and a certificate. Spending the token and
// writing the member is one record, so a token is good for exactly one member even when two ask at once.
import { type JoinGrant, type Profile, readJoinGrant, verifyJoinGrant } from "#api/boot.ts";
import { Fault, isFault } from "#api/fault.ts";
import type { JoinReply, JoinRequest, JoinRole } from "#api/members.ts";
import { newId } from "#lib/ids.ts";
import { unhurriedNow } from "#lib/time.ts";
import type { Context } from "../context.ts";
import { eventChanges, plainText, timelineChanges } from "../events.ts";
import { beatEveryMs } from "../host-frames.ts";
import { keys, PREFIX } from "../keys.ts";
import { hostName } from "../names.ts";
import type { ClusterSettings, HostRecord, JoinTokenRecord, MachineRecord, MemberRecord, Spent } from "../records.ts";
import type { Change, Store } from "../store/store.ts";
import type { Issued } from "./authority.ts";
import { isSuperseded, judge } from "./incumbent.ts";
import { grantKeys } from "./next-key.ts";
import { MEMBER_KEY, sha256Hex } from "./principal.ts";
import { noteRefusal, noteWithheld, Refusal, Withheld } from "./refusals.ts";
import { HOST_NET, largerSubnets, newSubnet, prefixOf, type RestingSubnet, withResting } from "./subnets.ts";
import { readQuote } from "./tpm.ts";

/** A grant is for one boot; one that claims to be good for longer is remembered no longer. */
const GRANT_MOST_MS = 7 * 86_400_000;
/** So long at least a joiner may ask again for an answer it never got, even when its token expires meanwhile. */
const REPEAT_MS = 600_000;

/** What a token is worth: the role it lets in, the machine it was given to, and the changes that spend it. */
interface Worth {
  role: JoinRole;
  machine?: MachineRecord;
  grant?: JoinGrant;
  /** Its row in the store, written when it is spent. */
  key: string;
  version: number;
  expiresAt: string;
  /** Who it was spent on, when it was. */
  spent?: Spent;
}

/** `isFree`: no job is on that host, none is on its way there. */
export async function joinMember(
  context: Context,
  request: JoinRequest,
  isFree: (hostId: string) => boolean,
): Promise<JoinReply> {
  try {
    return await admitMember(context, request, isFree);
  } catch (error) {
    if (error instanceof Withheld) {
      await noteWithheld(context, request, error);
      // What it says of the two sessions is for people; the joiner knows nothing of the other one.
      throw new Fault("unavailable", "the join waits until this machine's former session is over; it is tried again");
    }
    if (isFault(error, "unauthenticated") || isFault(error, "forbidden")) await noteRefusal(context, request, error);
    throw error;
  }
}

async function admitMember(
  context: Context,
  request: JoinRequest,
  isFree: (hostId: string) => boolean,
): Promise<JoinReply> {
  const { store, authority, config, now, log } = context;
  const { role } = request;
  const settings = store.get<ClusterSettings>(keys.cluster)!.value;
  const before = weigh(store, request, new Date(unhurriedNow(now().getTime())));
  refuseOtherTpm(config, request, before);
  const id = before.spent?.id ?? knownHost(store, before.machine)?.id ?? newId(role);
  const issued = await authority.issueMember({ role, id, csrPem: request.csr, days: config.memberCertificateDays });
  const reply = {
    id,
    certificate: issued.certificate,
    caPem: authority.caPem,
    expiresAt: issued.expiresAt,
    clusterRange: settings.clusterRange,
  };

  // From here to the commit in one turn: what was true before the certificate was made may not be true any more.
  const at = now();
  const worth = weigh(store, request, at);
  const memberKey = MEMBER_KEY[role](id);
  if (worth.spent !== undefined) {
    // The joiner that never got its answer asks again with the same key, and gets the same identity; nobody else does.
    const member = store.get<HostRecord | MemberRecord>(memberKey)?.value;
    if (worth.spent.id !== id || worth.spent.keySha256 !== issued.keySha256 || member?.keySha256 !== issued.keySha256)
      throw new Fault("unauthenticated", "the join token was used already", { details: { replayed: true } });
    // Written again, so that this answer too waits until what it says is on disk.
    await store.commit({
      actor: `${role} ${member.name}`,
      expect: [{ key: worth.key, version: worth.version }],
      mutations: [{ key: worth.key, value: { role, expiresAt: worth.expiresAt, spent: worth.spent } }],
    });
    return { ...reply, ...("subnet" in member ? { subnet: member.subnet } : {}) };
  }
  if (worth.grant) refuseSuperseded(context, worth);
  const known = knownHost(store, worth.machine);
  if (known !== undefined && known.id !== id)
    throw new Fault("unavailable", "its machine joined as another host just now; try again");
  if (known !== undefined && worth.grant) withholdFromTheLiving(context, known, worth);
  const member: HostRecord | MemberRecord =
    role === "host"
      ? hostRecord({ store, settings, id, known, worth, issued, request, at, isFree })
      : {
          id,
          name: plainText(request.name, 63),
          keySha256: issued.keySha256,
          keyIssuedAt: at.toISOString(),
          publicKeyPem: issued.publicKeyPem,
          joinedAt: at.toISOString(),
        };
  const host = "subnet" in member ? member : undefined;
  const resting = store.get<RestingSubnet[]>(keys.restingSubnets)?.value ?? [];
  const freed = ({ subnet }: HostRecord): RestingSubnet => ({ subnet, freedAt: at.toISOString() });
  const expiresAt = new Date(Math.max(Date.parse(worth.expiresAt), at.getTime() + REPEAT_MS)).toISOString();
  const spent: JoinTokenRecord = { role, expiresAt, spent: { id, keySha256: issued.keySha256 } };
  await store.commit({
    actor: `${role} ${member.name}`,
    expect: [{ key: worth.key, version: worth.version }],
    mutations: [
      { key: worth.key, value: spent },
      { key: memberKey, value: member },
      ...(known === undefined || known.subnet === host?.subnet
        ? []
        : [{ key: keys.restingSubnets, value: withResting(resting, freed(known), unhurriedNow(at.getTime())) }]),
      ...(worth.machine && host ? machineJoined(store, worth, host, at) : []),
      ...eventChanges(store, at, {
        type: `${role}.joined`,
        subject: id,
        actor: role,
        message: `${role} ${member.name} joined${known ? " again" : ""}`,
      }),
    ],
  });
  if (role === "host") context.presence.hostJoined(id);
  log.info({ id, role, name: member.name, machineId: worth.machine?.id }, "member joined");
  return { ...reply, ...(host ? { subnet: host.subnet } : {}) };
}

function weigh(store: Store, request: JoinRequest, now: Date): Worth {
  const grant = readJoinGrant(request.token);
  const worth = grant === undefined ? tokenWorth(store, request.token) : grantWorth(store, request.token, grant, now);
  if (Date.parse(worth.expiresAt) < now.getTime()) throw new Fault("unauthenticated", "the join token has expired");
  if (worth.role !== request.role)
    throw new Fault("forbidden", `this token lets in a ${worth.role}, not a ${request.role}`);
  if (request.role !== "host") return worth;
  if (request.facts === undefined) throw new Fault("invalid", "a host joins with its facts");
  const macs = worth.machine && new Set([worth.grant!.mac, ...worth.machine.macs]);
  if (macs && !request.facts.macs.some((mac) => macs.has(mac)))
    throw new Refusal(
      "forbidden",
      "this token is of another machine: none of its network cards is here",
      `this token is of machine ${worth.machine!.name}, and another one shows it`,
    );
  return worth;
}

/** With `--require-tpm`: the machine's own TPM signs that this boot is its. A clone has the card, the UUID and the disks, and not that. */
function refuseOtherTpm(
  { requireTpm }: Context["config"],
  { tpm, token }: JoinRequest,
  { machine, grant }: Worth,
): void {
  if (!requireTpm || machine === undefined || grant === undefined) return;
  const { name } = machine;
  const refuse = (message: string, why: string) => new Refusal("forbidden", message, why, "join-tpm");
  if (machine.tpm === undefined)
    throw refuse(
      "this machine was approved without a TPM, and one is required here",
      `machine ${name} was approved without its TPM, and --require-tpm is on; it is bound by its inventory: flynn machine inventory ${name}, then flynn machine approve ${name}`,
    );
  if (tpm === undefined)
    throw refuse("the join needs a quote of the machine's TPM", `machine ${name} joins without a quote of its TPM`);
  const quoted = readQuote(tpm, token);
  if ("wrong" in quoted) throw refuse(quoted.wrong, `machine ${name}: ${quoted.wrong}`);
  if (quoted.tpmId !== machine.tpm)
    throw refuse(
      "this is not the TPM that the machine was approved with",
      `somebody with TPM ${quoted.tpmId.slice(0, 12)} asks to join as machine ${name}, which was approved with TPM ${machine.tpm.slice(0, 12)}: a clone, or a new mainboard (forget the machine and approve it anew)`,
    );
}

/** A grant that was withheld, or kept, does not outlive its boot. */
function refuseSuperseded({ presence }: Context, { grant, machine }: Worth): void {
  const { bootId } = grant!;
  const { id, name, joinedBootId: joined } = machine!;
  if (isSuperseded(bootId, { newest: presence.newestBoot(id), begun: presence.begun.has(bootId), joined }))
    throw new Refusal(
      "unauthenticated",
      "a later boot of this machine ended the one that this join grant is of",
      `a later boot of machine ${name} ended the one that this join grant is of`,
    );
}

/** A grant is no good while the machine's host lives: the incumbent keeps certificate and target, and the joiner asks again. */
function withholdFromTheLiving({ presence, config }: Context, incumbent: HostRecord, { grant, machine }: Worth): void {
  const { bootId } = grant!;
  const first = !presence.asked.has(bootId);
  const judgement = judge({
    nowMs: presence.nowMs(),
    startedMs: presence.startedMs,
    sleptMs: presence.sleptMs(),
    heardMs: presence.heardMs(incumbent.id),
    begunMs: presence.begun.get(bootId),
    askedMs: presence.asked.get(bootId),
    ttlMs: config.hostLostAfterMs,
    everyMs: beatEveryMs(presence.hosts.size, config.hostLostAfterMs),
  });
  presence.grantShown(bootId);
  if (judgement === "let-in") return;
  const sessions =
    judgement === "alive"
      ? `two live sessions of machine ${machine!.name}: host ${incumbent.name} (${incumbent.address ?? "no address"}, boot ${machine!.bootId ?? "unknown"}) reports, and boot ${bootId} asks to join in its name`
      : undefined;
  throw new Withheld({ machine: machine!, sessions, first });
}

function tokenWorth(store: Store, token: string): Worth {
  const entry = store.get<JoinTokenRecord>(keys.joinToken(sha256Hex(token)));
  if (entry === undefined)
    throw new Fault("unauthenticated", "the join token is not known; it may have been used already, or have expired");
  return { ...entry.value, key: entry.key, version: entry.version };
}

function grantWorth(store: Store, token: string, grant: JoinGrant, now: Date): Worth {
  const server = store.get<MemberRecord>(keys.bootServer(grant.bootServerId))?.value;
  if (server === undefined)
    throw new Refusal(
      "unauthenticated",
      NOT_SIGNED,
      `the join grant is of an unknown boot server, ${grant.bootServerId}`,
    );
  const key = keys.usedGrant(sha256Hex(grant.nonce));
  const used = store.get<JoinTokenRecord>(key);
  // Once used, what counts is how long the row says it may be repeated.
  checkSigned(token, server, now);
  if (used === undefined && grant.expiresAtMs < now.getTime())
    throw new Fault("unauthenticated", "join grant has expired");
  const machine = store.get<MachineRecord>(keys.machine(grant.machineId))?.value;
  if (machine === undefined) throw new Fault("unauthenticated", "the join grant is for a machine that is not known");
  if (machine.approvedAt === undefined)
    throw new Refusal(
      "forbidden",
      "the machine of this join grant is not approved",
      `machine ${machine.name} is not approved`,
    );
  const expiresAt =
    used?.value.expiresAt ?? new Date(Math.min(grant.expiresAtMs, now.getTime() + GRANT_MOST_MS)).toISOString();
  return { role: "host", machine, grant, key, version: used?.version ?? 0, expiresAt, spent: used?.value.spent };
}

const NOT_SIGNED = "join grant is not signed by a boot server of this cluster";

/** By one of the server's keys. */
function checkSigned(token: string, server: MemberRecord, now: Date): void {
  const isSigned = [server.publicKeyPem, ...grantKeys(server, now)].some((pem) => {
    try {
      return verifyJoinGrant(token, pem, 0);
    } catch {
      return false;
    }
  });
  if (!isSigned)
    throw new Refusal("unauthenticated", NOT_SIGNED, `the join grant is not signed by boot server ${server.name}`);
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
  request: JoinRequest;
  at: Date;
  isFree: (hostId: string) => boolean;
}

/** It keeps what it had, but for a larger one than that when it has no jobs. */
function subnetOf({ store, settings, known, at, isFree }: NewHost): string {
  const { clusterRange, hostNet = HOST_NET } = settings;
  const held = {
    taken: store.list<HostRecord>(PREFIX.hosts).map(({ value }) => value.subnet),
    resting: store.get<RestingSubnet[]>(keys.restingSubnets)?.value ?? [],
    nowMs: unhurriedNow(at.getTime()),
  };
  if (known === undefined) return newSubnet(clusterRange, hostNet, held);
  const mayGrow = prefixOf(known.subnet) > hostNet && isFree(known.id);
  return (mayGrow ? largerSubnets(clusterRange, hostNet, held).next().value : undefined) ?? known.subnet;
}

function hostRecord(newHost: NewHost): HostRecord {
  const { store, id, known, worth, issued, request, at } = newHost;
  const facts = request.facts!;
  const hosts = store.list<HostRecord>(PREFIX.hosts).map(({ value }) => value);
  const profile = worth.machine && store.get<Profile>(keys.profile(worth.machine.profile))?.value;
  return {
    id,
    name:
      known?.name ??
      hostName(
        worth.machine?.name ?? request.name,
        hosts.map(({ name }) => name),
      ),
    state: "joining",
    reason: "has a certificate, has not reported yet",
    cordoned: known?.cordoned ?? false,
    ...(worth.machine ? { machineId: worth.machine.id } : {}),
    ...(facts.address ? { address: facts.address } : {}),
    ...((facts.addresses ?? known?.addresses) ? { addresses: facts.addresses ?? known?.addresses } : {}),
    subnet: subnetOf(newHost),
    capacity: facts.capacity,
    architecture: facts.architecture,
    tags: worth.machine ? { ...profile?.tags, ...worth.machine.tags, ...known?.tags } : { ...request.tags },
    keySha256: issued.keySha256,
    keyIssuedAt: at.toISOString(),
    agentVersion: facts.agentVersion,
    bootId: facts.bootId,
    joinedAt: at.toISOString(),
  };
}

function machineJoined(store: Store, worth: Worth, host: HostRecord, at: Date): Change[] {
  const machine = worth.machine!;
  const bootId = worth.grant!.bootId;
  const { pending, ...rest } = machine;
  const value: MachineRecord = {
    ...rest,
    ...(pending && pending.kind !== "two-sessions" ? { pending } : {}),
    // Its agent is there; that it is ready is for the agent to show.
    state: "booting",
    hostId: host.id,
    bootId,
    joinedBootId: bootId,
    lastSeenAt: at.toISOString(),
  };
  return [
    { key: keys.machine(machine.id), value },
    ...timelineChanges(store, at, machine.id, [
      { stage: "join", bootId, message: `its agent joined as host ${host.name} (${host.subnet})` },
    ]),
  ];
}
