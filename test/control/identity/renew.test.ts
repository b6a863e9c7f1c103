// time limit: 180 s
// Renewal as control sees it: whose key is good when, whose grants, what is told, and what it shows itself.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { signJoinGrant } from "#api/boot.ts";
import { type Fault, isFault } from "#api/fault.ts";
import * as agents from "#api/host-agents.ts";
import * as hosts from "#api/hosts.ts";
import { machineTimeline } from "#api/machines.ts";
import * as members from "#api/members.ts";
import * as routerAgents from "#api/router-agents.ts";
import { listEvents } from "#api/status.ts";
import { silentLog } from "#lib/log.ts";
import { deadline, until } from "#lib/time.ts";
import { newCsr, newKeyPem } from "#lib/x509.ts";
import { openAuthority } from "../../../control/identity/authority.ts";
import { newMachine } from "../../../control/identity/observe.ts";
import { keepOwn } from "../../../control/identity/own-certificates.ts";
import { isRecovered } from "../../../control/identity/recovered-key.ts";
import { keys } from "../../../control/keys.ts";
import type { HostRecord, MachineRecord, MemberRecord } from "../../../control/records.ts";
import { factsOf, type Member, type Rig, withRig } from "../rig.ts";

const quiet = { loops: false };
const DAY_MS = 86_400_000;
const MAC = "52:54:00:00:00:01";

async function refusal(work: Promise<unknown>): Promise<Fault> {
  const error = await work.then(
    () => new Error("was let in"),
    (cause: unknown) => cause,
  );
  if (!isFault(error)) throw error;
  return error;
}

const target = (member: Member) => member.client.call(agents.hostTarget, { params: { id: member.id } });

async function renew(rig: Rig, { id, client }: Member, key = newKeyPem()): Promise<Member & { expiresAt: string }> {
  const body = { csr: await newCsr(key, id) };
  const { certificate, expiresAt } = await client.call(members.renewMember, { params: { id }, body });
  return { id, key, certificate, expiresAt, client: rig.client({ identity: { key, certificate } }) };
}

test("both certificates are good until the new one is first used, also over a restart; then only the new one", () =>
  withRig(async (rig) => {
    const before = await rig.join("host");
    const after = await renew(rig, before);
    const days = (Date.parse(after.expiresAt) - Date.now()) / DAY_MS;
    assert.ok(days > 29.9 && days <= 30, String(days));
    await target(before);
    await rig.restart();
    const reopened = { ...before, client: rig.client({ identity: before }) };
    await target(reopened);
    await target(after);
    assert.match((await refusal(target(reopened))).message, /not good any more/);
    const record = rig.store.get<HostRecord>(keys.host(before.id))!.value;
    assert.is(record.next, undefined);
    await target(after);
    const { items } = await rig.admin.call(listEvents, { query: { type: "host.renewed" } });
    assert.is(items.length, 1);
    const shown = await rig.admin.call(hosts.getHost, { params: { id: before.id } });
    assert.not.ok("next" in shown || "keySha256" in shown);
  }, quiet));

test("the life of certificates is the configured one", () =>
  withRig(
    async (rig) => {
      const { expiresAt } = await renew(rig, await rig.join("router"));
      const days = (Date.parse(expiresAt) - Date.now()) / DAY_MS;
      assert.ok(days > 2.9 && days <= 3, String(days));
    },
    { ...quiet, memberCertificateDays: 3 },
  ));

test("a member renews itself only, with a sound request; a token or a stranger renews nobody", () =>
  withRig(async (rig) => {
    const [mine, other] = [await rig.join("host"), await rig.join("router")];
    assert.is((await refusal(renew(rig, { ...mine, id: other.id }))).code, "forbidden");
    assert.is((await refusal(renew(rig, { ...mine, client: rig.admin }))).code, "forbidden");
    assert.is((await refusal(renew(rig, { ...mine, client: rig.client() }))).code, "unauthenticated");
    const nonsense = mine.client.call(members.renewMember, { params: { id: mine.id }, body: { csr: "nonsense" } });
    assert.is((await refusal(nonsense)).code, "invalid");
    await rig.admin.call(hosts.deleteHost, { params: { id: mine.id } });
    assert.is((await refusal(renew(rig, mine))).code, "unauthenticated");
  }, quiet));

