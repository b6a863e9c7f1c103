// Every host's reach kept from records: it is what a fresh look at the store gives, and a record wakes the hosts it concerns alone.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { deleteHost } from "#api/hosts.ts";
import type { Job } from "#api/jobs.ts";
import { loadControlConfig } from "../../../control/config.ts";
import { keys } from "../../../control/keys.ts";
import { reaches } from "../../../control/network/reaches.ts";
import { ruleChanges, ruleEnd } from "../../../control/network/rules.ts";
import type { NetworkRuleRecord } from "../../../control/records.ts";
import type { Change, Store } from "../../../control/store/store.ts";
import { factsOf, withRig } from "../rig.ts";

const config = loadControlConfig();
const options = (store: Store) => ({ store, config, controlUrls: ["https://10.1.0.1:7777"], monotonicMs: () => 0 });

const job = (
  id: string,
  appId: string,
  hostId: string | undefined,
  address?: string,
  over: Partial<Job> = {},
): Change => ({
  key: keys.job(appId, id),
  value: {
    id,
    appId,
    state: "up",
    desired: "run",
    ...(hostId ? { hostId } : {}),
    ...(address ? { address } : {}),
    ...over,
  },
});
const rule = (from: string, to: string): NetworkRuleRecord => ({
  id: `rule-${from}-${to}`,
  from: { kind: "app", id: from },
  to: { kind: "app", id: to },
  createdAt: "",
  createdBy: "",
});

const toService = (from: string, id: string): NetworkRuleRecord => ({ ...rule(from, id), to: { kind: "service", id } });
const outside = (name: string, id: string, address: string): Change => ({
  key: keys.externalService(name),
  value: { id, name, address, port: 5432, createdAt: "" },
});

const HOSTS = ["h1", "h2", "h3", "h4"];
const APPS = ["a", "b", "c"];

test("after any records it is the same as a fresh look, versions only grow, and they grow only when the content changed", () =>
  withRig(
    async ({ store }) => {
      let seed = 7;
      const random = (below: number) => {
        seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
        return Math.floor((seed / 2 ** 31) * below);
      };
      const one = <T>(list: readonly T[]): T => list[random(list.length)]!;
      const kept = reaches(options(store));
      store.onDurable((record) => kept.apply(record));
      const before = new Map(HOSTS.map((hostId) => [hostId, JSON.stringify(kept.of(hostId))]));
      for (let n = 0; n < 300; n++) {
        const from = one(APPS);
        const made = rule(from, one(APPS.filter((app) => app !== from)));
        const id = `j${random(12)}`;
        const appId = APPS[Number(id.slice(1)) % 3]!;
        const address = random(3) === 0 ? undefined : `100.64.0.${random(9)}`;
        const mutations = one<() => Change[]>([
          () => ruleChanges(store, made),
          () => (store.get(keys.networkRule(made.id)) === undefined ? [] : ruleEnd(made)),
          () => [job(id, appId, one([...HOSTS, undefined]), address)],
          () => [job(id, appId, one(HOSTS), address, { state: one(["up", "down", "lost", "starting"]) })],
          () => [{ key: keys.job(appId, id), value: null }],
          () => [{ key: keys.router("r1"), value: { id: "r1", addresses: [`10.1.0.${random(3)}`] } }],
          () => [outside("db", `svc-${random(2)}`, `10.20.0.${random(3)}`)],
          () => [{ key: keys.externalService("db"), value: null }],
          () => ruleChanges(store, toService(from, `svc-${random(2)}`)),
          () => [{ key: keys.host("h1"), value: { id: "h1", addresses: [`10.2.0.${random(3)}`] } }],
        ])();
        if (mutations.length === 0) continue;
        await store.commit({ actor: "test", mutations });
        const fresh = reaches(options(store));
        for (const hostId of one([[one(HOSTS)], HOSTS])) {
          const { version, ...content } = kept.of(hostId);
          const { version: _, ...expected } = fresh.of(hostId);
          assert.equal(content, expected);
          const { version: earlier, ...had } = JSON.parse(before.get(hostId)!) as { version: number };
          const isSame = JSON.stringify(had) === JSON.stringify(content);
          if (isSame) assert.is(version, earlier);
          else assert.ok(version > earlier && version <= store.durableSeq, `${version} after ${earlier}`);
          before.set(hostId, JSON.stringify(kept.of(hostId)));
        }
      }
    },
    { loops: false },
  ));

