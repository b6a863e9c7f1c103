// Random commits, preconditions, repeated requests and restarts against a plain Map.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import { openStore, type Store } from "../../../control/store/store.ts";
import { inScratch } from "./scratch.ts";

interface Model {
  entries: Map<string, { value: unknown; version: number }>;
  outcomes: Map<string, number>;
  seq: number;
}
interface Real {
  directory: string;
  store: Store;
}
type Command = fc.AsyncCommand<Model, Real>;

async function same(model: Model, { store }: Real): Promise<void> {
  assert.is(store.seq, model.seq);
  const expected = [...model.entries]
    .map(([key, entry]) => ({ key, ...entry }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  assert.equal(store.list(""), expected);
  for (const prefix of ["apps/", "jobs/1"])
    assert.is(store.count(prefix), expected.filter(({ key }) => key.startsWith(prefix)).length);
}

const key = fc.tuple(fc.constantFrom("apps", "jobs", "__proto__"), fc.nat(12)).map(([noun, n]) => `${noun}/${n}`);
const value = fc.oneof(
  fc.constant(null),
  fc.jsonValue({ maxDepth: 2 }).map((json) => JSON.parse(JSON.stringify(json))),
);
const mutations = fc.array(fc.record({ key, value }), { maxLength: 4 });

const commit = (
  changes: { key: string; value: unknown }[],
  expected: { key: string; off: number } | undefined,
  request: string | undefined,
): Command => ({
  check: () => true,
  toString: () => `commit(${JSON.stringify({ changes, expected, request })})`,
  async run(model, real) {
    const known = request === undefined ? undefined : model.outcomes.get(request);
    const version = expected && (model.entries.get(expected.key)?.version ?? 0) + expected.off;
    const expect = expected && [{ key: expected.key, version: version! }];
    const committing = real.store.commit({
      actor: "model",
      mutations: changes,
      expect,
      idempotencyKey: request,
      result: model.seq + 1,
    });
    if (known !== undefined) assert.equal(await committing, { seq: known, result: known, replayed: true });
    else if (expected !== undefined && expected.off !== 0) {
      const code = version === 0 ? "conflict" : "precondition";
      await committing.then(
        () => assert.unreachable("accepted"),
        (error) => assert.ok(isFault(error, code), String(error)),
      );
    } else {
      model.seq++;
      for (const { key, value } of changes) {
        if (value === null) model.entries.delete(key);
        else model.entries.set(key, { value, version: model.seq });
      }
      if (request !== undefined) model.outcomes.set(request, model.seq);
      await same(model, real);
      assert.equal(await committing, { seq: model.seq, result: model.seq, replayed: false });
    }
    await same(model, real);
  },
});

const restart = (): Command => ({
  check: () => true,
  toString: () => "restart()",
  async run(model, real) {
    await real.store.close();
    real.store = await openStore({ directory: real.directory, log: silentLog() });
    assert.ok(["clean", "created"].includes(real.store.report.outcome));
    await same(model, real);
  },
});

const expected = fc.option(fc.record({ key, off: fc.constantFrom(0, 0, 1, -1) }), { nil: undefined });
const request = fc.option(fc.constantFrom("r1", "r2", "r3"), { nil: undefined });
const commits = fc.tuple(mutations, expected, request).map((args) => commit(...args));

test("the store equals a plain map after any run of commits and restarts", () =>
  fc.assert(
    fc.asyncProperty(
      fc.commands([commits, commits, commits, fc.constant(restart())], { maxCommands: 40 }),
      (commands) =>
        inScratch(async (directory) => {
          const real: Real = { directory, store: await openStore({ directory, log: silentLog() }) };
          try {
            await fc.asyncModelRun(
              () => ({ model: { entries: new Map(), outcomes: new Map(), seq: 0 }, real }),
              commands,
            );
          } finally {
            await real.store.close();
          }
        }),
    ),
    { numRuns: 40 },
  ));

test.run();
