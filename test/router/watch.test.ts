// Following control's targets: what is asked for again, of which control, and what becomes of an event that does not fit.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { keysDigest } from "#api/keys-digest.ts";
import type { RouterTarget, RouterTargetPart } from "#api/router-agents.ts";
import type { StreamEvent } from "#api/stream.ts";
import { ownHello } from "#api/version.ts";
import { silentLog } from "#lib/log.ts";
import { targets } from "../../router/watch.ts";
import { target } from "./rig.ts";

const whole = (generation: number): RouterTarget =>
  target(generation, [{ app: "a", routes: ["a.test"], jobs: [{ port: 80 }] }]);
const difference = (generation: number, since: number): RouterTargetPart => ({
  ...{ term: 1, generation, since, clusterRange: "100.64.0.0/16" },
  ...{ pools: [], routes: [{ domain: `b${generation}.test`, path: "/", poolId: "a/web" }] },
});

const NONE = keysDigest([]);

/** Each connection is answered with the next of `connections`: what it is sent, or why it is refused. */
async function followed(known: RouterTarget, connections: (RouterTargetPart[] | Fault)[], can?: string[]) {
  const done = new AbortController();
  const asked: unknown[] = [];
  const client = {
    peer: () => (can === undefined ? undefined : { ...ownHello("control"), capabilities: can }),
    async *follow(
      _: unknown,
      { query, onBreak, signal }: { query: () => unknown; onBreak: (error: unknown) => void; signal: AbortSignal },
    ) {
      while (connections.length > 0 && !signal.aborted) {
        asked.push(query());
        const next = connections.shift()!;
        if (next instanceof Fault) onBreak(next);
        else for (const data of next) yield { event: "item", data } as StreamEvent<RouterTargetPart>;
      }
      if (connections.length === 0) done.abort();
    },
  } as unknown as Client;
  const got: RouterTarget[] = [];
  for await (const each of targets(client, { id: "r", known, log: silentLog(), signal: done.signal })) got.push(each);
  return { asked, got };
}

const EMPTY: RouterTarget = { term: 0, generation: 0, clusterRange: "", peers: [], pools: [], routes: [] };

test("each connection says what is here, and goes on with what differs from it", async () => {
  const { asked, got } = await followed(EMPTY, [[whole(4), difference(5, 4)], [difference(7, 5)]]);
  assert.equal(asked, [
    { parts: true, have: "0:0:" },
    { parts: true, have: `1:5:${NONE}` },
  ]);
  assert.equal(
    got.map(({ generation, routes }) => [generation, routes.length]),
    [
      [4, 1],
      [5, 2],
      [7, 3],
    ],
  );
});

test("the target from before a restart is gone on from", async () => {
  const { asked, got } = await followed(whole(4), [[difference(6, 4)]]);
  assert.equal(asked, [{ parts: true, have: "1:4:" }]);
  assert.is(got[0]?.routes.length, 2);
});

test("a control of an earlier build is asked as it understands, whether it says so or refuses", async () => {
  const silent = await followed(EMPTY, [new Fault("invalid", "querystring: have is not known"), [whole(1)]]);
  assert.equal(silent.asked, [{ parts: true, have: "0:0:" }, { parts: true }]);
  assert.is(silent.got.length, 1);
  const saying = await followed(EMPTY, [[whole(1)]], ["builds"]);
  assert.equal(saying.asked, [{ parts: true }]);
  const able = await followed(EMPTY, [[whole(1)]], ["target-changes"]);
  assert.equal(able.asked, [{ parts: true, have: "0:0:" }]);
});

test("after differences that do not fit all of it is asked for, and what was there stays until then", async () => {
  const { asked, got } = await followed(whole(4), [[difference(9, 8)], [whole(9)]]);
  assert.equal(asked, [
    { parts: true, have: "1:4:" },
    { parts: true, have: "0:0:" },
  ]);
  assert.equal(
    got.map(({ generation }) => generation),
    [9],
  );
});

test.run();