test("a rule to an external service is told to the hosts that run the app, follows its address, and ends with it", () =>
  withRig(
    async ({ store }) => {
      const kept = reaches(options(store));
      store.onDurable((record) => kept.apply(record));
      const commit = (...mutations: Change[]) => store.commit({ actor: "test", mutations });
      const seen = () => HOSTS.slice(0, 2).map((hostId) => kept.of(hostId).apps.map(({ outside: to }) => to));
      await commit(
        job("a-1", "a", "h1", "100.64.1.2"),
        job("b-1", "b", "h2", "100.64.2.2"),
        outside("db", "svc-1", "10.20.0.5"),
      );
      assert.equal(seen(), [[undefined], [undefined]], "not without a rule");
      await commit(...ruleChanges(store, toService("a", "svc-1")));
      assert.equal(seen(), [[[{ address: "10.20.0.5", port: 5432 }]], [undefined]]);
      await commit(outside("db", "svc-1", "10.20.0.6"));
      assert.equal(seen()[0], [[{ address: "10.20.0.6", port: 5432 }]]);
      await commit(outside("db", "svc-2", "10.20.0.7"));
      assert.equal(seen()[0], [undefined], "another one of the same name has no old rules");
    },
    { loops: false },
  ));

test("an app's addresses are as old as the record that changed them last, or as control itself when that was before it", () =>
  withRig(
    async ({ store }) => {
      await store.commit({ actor: "test", mutations: [job("j1", "a", "h1", "100.64.1.2")] });
      const openedSeq = store.durableSeq;
      const kept = reaches(options(store));
      store.onDurable((record) => kept.apply(record));
      await store.commit({ actor: "test", mutations: [job("j2", "b", "h2", "100.64.2.2")] });
      assert.equal([kept.changedSeq("a"), kept.changedSeq("b")], [openedSeq, store.durableSeq]);
      assert.ok(store.durableSeq > openedSeq);
    },
    { loops: false },
  ));

test("a reach is as old as its newest version: what changes nothing of it makes it no younger", () =>
  withRig(
    async ({ store }) => {
      let nowMs = 1_000;
      const kept = reaches({ ...options(store), monotonicMs: () => nowMs });
      store.onDurable((record) => kept.apply(record));
      const put = (address: string, over: Partial<Job> = {}) =>
        store.commit({ actor: "test", mutations: [job("j1", "a", "h1", address, over)] });
      await put("100.64.1.2");
      assert.is(kept.ageMs("h1"), 0);
      nowMs += 500;
      await put("100.64.1.2", { restarts: 1 });
      assert.is(kept.ageMs("h1"), 500);
      await put("100.64.1.3");
      assert.is(kept.ageMs("h1"), 0);
    },
    { loops: false },
  ));

test("a job that was there before control started leaves the reach with its record, and takes no other along", () =>
  withRig(
    async ({ store }) => {
      const jobs = [job("a-1", "a", "h1", "100.64.1.2"), job("b-1", "b", "h1", "100.64.1.3")];
      await store.commit({ actor: "test", mutations: jobs });
      const kept = reaches(options(store));
      store.onDurable((record) => kept.apply(record));
      assert.equal([...kept.hostsOf("a"), ...kept.hostsOf("b")], ["h1", "h1"]);
      await store.commit({ actor: "test", mutations: [{ key: keys.job("a", "a-1"), value: null }] });
      assert.equal([[...kept.hostsOf("a")], [...kept.hostsOf("b")]], [[], ["h1"]]);
    },
    { loops: false },
  ));

