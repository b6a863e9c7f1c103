// time limit: 180 s
// Joining over the API with real keys: single use, bound to a machine, repeatable only by whoever holds the same key.
import { randomUUID } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type JoinGrant, signJoinGrant } from "#api/boot.ts";
import { type Fault, isFault } from "#api/fault.ts";
import * as hosts from "#api/hosts.ts";
import { machineTimeline } from "#api/machines.ts";
import { listEvents } from "#api/status.ts";
import { newKeyPem } from "#lib/x509.ts";
import { keys, PREFIX } from "../../../control/keys.ts";
import { newMachine } from "../../../control/observe.ts";
import type { HostRecord, MachineRecord } from "../../../control/records.ts";
import { factsOf, type Member, type Rig, withRig } from "../rig.ts";

const quiet = { loops: false };
const MAC = "52:54:00:00:00:01";

async function refusal(work: Promise<unknown>): Promise<Fault> {
  const error = await work.then(
    () => new Error("was let in"),
    (cause: unknown) => cause,
  );
  if (!isFault(error)) throw error;
  return error;
}

async function machine(rig: Rig, mac = MAC): Promise<MachineRecord> {
  const value = newMachine({ mac }, { names: [], auto: true, at: new Date().toISOString() });
  await rig.store.commit({ actor: "test", mutations: [{ key: keys.machine(value.id), value }] });
  return value;
}

const grantOf = (boot: Member, { id }: MachineRecord, over: Partial<JoinGrant> = {}, key = boot.key): string =>
  signJoinGrant(
    {
      bootServerId: boot.id,
      machineId: id,
      bootId: `boot-${randomUUID()}`,
      mac: MAC,
      expiresAtMs: Date.now() + 60_000,
      nonce: randomUUID(),
      ...over,
    },
    key,
  );

const report = (rig: Rig, { client, id }: Member) =>
  client.call(hosts.reportHost, {
    params: { id },
    body: { term: rig.store.term, seq: 0, facts: factsOf("h", 1), engine: { healthy: true, reason: "" }, jobs: [] },
  });

test("of two that show one token at once exactly one gets in, and each host has a subnet of its own", () =>
  withRig(async (rig) => {
    const { token } = await rig.admin.call(hosts.createJoinToken, { body: { role: "host" } });
    const both = await Promise.allSettled([1, 2, 3].map((n) => rig.join("host", { token, name: `h${n}` })));
    assert.is(both.filter(({ status }) => status === "fulfilled").length, 1);
    for (const result of both) if (result.status === "rejected") assert.is(result.reason.code, "unauthenticated");
    await Promise.all([1, 2, 3, 4].map((n) => rig.join("host", { name: `h${n}` })));
    const subnets = rig.store.list<HostRecord>(PREFIX.hosts).map(({ value }) => value.subnet);
    assert.is(new Set(subnets).size, 5);
    const names = rig.store.list<HostRecord>(PREFIX.hosts).map(({ value }) => value.name);
    assert.is(new Set(names).size, 5);
  }, quiet));

test("a joiner whose answer got lost asks again with the same key and is the same member", () =>
  withRig(async (rig) => {
    const { token } = await rig.admin.call(hosts.createJoinToken, { body: { role: "host" } });
    const key = newKeyPem();
    const first = await rig.join("host", { token, key });
    const again = await rig.join("host", { token, key });
    assert.is(again.id, first.id);
    assert.is(rig.store.count(PREFIX.hosts), 1);
    await report(rig, again);
    await report(rig, first);
    assert.is((await refusal(rig.join("host", { token }))).code, "unauthenticated");
  }, quiet));

