// time limit: 180 s
// Joining over the API with real keys: single use, bound to a machine, repeatable only by whoever holds the same key.
import { randomUUID } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type JoinGrant, postBootEvents, signJoinGrant } from "#api/boot.ts";
import { type Fault, isFault } from "#api/fault.ts";
import * as agents from "#api/host-agents.ts";
import * as hosts from "#api/hosts.ts";
import type { Job } from "#api/jobs.ts";
import { getMachine, machineTimeline } from "#api/machines.ts";
import * as members from "#api/members.ts";
import { listEvents } from "#api/status.ts";
import { until } from "#lib/time.ts";
import { newKeyPem } from "#lib/x509.ts";
import { newMachine } from "../../../control/identity/observe.ts";
import type { RestingSubnet } from "../../../control/identity/subnets.ts";
import { keys, PREFIX } from "../../../control/keys.ts";
import type { HostRecord, MachineRecord } from "../../../control/records.ts";
import { factsOf, type Member, type Rig, withRig } from "../rig.ts";

const quiet = { loops: false };
/** Hosts are lost after the shortest time. */
const brief = { loops: false, hostLostAfterMs: 2_000 };
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

/** The boot server tells control that this boot has begun. */
const begin = (boot: Member, { macs }: MachineRecord, bootId: string, stage: "script" | "seed" = "script") =>
  boot.client.call(postBootEvents, {
    params: { id: boot.id },
    body: {
      events: [
        {
          eventId: randomUUID(),
          at: new Date().toISOString(),
          claimed: { mac: macs[0]!, whole: true },
          observed: { card: macs[0]! },
          bootId,
          stage,
          level: "info",
          message: "given boot image i1",
        },
      ],
    },
  });

/** Asks as hostd does: again for as long as control says that it may become better. */
async function joinInTheEnd(rig: Rig, token: string, key = newKeyPem()): Promise<Member> {
  return await until(
    () =>
      rig.join("host", { token, key, facts: factsOf("h", 1) }).catch((error: unknown) => {
        if (isFault(error, "unavailable")) return undefined;
        throw error;
      }),
    { what: "the join", timeoutMs: 30_000, everyMs: 100 },
  );
}

const report = (rig: Rig, { client, id }: Member) =>
  client.call(agents.reportHost, {
    params: { id },
    body: { term: rig.store.term, seq: 0, facts: factsOf("h", 1), engine: { healthy: true, reason: "" }, jobs: [] },
  });