test("of two who listen for a host the one that stays is told when the other has gone, and nobody once both have", () =>
  withRig(
    async ({ store }) => {
      const kept = reaches(options(store));
      store.onDurable((record) => kept.apply(record));
      const woken: string[] = [];
      const [stopOne, stopOther] = ["one", "other"].map((who) => kept.onChange("h1", () => woken.push(who)));
      const change = (n: number) =>
        store.commit({ actor: "test", mutations: [job("j1", "a", "h1", `100.64.1.${n}`)] }).then(() => woken.splice(0));
      assert.equal(new Set(await change(2)), new Set(["one", "other"]));
      stopOne!();
      assert.equal(new Set(await change(3)), new Set(["other"]));
      stopOther!();
      assert.equal(await change(4), []);
    },
    { loops: false },
  ));

test("every address that a host reports is closed to all hosts' jobs, at join and later; one that reports none keeps its own", () =>
  withRig(
    async ({ control, admin, host }) => {
      const kept = control.context.reaches;
      const [a, b] = [await host("a"), await host("b")];
      const has = (address: string) => kept.of(b.id).closed.includes(`${address}/32`);
      const facts = factsOf("a", 1);
      await a.report({ facts: { ...facts, addresses: ["10.1.0.1", "192.168.5.2", "9.9.9.7"] } });
      assert.ok(has("10.1.0.1") && has("192.168.5.2") && has("9.9.9.7"));
      const { version } = kept.of(b.id);
      await a.report({ facts: { ...facts, addresses: ["10.1.0.1", "192.168.5.2", "9.9.9.7"] } });
      await a.report({ facts });
      assert.is(kept.of(b.id).version, version, "nothing new changes nothing");
      assert.ok(has("192.168.5.2"));
      await a.report({ facts: { ...facts, addresses: ["10.1.0.1"] } });
      assert.ok(!has("192.168.5.2") && kept.of(b.id).version > version);
      await admin.call(deleteHost, { params: { id: a.id } });
      assert.ok(!has("10.1.0.1"));
    },
    { loops: false },
  ));

test("a record wakes the hosts of the app and of those a rule joins it to, and no other", () =>
  withRig(
    async ({ store }) => {
      const woken: string[] = [];
      const kept = reaches(options(store));
      for (const hostId of HOSTS) kept.onChange(hostId, () => woken.push(hostId));
      store.onDurable((record) => kept.apply(record));
      const after = async (mutations: Change[]): Promise<string> => {
        woken.length = 0;
        await store.commit({ actor: "test", mutations });
        return [...new Set(woken)].sort().join(" ");
      };
      assert.is(await after([job("j1", "a", "h1", "100.64.1.2")]), "h1");
      assert.is(await after([job("j2", "b", "h2", "100.64.2.2")]), "h2");
      assert.is(await after([job("j3", "c", "h3", "100.64.3.2")]), "h3");
      assert.is(
        await after([job("j1", "a", "h1", "100.64.1.2", { restarts: 3 })]),
        "",
        "nothing of it concerns a reach",
      );
      assert.is(await after(ruleChanges(store, rule("a", "b"))), "h1 h2");
      assert.is(await after([job("j4", "a", "h4", "100.64.4.2")]), "h1 h2 h4");
      assert.is(await after([job("j4", "a", "h4", "100.64.4.2", { state: "down" })]), "h1 h2 h4");
      assert.is(await after([job("j5", "c", "h3")]), "h3");
      assert.is(await after(ruleEnd(rule("a", "b"))), "h1 h2");
      assert.is(await after([job("j1", "a", "h1", "100.64.1.9")]), "h1");
    },
    { loops: false },
  ));

test.run();
