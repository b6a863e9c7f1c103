// What routers are to serve, from the store alone; and when that is news.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createCertificate } from "#api/certificates.ts";
import type { Client } from "#api/client.ts";
import type { Job } from "#api/jobs.ts";
import { keysDigest } from "#api/keys-digest.ts";
import type { RouterReport } from "#api/router-agents.ts";
import { type RouterTarget, type RouterTargetPart, routerTarget } from "#api/router-agents.ts";
import { keys } from "../../../control/keys.ts";
import type { Store } from "../../../control/store/store.ts";
import { routing } from "../../../control/targets/generation.ts";
import { routed } from "../../../control/targets/routed.ts";
import { routerTargetOf } from "../../../control/targets/router.ts";
import { assembler } from "../../../router/assemble.ts";
import { type Rig, withRig } from "../rig.ts";
import { makeCertificate } from "../routing/certificates.ts";

const quiet = { loops: false };
const put = (rig: Rig, records: Record<string, object>) =>
  rig.store.commit({ actor: "test", mutations: Object.entries(records).map(([key, value]) => ({ key, value })) });
const route = (id: string, over: object) => ({
  [keys.route(id)]: {
    id,
    type: "http",
    domain: "a.test",
    path: "/",
    appId: "app-1",
    app: "hello",
    process: "web",
    ...over,
  },
});
const routesOf = (target: RouterTarget) => target.routes.map(({ poolId: _, ...each }) => each);

test("a route says what was asked of it, and nothing that was not", () =>
  withRig(async (rig) => {
    const target = async (over: object) => {
      await put(rig, route("r1", over));
      return routesOf(routerTargetOf(rig.store, 1))[0];
    };
    assert.equal(await target({ tls: "both" }), { domain: "a.test", path: "/" });
    assert.equal(await target({ tls: "redirect" }), { domain: "a.test", path: "/", tls: "redirect" });
    assert.equal(await target({ sticky: true }), { domain: "a.test", path: "/", sticky: true });
    assert.equal(await target({ sticky: false }), { domain: "a.test", path: "/" });
    assert.equal(await target({ hstsSeconds: 0 }), { domain: "a.test", path: "/", hstsSeconds: 0 });
    assert.equal(await target({ protocol: "h2c" }), { domain: "a.test", path: "/", protocol: "h2c" });
    const rate = { requests: 5, per: "minute" } as const;
    assert.equal(await target({ rate }), { domain: "a.test", path: "/", rate });
  }, quiet));

test("HTTP and TCP routes of one process share its pool, and each is told as what it is", () =>
  withRig(async (rig) => {
    await put(rig, {
      ...route("r1", {}),
      ...route("r2", { type: "tcp", domain: undefined, path: undefined, port: 5432 }),
      ...route("r3", {
        type: "tcp",
        domain: undefined,
        path: undefined,
        port: 5433,
        proxyProtocol: "v2",
        process: "db",
      }),
    });
    const { pools, routes, tcp = [] } = routerTargetOf(rig.store, 1);
    assert.equal(pools.map(({ id }) => id).sort(), ["app-1/db", "app-1/web"]);
    assert.equal(routes, [{ domain: "a.test", path: "/", poolId: "app-1/web" }]);
    assert.equal(tcp, [
      { port: 5432, poolId: "app-1/web" },
      { port: 5433, poolId: "app-1/db", proxyProtocol: "v2" },
    ]);
  }, quiet));

test("a pool has the healthy jobs of its process, and neither those of another process nor one-off jobs", () =>
  withRig(async (rig) => {
    const job = (id: string, over: object = {}) => ({
      [keys.job("app-1", id)]: {
        ...{ id, appId: "app-1", process: "web", state: "up", desired: "run", port: 80 },
        address: `100.64.1.${id.slice(1)}`,
        ...over,
      },
    });
    await put(rig, {
      ...route("r1", {}),
      ...job("j1"),
      ...job("j2", { desired: "drain" }),
      ...job("j3", { process: "worker" }),
      ...job("j4", { task: { kind: "run" } }),
      ...job("j5", { state: "starting" }),
      ...job("j6", { address: undefined }),
    });
    const [pool] = routerTargetOf(rig.store, 1).pools;
    assert.equal(
      pool?.backends.map(({ jobId, state, address, port }) => [jobId, state, address, port]),
      [
        ["j1", "up", "100.64.1.1", 80],
        ["j2", "drain", "100.64.1.2", 80],
      ],
    );
  }, quiet));

/** As control has it: every durable record is taken in. */
const followed = (store: Store) => {
  const routes = routing(store);
  store.onDurable(routes.apply);
  return routes;
};