test("of two that show one token at once exactly one gets in, and each host has a subnet of its own", () =>
  withRig(async (rig) => {
    const { token } = await rig.admin.call(members.createJoinToken, { body: { role: "host" } });
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
    const { token } = await rig.admin.call(members.createJoinToken, { body: { role: "host" } });
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
    const make = async (body: { role: members.JoinRole; ttlMs?: number }) =>
      (await rig.admin.call(members.createJoinToken, { body })).token;
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
      [grantOf(boot, mine, {}, other.key), /not signed by a boot server/],
      [grantOf(boot, mine, { bootServerId: "boot-nobody" }), /not signed by a boot server/],
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

test("a refusal names nothing that its joiner did not bring; people are told which machine it was", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot", { name: "boot-in-the-cellar" });
    const other = await rig.join("boot", { name: "boot-in-the-attic" });
    const named = async (name: string, mac: string, over: Partial<MachineRecord> = {}) => {
      const value = { ...(await machine(rig, mac)), name, ...over };
      await rig.store.commit({ actor: "test", mutations: [{ key: keys.machine(value.id), value }] });
      return value;
    };
    const facts = factsOf("h", 1);
    const mine = await named("payroll-db", MAC);
    const waiting = await named("payroll-new", "52:54:00:00:00:02", { approvedAt: undefined });
    const grantFor = (of: MachineRecord, bootId = "boot-2") => grantOf(boot, of, { mac: of.macs[0]!, bootId });
    const first = grantFor(mine, "boot-1");
    const host = await rig.join("host", { token: first, facts });
    await report(rig, host);
    await begin(boot, mine, "boot-2");
    const living = grantFor(mine);
    const { token: routers } = await rig.admin.call(members.createJoinToken, { body: { role: "router" } });
    const asked: [string, Parameters<typeof rig.join>[1]][] = [
      ["replayed", { token: first, facts }],
      ["of another machine", { token: grantFor(mine), facts: factsOf("thief", 9) }],
      ["not approved", { token: grantFor(waiting), facts: { ...facts, macs: waiting.macs } }],
      ["withheld", { token: living, facts }],
      ["forged", { token: grantOf(boot, mine, {}, other.key), facts }],
      ["of nobody's boot server", { token: grantOf(boot, mine, { bootServerId: "boot-nobody" }), facts }],
      ["of no machine", { token: grantOf(boot, { ...mine, id: "m-nobody" }), facts }],
      ["expired", { token: grantOf(boot, mine, { expiresAtMs: Date.now() - 1 }), facts }],
      ["a guess", { token: "fjt_guessed-guessed", facts }],
      ["another role's", { token: routers, facts }],
    ];
    const said = new Map<string, string>();
    for (const [what, how] of asked) {
      const { code, message, details } = await refusal(rig.join("host", how));
      const { requestId: _, ...rest } = details ?? {};
      said.set(what, JSON.stringify([code, message, rest]));
    }
    await begin(boot, mine, "boot-3");
    said.set("superseded", JSON.stringify(await refusal(rig.join("host", { token: living, facts }))));
    const { name, address, subnet } = rig.store.get<HostRecord>(keys.host(host.id))!.value;
    const secrets = ["payroll", host.id, address, subnet, "cellar", "attic", boot.id, mine.id, `"${name}"`];
    for (const [what, words] of said)
      for (const secret of secrets)
        assert.not.ok(secret !== undefined && words.includes(secret), `${what} says ${secret}: ${words}`);
    assert.is(said.get("forged"), said.get("of nobody's boot server"), "who guesses learns of no boot server");
    const timelineOf = async ({ id }: MachineRecord) =>
      (await rig.admin.call(machineTimeline, { params: { id } })).items.map(({ message }) => message).join("\n");
    assert.match(await timelineOf(mine), /machine payroll-db/);
  }, brief));

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
    const stream = before.client.stream(agents.hostTarget, { params: { id: before.id } });
    assert.is((await stream.next()).value?.event, "item");
    await begin(boot, mine, "boot-2");
    const after = await joinInTheEnd(rig, grantOf(boot, mine, { bootId: "boot-2" }));
    assert.is(after.id, before.id);
    assert.is((await rig.admin.call(getMachine, { params: { id: mine.id } })).pending, undefined);
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
  }, brief));

for (const isBusy of [false, true])
  test(`a machine that boots again ${isBusy ? "with a job of its host on record keeps its subnet" : "without jobs joins with a subnet of the size given now, and its old one rests"}`, () =>
    withRig(async (rig) => {
      const boot = await rig.join("boot");
      const mine = await machine(rig);
      const before = await rig.join("host", { token: grantOf(boot, mine), facts: factsOf("h", 1) });
      await report(rig, before);
      if (isBusy) {
        const job = { id: "j1", appId: "a1", app: "hello", process: "web", desired: "run", state: "up", reason: "" };
        const need = { cpuMillis: 1, memoryBytes: 1, diskBytes: 0 };
        const value = { ...job, need, releaseId: "r1", hostId: before.id, tags: {} } as unknown as Job;
        await rig.store.commit({ actor: "test", mutations: [{ key: keys.job("a1", "j1"), value }] });
      }
      rig.config.hostNet = 23;
      await rig.restart();
      await begin(boot, mine, "boot-2");
      const after = await joinInTheEnd(rig, grantOf(boot, mine, { bootId: "boot-2" }));
      assert.is(after.id, before.id);
      const { subnet } = rig.store.get<HostRecord>(keys.host(before.id))!.value;
      const rests = rig.store.get<RestingSubnet[]>(keys.restingSubnets)?.value.map((each) => each.subnet);
      if (isBusy) assert.equal([subnet, rests], ["100.64.1.0/24", undefined]);
      else assert.equal([subnet, rests], ["100.64.2.0/23", ["100.64.1.0/24"]]);
    }, brief));

