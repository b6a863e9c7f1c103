// What routers serve is worked out in turns, so that control answers others however much of it there is.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { keys, PREFIX } from "../../../control/keys.ts";
import type { LogRecord } from "../../../control/store/log.ts";
import type { Change, Store } from "../../../control/store/store.ts";
import { routerTargetOf } from "../../../control/targets/router.ts";
import { type RoutingRows, routingRows } from "../../../control/targets/routing-rows.ts";
import { withRig } from "../rig.ts";

const MANY = 50;
const MOST_IN_A_TURN = 20;
const each = (make: (n: number) => Change): Change[] => Array.from({ length: MANY }, (_, n) => make(n));
const app = (n: number) => ({ appId: `app-${n}`, app: `a${n}`, process: "web" });

/** How many rows became others in each turn. */
function turnsOf(rows: RoutingRows): number[] {
  const turns = [0];
  for (const _ of rows.refresh(() => turns.push(turns.pop()! + 1))) turns.push(0);
  return turns;
}

test("neither routes nor pools nor certificates by the hundred keep control from others: 20 of them a turn", () =>
  withRig(
    async ({ store }) => {
      const rows = routingRows(store, { openKey: () => "the key" });
      turnsOf(rows);
      const refreshed = async (mutations: Change[]) => {
        await store.commit({ actor: "test", mutations });
        rows.touch({ mutations } as unknown as LogRecord);
        const turns = turnsOf(rows);
        assert.ok(Math.max(...turns) <= MOST_IN_A_TURN, turns.join(" "));
        return turns.reduce((sum, n) => sum + n);
      };
      const route = (n: number) => ({ id: `r${n}`, type: "http", domain: `a${n}.test`, path: "/", ...app(n) });
      assert.is(await refreshed(each((n) => ({ key: keys.route(`r${n}`), value: route(n) }))), 2 * MANY);
      const job = (n: number) => ({
        ...{ id: `j${n}`, ...app(n), state: "up", desired: "run", address: "100.64.1.9", port: 80 },
      });
      assert.is(await refreshed(each((n) => ({ key: keys.job(`app-${n}`, `j${n}`), value: job(n) }))), MANY);
      assert.is(await refreshed(each((n) => ({ key: keys.job(`app-${n}`, `j${n}`), value: null }))), MANY, "they end");
      const host = { id: "h1", subnet: "100.64.1.0/24", address: "10.1.0.1" };
      assert.is(await refreshed([{ key: keys.host("h1"), value: host }]), 1);
      assert.equal(
        rows.rows.peers?.map(({ hostId }) => hostId),
        ["h1"],
      );
      const certificate = (n: number) => ({ id: `c${n}`, names: [`a${n}.test`], chain: "", sealedKey: "" });
      assert.is(await refreshed(each((n) => ({ key: keys.certificate(`c${n}`), value: certificate(n) }))), MANY);
    },
    { loops: false },
  ));

test("a change of a route costs no look at all hosts; a change of a host does", () =>
  withRig(
    async ({ store }) => {
      const looks: string[] = [];
      const list = (prefix: string) => {
        looks.push(prefix);
        return store.durable.list(prefix);
      };
      const durable = Object.create(store.durable, { list: { value: list } }) as Store;
      const rows = routingRows(Object.create(store, { durable: { value: durable } }) as Store, {});
      const looksAfter = (key: string): number => {
        rows.touch({ mutations: [{ key, value: null }] } as unknown as LogRecord);
        looks.length = 0;
        turnsOf(rows);
        return looks.filter((prefix) => prefix === PREFIX.hosts).length;
      };
      turnsOf(rows);
      assert.equal([looksAfter(keys.route("r1")), looksAfter(keys.host("h1"))], [0, 1]);
    },
    { loops: false },
  ));

test("a canary's pool and share are the same worked out change by change as all at once, through every order of events", () =>
  withRig(
    async ({ store }) => {
      const rows = routingRows(store, {});
      const route = (canary?: { releaseId: string; percent: number }) => ({
        key: keys.route("r1"),
        value: { id: "r1", type: "http", domain: "a.test", path: "/", ...app(1), ...(canary ? { canary } : {}) },
      });
      const job = (id: string, releaseId: string, state = "up", desired = "run") => ({
        key: keys.job("app-1", id),
        value: { id, ...app(1), releaseId, state, desired, address: "100.64.1.9", port: 80 },
      });
      const share = { releaseId: "new", percent: 5 };
      const steps: [string, Change[], string[]][] = [
        ["before any job", [route(share)], ["app-1/web:"]],
        ["old jobs only", [job("o1", "old"), job("o2", "old")], ["app-1/web:o1,o2"]],
        ["a new one starts", [job("n1", "new", "starting")], ["app-1/web:o1,o2"]],
        ["it is up", [job("n1", "new")], ["app-1/web:o1,o2", "app-1/web@new:n1", "5"]],
        ["it drains", [job("n1", "new", "up", "drain")], ["app-1/web:o1,o2", "app-1/web@new:n1"]],
        ["it is back", [job("n1", "new")], ["app-1/web:o1,o2", "app-1/web@new:n1", "5"]],
        ["the share is 0", [route({ ...share, percent: 0 })], ["app-1/web:o1,o2", "app-1/web@new:n1"]],
        [
          "nobody else is up",
          [job("o1", "old", "down"), job("o2", "old", "lost")],
          ["app-1/web:n1", "app-1/web@new:n1"],
        ],
        ["no canary any more", [route()], ["app-1/web:n1"]],
        ["one again", [route(share), job("o1", "old")], ["app-1/web:o1", "app-1/web@new:n1", "5"]],
        ["the route is gone", [{ key: keys.route("r1"), value: null }], []],
      ];
      for (const [what, mutations, wanted] of steps) {
        await store.commit({ actor: "test", mutations });
        rows.touch({ mutations } as unknown as LogRecord);
        turnsOf(rows);
        const kept = { pools: [...rows.rows.pools.values()], routes: [...rows.rows.routes.values()] };
        const { pools, routes } = routerTargetOf(store, 1);
        const byId = <T extends { id: string }>(list: T[]) => list.sort((a, b) => (a.id < b.id ? -1 : 1));
        assert.equal({ pools: byId(kept.pools), routes: kept.routes }, { pools: byId(pools), routes }, what);
        const shown = pools.map(({ id, backends }) => `${id}:${backends.map(({ jobId }) => jobId)}`);
        assert.equal(
          [...shown, ...routes.flatMap(({ canary }) => (canary ? [`${canary.percent}`] : []))],
          wanted,
          what,
        );
      }
    },
    { loops: false },
  ));

test.run();