test("the generation grows with what routers serve, and only with it", () =>
  withRig(async (rig) => {
    const { current, onChange } = followed(rig.store);
    let told = 0;
    const stop = onChange(() => told++);
    const first = current().generation;
    assert.is(current().generation, first);
    await put(rig, route("r1", {}));
    const second = current().generation;
    assert.ok(second > first);
    assert.equal(routesOf(current()), [{ domain: "a.test", path: "/" }]);
    await put(rig, route("r1", { tls: "both" }));
    assert.is(current().generation, second, "the same for a router");
    await put(rig, { "elsewhere/1": { a: 1 } });
    assert.is(told, 2, "of other records nobody is told");
    await put(rig, route("r1", { tls: "redirect" }));
    assert.ok(current().generation > second);
    assert.is(told, 3);
    stop();
    await put(rig, route("r1", {}));
    assert.is(told, 3);
  }, quiet));

test("what is taken back before routers hear of it is waited for by nobody: they serve it, and let go of it", () =>
  withRig(async (rig) => {
    const record = (over: object) => ({
      ...{ id: "j1", appId: "app-1", process: "web", state: "up", port: 80, address: "100.64.1.9" },
      ...over,
    });
    const key = keys.job("app-1", "j1");
    await put(rig, { ...route("r1", {}), [key]: record({ desired: "drain" }) });
    const routes = followed(rig.store);
    let report: Partial<RouterReport> = {};
    const served = routed({
      store: rig.store,
      pool: routes.pool,
      generation: () => routes.current().generation,
      generationOf: routes.generationOf,
      routers: () => ({ term: rig.store.term, members: 1, live: [report as RouterReport] }),
      monotonicMs: () => 0,
      drainTimeoutMs: 60_000,
    });
    rig.store.onDurable((one) => served.apply(one));
    const routersHear = async () => {
      const { term, generation } = await routes.settled();
      report = { term, generation, draining: [] };
    };
    const twice = (one: string, other: string) =>
      Promise.all([one, other].map((desired) => put(rig, { [key]: record({ desired }) })));
    await routersHear();
    const writing = twice("run", "drain");
    const { value: job, version } = rig.store.get<Job>(key)!;
    assert.not(served.isDrained(job, version), "routers are told of nothing that is not on disk");
    const { seq } = (await writing)[1]!;
    assert.not(served.isDrained(job, seq), "routers may have heard the half of it");
    await routersHear();
    assert.ok(served.isDrained(job, seq));
    await put(rig, { [key]: record({ desired: "run" }) });
    await routersHear();
    await twice("drain", "run");
    await routersHear();
    assert.ok(served.serve([rig.store.get<Job>(key)!.value]));
  }, quiet));

const app = (n: number) => ({ appId: `app-${n}`, app: `a${n}` });
const job = (n: number, over: object = {}) => ({
  [keys.job(`app-${n}`, `j${n}`)]: {
    ...{ id: `j${n}`, ...app(n), process: "web", state: "up", desired: "run", address: "100.64.1.9", port: 80 },
    ...over,
  },
});

test("a change costs the pools that it touches, and is told as what differs from any generation that is known", () =>
  withRig(async (rig) => {
    for (let n = 0; n < 20; n++) await put(rig, { ...route(`r${n}`, { domain: `a${n}.test`, ...app(n) }), ...job(n) });
    const routes = followed(rig.store);
    const first = await routes.settled();
    assert.is(first.pools.length, 20);
    const looked = routes.looked();
    await put(rig, job(3, { address: "100.64.1.10" }));
    await put(rig, { [keys.job("app-99", "j")]: { id: "j", appId: "app-99", process: "web", state: "up" } });
    const { generation, term } = await routes.settled();
    assert.is(routes.looked() - looked, 1);
    const difference = routes.since(first)!;
    assert.equal([difference.since, difference.generation], [first.generation, generation]);
    assert.equal(
      difference.pools.map(({ id, backends }) => [id, backends[0]?.address]),
      [["app-3/web", "100.64.1.10"]],
    );
    assert.equal([difference.routes, difference.peers], [[], undefined]);
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.route("r4"), value: null }] });
    await put(rig, job(5, { state: "down" }));
    await routes.settled();
    const more = routes.since(first)!;
    assert.equal(more.pools.map(({ id }) => id).sort(), ["app-3/web", "app-5/web"]);
    assert.equal(more.removed?.pools, ["app-4/web"]);
    assert.equal(more.removed?.routes, [{ domain: "a4.test", path: "/" }]);
    assert.is(routes.since({ term: term + 1, generation }), undefined, "of another term");
    assert.is(routes.since({ term, generation: first.generation - 1 }), undefined, "from before control started");
    assert.is(routes.since({ term, generation: generation + 100 }), undefined, "of what is not there yet");
  }, quiet));