test("a second renewal before the first was used replaces it: the first one's key is no key", () =>
  withRig(async (rig) => {
    const before = await rig.join("host");
    const unused = await renew(rig, before);
    const after = await renew(rig, before);
    assert.is((await refusal(target(unused))).code, "unauthenticated");
    await target(after);
    assert.is((await refusal(target(before))).code, "unauthenticated");
  }, quiet));

test("a certificate of another authority is refused, not taken for a stranger without one", () =>
  withRig(async (rig) => {
    const directory = await mkdtemp(join(tmpdir(), "flynn-other-ca-"));
    try {
      const other = await openAuthority(directory);
      const { id } = await rig.join("host");
      const key = newKeyPem();
      const csrPem = await newCsr(key, id);
      const { certificate } = await other.issueMember({ role: "host", id, csrPem, days: 1 });
      const client = rig.client({ identity: { key, certificate } });
      const { code, message } = await refusal(client.call(agents.hostTarget, { params: { id } }));
      assert.is(code, "unauthenticated");
      assert.match(message, /not of this cluster/);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }, quiet));

async function machine(rig: Rig): Promise<MachineRecord> {
  const value = newMachine({ mac: MAC }, { names: [], auto: true, at: new Date().toISOString() });
  await rig.store.commit({ actor: "test", mutations: [{ key: keys.machine(value.id), value }] });
  return value;
}

const grantOf = (boot: Member, machineId: string, nonce: string, expiresAtMs = Date.now() + 60_000): string =>
  signJoinGrant({ bootServerId: boot.id, machineId, bootId: `boot-${nonce}`, mac: MAC, expiresAtMs, nonce }, boot.key);

test("grants signed before a boot server's renewal, and by the new key before its first use, let their machines in", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const { id } = await machine(rig);
    const facts = factsOf("h", 1);
    const early = grantOf(boot, (await machine(rig)).id, "early");
    const renewed = await renew(rig, boot);
    const host = await rig.join("host", { token: grantOf(renewed, id, "next"), facts });
    // Its first use.
    const wrong = await refusal(renewed.client.call(agents.hostTarget, { params: { id: host.id } }));
    assert.is(wrong.code, "forbidden");
    assert.is(rig.store.get<MemberRecord>(keys.bootServer(boot.id))?.value.next, undefined);
    assert.is.not((await rig.join("host", { token: early, facts })).id, host.id);
    const entry = rig.store.get<MemberRecord>(keys.bootServer(boot.id))!;
    const former = { ...entry.value.former!, until: new Date(Date.now() - 1).toISOString() };
    await rig.store.commit({ actor: "test", mutations: [{ key: entry.key, value: { ...entry.value, former } }] });
    const late = await refusal(rig.join("host", { token: grantOf(boot, id, "late"), facts }));
    assert.match(late.message, /not signed by a boot server of this cluster/);
  }, quiet));

test("the same key may ask again though the token expired meanwhile; another key is refused and told of as a replay", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const { id } = await machine(rig);
    const facts = factsOf("h", 1);
    const key = newKeyPem();
    const token = grantOf(boot, id, "once", Date.now() + 1_500);
    const first = await rig.join("host", { token, facts, key });
    const other = grantOf(boot, id, "unused", Date.now() + 1);
    await until(
      () =>
        rig.join("host", { token: other, facts }).then(
          () => false,
          ({ message }: Fault) => /expired/.test(message),
        ),
      {
        what: "the end of the grants",
        timeoutMs: 10_000,
      },
    );
    await until(() => Date.now() > Date.parse(expiryOf(token)), { what: "the end of the grant", timeoutMs: 30_000 });
    const again = await rig.join("host", { token, facts, key });
    assert.is(again.id, first.id);
    await target(again);
    assert.match((await refusal(rig.join("host", { token, facts }))).message, /used already/);
    const { items } = await rig.admin.call(listEvents, { query: { type: "join-token.replayed" } });
    assert.is(items.length, 1);
    const timeline = await rig.admin.call(machineTimeline, { params: { id } });
    assert.ok(timeline.items.some(({ stage, message }) => stage === "token-refused" && /used already/.test(message)));
    await target(again);

    const { token: plain } = await rig.admin.call(members.createJoinToken, { body: { role: "router" } });
    const router = await rig.join("router", { token: plain, key });
    assert.is((await rig.join("router", { token: plain, key })).id, router.id);
    assert.is((await refusal(rig.join("router", { token: plain }))).code, "unauthenticated");
  }, quiet));