test("a token lets in its own role, in its time, and only a sound request", () =>
  withRig(async (rig) => {
    const make = async (body: { role: hosts.JoinRole; ttlMs?: number }) =>
      (await rig.admin.call(hosts.createJoinToken, { body })).token;
    assert.is((await refusal(rig.join("router", { token: await make({ role: "host" }) }))).code, "forbidden");
    const brief = await make({ role: "host", ttlMs: 1_000 });
    const record = rig.store
      .list<{ expiresAt: string }>(PREFIX.joinTokens)
      .find(({ value }) => Date.parse(value.expiresAt) < Date.now() + 2_000)!;
    await rig.store.commit({
      actor: "test",
      mutations: [{ key: record.key, value: { role: "host", expiresAt: new Date(Date.now() - 1).toISOString() } }],
    });
    assert.match((await refusal(rig.join("host", { token: brief }))).message, /expired/);
    const token = await make({ role: "host" });
    for (const csr of ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"])
      assert.is((await refusal(rig.join("host", { token, csr }))).code, "invalid");
    assert.is((await refusal(rig.join("host", { token, facts: undefined }))).code, "invalid");
    await rig.join("host", { token });
    for (const wrong of ["", "fjt_x", "fjg_x.y", "fjg_e30.AAAA"])
      assert.is((await refusal(rig.join("host", { token: wrong }))).code, "unauthenticated");
  }, quiet));

test("a grant lets in its machine once; replayed, expired, forged, foreign or of another machine it is refused and told of", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const mine = await machine(rig);
    const token = grantOf(boot, mine);
    const host = await rig.join("host", { token, facts: factsOf("h", 1) });
    assert.is(rig.store.get<MachineRecord>(keys.machine(mine.id))!.value.hostId, host.id);
    assert.match((await refusal(rig.join("host", { token, facts: factsOf("h", 1) }))).message, /used already/);

    const other = await rig.join("boot", { name: "other" });
    const cases: [string, RegExp][] = [
      [grantOf(boot, mine, { expiresAtMs: Date.now() - 1 }), /expired/],
      [grantOf(boot, mine, {}, other.key), /not signed by its boot server/],
      [grantOf(boot, mine, { bootServerId: "boot-nobody" }), /unknown boot server/],
      [grantOf(boot, { ...mine, id: "m-nobody" }), /not known/],
    ];
    for (const [grant, why] of cases) assert.match((await refusal(rig.join("host", { token: grant }))).message, why);
    const elsewhere = await refusal(rig.join("host", { token: grantOf(boot, mine), facts: factsOf("thief", 9) }));
    assert.is(elsewhere.code, "forbidden");
    const { items } = await rig.admin.call(machineTimeline, { params: { id: mine.id } });
    assert.ok(items.some(({ stage, message }) => stage === "token-refused" && /used already/.test(message)));
    assert.ok(
      (await rig.admin.call(listEvents, { query: { type: "join" } })).items.some(({ type }) => type === "join.refused"),
    );
    assert.is(rig.store.count(PREFIX.hosts), 1);
  }, quiet));

test("a machine that is not approved does not join", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const value: MachineRecord = { ...(await machine(rig)), approvedAt: undefined };
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.machine(value.id), value }] });
    assert.match(
      (await refusal(rig.join("host", { token: grantOf(boot, value), facts: factsOf("h", 1) }))).message,
      /not approved/,
    );
  }, quiet));

test("after a power cycle a machine is the same host with a new key, and its old certificate is refused", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const mine = await machine(rig);
    const before = await rig.join("host", { token: grantOf(boot, mine), facts: factsOf("h", 1) });
    await report(rig, before);
    const stream = before.client.stream(hosts.hostTarget, { params: { id: before.id } });
    assert.is((await stream.next()).value?.event, "item");
    const after = await rig.join("host", { token: grantOf(boot, mine), facts: factsOf("h", 1) });
    assert.is(after.id, before.id);
    await report(rig, after);
    assert.is((await refusal(report(rig, before))).code, "unauthenticated");
    await rig.join("host", { name: "peer", facts: factsOf("peer", 2) }); // something to tell
    const rest = await refusal(
      (async () => {
        for await (const _ of stream);
      })(),
    );
    assert.is(rest.code, "unauthenticated");
    await rig.restart();
    const again = rig.client({ identity: after });
    await report(rig, { ...after, client: again });
    const old = rig.client({ identity: before });
    assert.is((await refusal(report(rig, { ...before, client: old }))).code, "unauthenticated");
  }, quiet));

test("two boots of one machine that join at once are one host", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const mine = await machine(rig);
    await Promise.allSettled(
      [1, 2, 3].map(() => rig.join("host", { token: grantOf(boot, mine), facts: factsOf("h", 1) })),
    );
    assert.is(rig.store.count(PREFIX.hosts), 1);
  }, quiet));

test("a removed host is refused, its stream ends, and its machine may join anew", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const mine = await machine(rig);
    const host = await rig.join("host", { token: grantOf(boot, mine), facts: factsOf("h", 1) });
    await report(rig, host);
    const stream = host.client.stream(hosts.hostTarget, { params: { id: host.id } });
    await stream.next();
    await rig.admin.call(hosts.deleteHost, { params: { id: host.id } });
    assert.is(
      (
        await refusal(
          (async () => {
            for await (const _ of stream);
          })(),
        )
      ).code,
      "gone",
    );
    assert.is((await refusal(report(rig, host))).code, "unauthenticated");
    assert.is(rig.control.context.presence.hosts.size, 0);
    const again = await rig.join("host", { token: grantOf(boot, mine), facts: factsOf("h", 1) });
    assert.is.not(again.id, host.id);
    assert.is(rig.store.get<MachineRecord>(keys.machine(mine.id))!.value.hostId, again.id);
  }, quiet));

test.run();