test("a host that lives keeps its certificate while somebody boots in its name: the grant is withheld, both are named, and a real reboot joins later", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const mine = await machine(rig);
    const host = await rig.join("host", { token: grantOf(boot, mine, { bootId: "boot-1" }), facts: factsOf("h", 1) });
    await report(rig, host);
    await begin(boot, mine, "boot-thief");
    const token = grantOf(boot, mine, { bootId: "boot-thief" });
    const ask = () => rig.join("host", { token, facts: factsOf("h", 1) });
    await refusal(ask());
    await report(rig, host);
    const withheld = await refusal(ask());
    assert.equal([withheld.code, withheld.retry], ["unavailable", true]);
    for (const secret of ["boot-1", "10.1.0.1", mine.name])
      assert.not.match(`${withheld.message} ${JSON.stringify(withheld.details)}`, secret);
    await report(rig, host);
    const { pending } = await rig.admin.call(getMachine, { params: { id: mine.id } });
    assert.is(pending?.kind, "two-sessions");
    const { items } = await rig.admin.call(listEvents, { query: { type: "machine.two-sessions", after: 0 } });
    assert.is(items.length, 1);
    assert.match(items[0]!.message, /host \S+ \(10\.1\.0\.1, boot boot-1\) reports, and boot boot-thief asks to join/);
    const timeline = await rig.admin.call(machineTimeline, { params: { id: mine.id } });
    assert.ok(
      timeline.items.some(({ stage, message }) => stage === "token-refused" && /two live sessions/.test(message)),
    );
    await joinInTheEnd(rig, token); // its host has fallen silent
    assert.is((await rig.admin.call(getMachine, { params: { id: mine.id } })).pending, undefined);
    assert.is((await refusal(report(rig, host))).code, "unauthenticated");
  }, brief));

test("a boot that this control did not see begin joins once the host was silent for a full TTL of this control", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const mine = await machine(rig);
    await rig.join("host", { token: grantOf(boot, mine), facts: factsOf("h", 1) });
    await rig.restart();
    const startedMs = performance.now();
    const token = grantOf(boot, mine);
    assert.is((await refusal(rig.join("host", { token, facts: factsOf("h", 1) }))).code, "unavailable");
    await joinInTheEnd(rig, token);
    assert.ok(performance.now() - startedMs >= 1_000, "it waited");
  }, brief));

test("time in which control itself did not run is nobody's silence", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const mine = await machine(rig);
    const host = await rig.join("host", { token: grantOf(boot, mine), facts: factsOf("h", 1) });
    await report(rig, host);
    const ask = () => rig.join("host", { token: grantOf(boot, mine), facts: factsOf("h", 1) });
    assert.is((await refusal(ask())).code, "unavailable");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3_000);
    assert.is((await refusal(ask())).code, "unavailable");
    await report(rig, host);
  }, brief));

test("after a restart of control, a late step of a boot that began before is no beginning", () =>
  withRig(
    async (rig) => {
      const boot = await rig.join("boot");
      const mine = await machine(rig);
      await rig.join("host", { token: grantOf(boot, mine), facts: factsOf("h", 1) });
      await begin(boot, mine, "boot-2");
      await rig.restart();
      await begin({ ...boot, client: rig.client({ identity: boot }) }, mine, "boot-2", "seed");
      const { begun, startedMs, nowMs } = rig.control.context.presence;
      assert.is(begun.size, 0);
      await joinInTheEnd(rig, grantOf(boot, mine, { bootId: "boot-2" }));
      assert.ok(nowMs() - startedMs >= 7_000, "it waited for a full TTL");
    },
    { loops: false, hostLostAfterMs: 7_000 },
  ));

test("a grant that was withheld ends with the next boot of its machine", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const mine = await machine(rig);
    const host = await rig.join("host", { token: grantOf(boot, mine, { bootId: "boot-1" }), facts: factsOf("h", 1) });
    await report(rig, host);
    await begin(boot, mine, "boot-2");
    const kept = grantOf(boot, mine, { bootId: "boot-2" });
    assert.is((await refusal(rig.join("host", { token: kept, facts: factsOf("h", 1) }))).code, "unavailable");
    await begin(boot, mine, "boot-3");
    const over = await refusal(rig.join("host", { token: kept, facts: factsOf("h", 1) }));
    assert.is(over.code, "unauthenticated");
    assert.match(over.message, /a later boot .* ended/);
    await joinInTheEnd(rig, grantOf(boot, mine, { bootId: "boot-3" }));
  }, brief));

test("a joiner whose answer got lost is not held up by the host that it became", () =>
  withRig(async (rig) => {
    const boot = await rig.join("boot");
    const mine = await machine(rig);
    const [token, key] = [grantOf(boot, mine), newKeyPem()];
    const first = await rig.join("host", { token, key, facts: factsOf("h", 1) });
    await report(rig, first);
    const again = await rig.join("host", { token, key, facts: factsOf("h", 1) });
    assert.is(again.id, first.id);
    const { joinedBootId } = await rig.admin.call(getMachine, { params: { id: mine.id } });
    assert.ok(joinedBootId, "boot servers learn that this boot's token is used up");
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
    const stream = host.client.stream(agents.hostTarget, { params: { id: host.id } });
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