test("differences one after the other come to what all of it is", () =>
  withRig(async (rig) => {
    const routes = followed(rig.store);
    let at = await routes.settled();
    const { add } = assembler(structuredClone(at));
    const steps = [
      { ...route("r1", { domain: "a1.test", ...app(1) }), ...job(1) },
      { ...route("r2", { type: "tcp", domain: undefined, path: undefined, port: 5432, ...app(2) }), ...job(2) },
      route("r1", { domain: "b1.test", ...app(1) }),
      route("r1", { domain: "b1.test", ...app(1), process: "api" }),
      route("r3", { domain: "a3.test", ...app(1) }),
      job(1, { desired: "drain" }),
      { [keys.pages("app-1")]: { maintenance: true } },
      { [keys.certificate("c1")]: { id: "c1", names: ["a1.test"], chain: "chain", sealedKey: "x" } },
    ];
    for (const records of steps) {
      await put(rig, records);
      const next = await routes.settled();
      add(JSON.parse(JSON.stringify(routes.since(at))));
      at = next;
    }
    const { term, generation, clusterRange } = at;
    const got = add({ term, generation, clusterRange, since: generation, pools: [], routes: [] })!;
    const all = routerTargetOf(rig.store, generation);
    const sorted = (target: RouterTarget) => ({
      pools: target.pools.toSorted((a, b) => (a.id < b.id ? -1 : 1)),
      routes: target.routes.toSorted((a, b) => (a.domain < b.domain ? -1 : 1)),
      tcp: target.tcp,
    });
    assert.equal(sorted(got), sorted(all));
    assert.equal(sorted(at), sorted(all));
  }, quiet));

/** What one connection of a router is sent until `count` targets came. */
async function follow(
  client: Client,
  id: string,
  have: string | undefined,
  count: number,
  next?: () => Promise<unknown>,
) {
  const seen: RouterTargetPart[] = [];
  const query = { parts: true, ...(have === undefined ? {} : { have }) };
  for await (const { event, data } of client.stream(routerTarget, { params: { id }, query })) {
    if (event === "item") seen.push(data as RouterTargetPart);
    if (seen.length === count) break;
    if (event === "current") await next?.();
  }
  return seen;
}

test("a router is sent what differs from what it has, and private keys once, also over a restart of control", () =>
  withRig(async (rig) => {
    const made = await makeCertificate({ names: ["a.test"] });
    await rig.admin.call(createCertificate, { body: { chain: made.certificate, key: made.key } });
    await put(rig, { ...route("r0", { domain: "a0.test", ...app(0) }), ...job(0) });
    const { client, id } = await rig.join("router");
    const change = (n: number) => () => put(rig, { ...route(`r${n}`, { domain: `a${n}.test`, ...app(n) }), ...job(n) });
    const [all, second] = await follow(client, id, "0:0:", 2, change(1));
    assert.is(all!.since, undefined);
    assert.ok(all!.certificates?.[0]?.pem?.includes("PRIVATE KEY"));
    assert.is(second!.since, all!.generation);
    assert.equal(
      second!.pools.map(({ id: pool }) => pool),
      ["app-1/web"],
    );
    const { certificates = [] } = all!;
    const has = `${second!.term}:${second!.generation}:${keysDigest(certificates as { id: string; pem: string }[])}`;
    await change(2)();
    const [third] = await follow(client, id, has, 1);
    assert.is(third!.since, second!.generation);
    assert.equal(
      third!.routes.map(({ domain }) => domain),
      ["a2.test"],
    );
    assert.equal(third!.certificates ?? [], []);
    const [earlier] = await follow(client, id, undefined, 1);
    assert.is(earlier!.since, undefined, "an earlier build is sent all of it");
    assert.ok(earlier!.certificates?.[0]?.pem);
    await rig.restart();
    const [whole] = await follow(client, id, has, 1);
    assert.is(whole!.since, undefined, "a control that has just started knows no differences");
    assert.is(whole!.routes.length, 3);
    assert.equal(
      whole!.certificates?.map(({ pem }) => pem),
      [undefined],
    );
    const [other] = await follow(client, id, has.replace(/:\w+$/, `:${keysDigest([])}`), 1);
    assert.ok(other!.certificates?.[0]?.pem, "whose keys are others is sent them");
  }, quiet));

test.run();