const expiryOf = (grant: string): string => {
  const payload = JSON.parse(Buffer.from(grant.slice(4).split(".")[0]!, "base64url").toString()) as {
    expiresAtMs: number;
  };
  return new Date(payload.expiresAtMs).toISOString();
};

test("a host without a machine brings its first tags; a machine's are control's", () =>
  withRig(async (rig) => {
    const tags = { zone: "a", disk: "ssd" };
    const { id } = await rig.join("host", { tags });
    const shown = async (hostId: string) => (await rig.admin.call(hosts.getHost, { params: { id: hostId } })).tags;
    assert.equal(await shown(id), tags);
    const boot = await rig.join("boot");
    const mine = await machine(rig);
    const booted = await rig.join("host", { token: grantOf(boot, mine.id, "n"), facts: factsOf("h", 1), tags });
    assert.equal(await shown(booted.id), {});
    const bad = { token: "fjt_x", tags: { "no such": "tag" } };
    assert.is((await refusal(rig.join("host", bad))).code, "invalid");
  }, quiet));

function presented(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()!.serialNumber);
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

test("control issues itself new certificates in time and shows them, and open streams go on", () =>
  withRig(async (rig) => {
    const member = await rig.join("host");
    const stream = member.client.stream(agents.hostTarget, { params: { id: member.id } });
    assert.is((await stream.next()).value?.event, "item");
    const before = await presented(rig.config.port);
    const authority = await openAuthority(join(rig.directory, "ca"));
    const directory = join(rig.directory, "pki");
    const controller = new AbortController();
    let aheadMs = 270 * DAY_MS;
    const identity = await authority.issueControl(["127.0.0.1"]);
    const keeping = keepOwn({
      authority,
      addresses: ["127.0.0.1"],
      directory,
      identity,
      onRenewed: async (next) => {
        aheadMs = 0;
        rig.control.useIdentity(next);
      },
      log: silentLog(),
      signal: controller.signal,
      nowMs: () => Date.now() + aheadMs,
    });
    await until(async () => (await presented(rig.config.port)) !== before, {
      what: "the new certificate",
      timeoutMs: 10_000,
    });
    controller.abort();
    await keeping;
    assert.match(await readFile(join(directory, "registry.crt"), "utf8"), /BEGIN CERTIFICATE/);
    await target({ ...member, client: rig.client({ identity: member }) });
    await rig.join("host", { name: "another" });
    const heard = async () => {
      for await (const { data } of stream) if (data && data.peers?.length === 1) return;
      throw new Error("the open stream ended");
    };
    await deadline(heard(), 10_000, "news of the other host on the stream that was open");
  }, quiet));

const AT = "2026-06-01T00:00:00.000Z";
const RESTORED = { at: AT, restoredAt: "2026-06-10T00:00:00.000Z" };
const ISSUED: [string, Parameters<typeof isRecovered>[0], string | undefined, string, boolean][] = [
  ["no restore", undefined, undefined, "2026-06-05T00:00:00.000Z", false],
  [
    "a state whose time is not known",
    { restoredAt: RESTORED.restoredAt },
    undefined,
    "2026-06-05T00:00:00.000Z",
    false,
  ],
  ["between the state and the restore", RESTORED, undefined, "2026-06-05T00:00:00.000Z", true],
  ["before the state: replaced by what is on record", RESTORED, undefined, "2026-05-31T00:00:00.000Z", false],
  ["after the restore: issued and replaced since", RESTORED, undefined, "2026-06-11T00:00:00.000Z", false],
  ["older than one that was taken again", RESTORED, "2026-06-07T00:00:00.000Z", "2026-06-05T00:00:00.000Z", false],
  ["newer than one that was taken again", RESTORED, "2026-06-05T00:00:00.000Z", "2026-06-07T00:00:00.000Z", true],
  ["older than the one on record since", RESTORED, "2026-06-12T00:00:00.000Z", "2026-06-05T00:00:00.000Z", false],
  [
    "before the state, newer than the one on record: of a time that an earlier restore lost",
    RESTORED,
    "2026-05-20T00:00:00.000Z",
    "2026-05-31T00:00:00.000Z",
    true,
  ],
];
for (const [what, restored, from, issued, isGood] of ISSUED)
  test(`after a restore, a certificate of ${what}: ${isGood ? "taken" : "refused"}`, () =>
    assert.is(isRecovered(restored, from, Date.parse(issued)), isGood));

