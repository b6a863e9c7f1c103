// What is settled is the whole of what stands in the store at that moment, whatever came, and whoever else asked, while it was being
// worked out.
import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RouterTarget } from "#api/router-agents.ts";
import { keys } from "../../../control/keys.ts";
import type { LogRecord } from "../../../control/store/log.ts";
import type { Change, Store } from "../../../control/store/store.ts";
import { routing } from "../../../control/targets/generation.ts";
import { routerTargetOf } from "../../../control/targets/router.ts";

const OPTIONS = { openKey: () => "the key" };

/** As much of a store as routes are worked out from; a change is there at once, and at no other time. */
function memory() {
  const entries = new Map<string, unknown>();
  const listeners: ((record: LogRecord) => void)[] = [];
  const it = {
    term: 1,
    durableSeq: 0,
    durable: undefined as unknown,
    get: (key: string) => (entries.has(key) ? { key, value: entries.get(key), version: 1 } : undefined),
    list: (prefix: string) =>
      [...entries]
        .filter(([key]) => key.startsWith(prefix))
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, value]) => ({ key, value, version: 1 })),
    onDurable: (listener: (record: LogRecord) => void) => void listeners.push(listener),
    put(mutations: Change[]) {
      for (const { key, value } of mutations)
        if (value === null) entries.delete(key);
        else entries.set(key, value);
      it.durableSeq++;
      for (const listener of listeners) listener({ seq: it.durableSeq, mutations } as unknown as LogRecord);
    },
  };
  it.durable = it;
  it.put([{ key: keys.cluster, value: { clusterRange: "100.64.0.0/10" } }]);
  return it;
}

const app = (n: number) => ({ appId: `app-${n}`, app: `a${n}`, process: "web" });
const CHANGES: ((n: number, to: number) => Change)[] = [
  (n, to) => ({
    key: keys.route(`r${n}`),
    value: { id: `r${n}`, type: "http", domain: `a${n}.test`, path: "/", ...app(to) },
  }),
  (n) => ({ key: keys.route(`r${n}`), value: null }),
  (n, to) => ({
    key: keys.job(`app-${n}`, `j${to}`),
    value: { id: `j${to}`, ...app(n), state: "up", desired: "run", address: `100.64.1.${to + 1}`, port: 80 },
  }),
  (n, to) => ({ key: keys.job(`app-${n}`, `j${to}`), value: null }),
  (n, to) => ({
    key: keys.certificate(`c${n}`),
    value: { id: `c${n}`, names: [`a${to}.test`], chain: "", sealedKey: "" },
  }),
  (n) => ({ key: keys.certificate(`c${n}`), value: null }),
  (n, to) => ({
    key: keys.host(`h${n}`),
    value: { id: `h${n}`, subnet: `100.64.${to}.0/24`, address: `10.1.0.${to}` },
  }),
];
const MANY = 120;
const change = fc
  .tuple(fc.nat(CHANGES.length - 1), fc.nat(MANY - 1), fc.nat(MANY - 1))
  .map(([kind, n, to]) => CHANGES[kind]!(n, to));
/** In each turn of the event loop: changes, and who else asks. */
const turn = fc.record({
  changes: fc.array(change, { maxLength: 4 }),
  asks: fc.constantFrom("nobody", "settled", "current", "pool"),
});

/** Rows in one order: what routers serve does not depend on it. */
const plain = ({ generation: _, peers = [], pools, routes, tcp = [], certificates = [], ...rest }: RouterTarget) => ({
  ...rest,
  peers,
  pools: pools.toSorted((a, b) => (a.id < b.id ? -1 : 1)),
  routes: routes.toSorted((a, b) => (a.domain < b.domain ? -1 : 1)),
  tcp,
  certificates: certificates.toSorted((a, b) => (a.id < b.id ? -1 : 1)),
});

test("a change that comes while it settles is in what is settled then, and nothing is settled too early", () =>
  fc.assert(
    fc.asyncProperty(fc.array(turn, { minLength: 1, maxLength: 12 }), async (turns) => {
      const store = memory();
      store.put(Array.from({ length: MANY }, (_, n) => CHANGES[0]!(n, n)));
      store.put(Array.from({ length: MANY }, (_, n) => CHANGES[2]!(n, n)));
      const routes = routing(store as unknown as Store, { ...OPTIONS, sliceMs: 0 });
      store.onDurable(routes.apply);
      const isWhole = (target: RouterTarget) =>
        assert.equal(plain(target), plain(routerTargetOf(store as unknown as Store, 0, OPTIONS)));
      let lastSeq = 0;
      const answers: Promise<void>[] = [];
      const ask = () => void answers.push(routes.settled().then(isWhole));
      ask();
      for (const { changes, asks } of turns) {
        await nextTurn();
        if (changes.length > 0) {
          store.put(changes);
          lastSeq = store.durableSeq;
          assert.ok(
            routes.generationOf(lastSeq) >= routes.lastGeneration(),
            "not taken for served before it is worked out",
          );
        }
        if (asks === "settled") ask();
        else if (asks === "current") isWhole(routes.current());
        else if (asks === "pool") routes.pool("app-1/web");
      }
      await Promise.all(answers);
      const last = await routes.settled();
      isWhole(last);
      assert.ok(routes.generationOf(lastSeq) <= last.generation, "what is served is known as served");
      // Who follows change by change has the same.
      const since = routes.since({ term: 1, generation: last.generation })!;
      assert.equal([since.pools, since.routes, since.removed?.pools], [[], [], []]);
    }),
    { numRuns: 60 },
  ));

test("what could not be worked out is not taken for settled", async () => {
  const store = memory();
  let broken = true;
  const openKey = () => {
    if (broken) throw new Error("the key cannot be opened now");
    return "the key";
  };
  store.put([CHANGES[4]!(1, 1), CHANGES[4]!(2, 2)]);
  const routes = routing(store as unknown as Store, { openKey, sliceMs: 0 });
  store.onDurable(routes.apply);
  await routes.settled().then(
    () => assert.unreachable("was settled"),
    (error: unknown) => assert.match(String(error), /cannot be opened now/),
  );
  broken = false;
  const { certificates = [] } = await routes.settled();
  assert.equal(certificates.map(({ id }) => id).sort(), ["c1", "c2"]);
});

test.run();