test("a backup older than a renewal locks nobody out: the renewed certificate is taken again, what came before it is not", () =>
  withRig(async (rig) => {
    const stateAt = new Date(Date.now() - 5_000).toISOString();
    for (const role of ["host", "router"] as const) {
      const joined = await rig.join(role);
      const key = role === "host" ? keys.host(joined.id) : keys.router(joined.id);
      const { value: old } = rig.store.get<HostRecord & MemberRecord>(key)!;
      const renewed = await renew(rig, joined);
      const ask = ({ client, id }: Member) =>
        role === "host"
          ? client.call(agents.hostTarget, { params: { id } })
          : client.call(routerAgents.routerTarget, { params: { id } });
      await ask(renewed);
      // The state of before the renewal is put back; the key on record is of a certificate that nobody has any more.
      const onRecord = { keySha256: "0".repeat(64), keyIssuedAt: stateAt };
      const mutations = [{ key, value: { ...old, ...onRecord } as never }];
      await rig.store.commit({ actor: "test", mutations });
      assert.match((await refusal(ask(renewed))).message, /not good any more/);
      const restoredAt = new Date(Date.now() + 1_000).toISOString();
      await rig.store.commit({
        actor: "test",
        mutations: [{ key: keys.restored, value: { restoredAt, at: stateAt } }],
      });
      await ask(renewed);
      await until(() => rig.store.durable.get<HostRecord>(key)?.value.keySha256 !== "0".repeat(64), {
        what: "the key on record",
        timeoutMs: 10_000,
      });
      await rig.restart();
      await ask({ ...renewed, client: rig.client({ identity: renewed }) });
      const former = { ...joined, client: rig.client({ identity: joined }) };
      assert.match((await refusal(ask(former))).message, /not good any more/);
      await rig.store.commit({ actor: "test", mutations: [{ key: keys.restored, value: null }] });
    }
  }, quiet));

test("after a restore, whoever has a newer certificate by now keeps it: one of the time that was lost takes its place no more", () =>
  withRig(async (rig) => {
    const joined = await rig.join("host");
    const key = keys.host(joined.id);
    const lost = await renew(rig, joined);
    await target(lost);
    const { next: _, ...of } = rig.store.get<HostRecord>(key)!.value;
    const restored = { restoredAt: new Date(Date.now() + 1_000).toISOString(), at: "2020-01-01T00:00:00.000Z" };
    const later = await renew(rig, lost);
    await target(later);
    const { keySha256, keyIssuedAt } = rig.store.get<HostRecord>(key)!.value;
    assert.ok(keyIssuedAt, "when the certificate in use was issued");
    // What the renewal after the restore leaves behind, an hour after it.
    const hour = 3_600_000;
    const value = { ...of, keySha256, keyIssuedAt: new Date(Date.parse(keyIssuedAt!) + hour).toISOString() };
    await rig.store.commit({
      actor: "test",
      mutations: [
        { key, value },
        { key: keys.restored, value: restored },
      ],
    });
    const again = { ...lost, client: rig.client({ identity: lost }) };
    assert.match((await refusal(target(again))).message, /not good any more/);
    await target(later);
    const router = await rig.join("router");
    assert.ok(rig.store.get<MemberRecord>(keys.router(router.id))!.value.keyIssuedAt, "of one that joins too");
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.restored, value: null }] });
  }, quiet));

test.run();
