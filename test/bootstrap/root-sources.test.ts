// Who loads its root image from where: us, a host that has it, or later.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type RootSource, rootSources } from "../../bootstrap/root-sources.ts";

const LIMITS = { ownFirst: 2, ownMost: 4, perPeer: 2, holdMs: 1_000 };
const text = (source: RootSource) => (source.from === "peer" ? source.address : source.from);

test("the first load from us, then from hosts that have it, evenly; who finds no place waits", () => {
  const sources = rootSources({ ...LIMITS, nowMs: () => 0 });
  const given = ["a", "b", "c", "d", "e", "f", "g"].map((mac) => text(sources.take(mac, ["10.0.0.5", "10.0.0.6"])));
  assert.equal(given.slice(0, 6), ["us", "us", "10.0.0.5", "10.0.0.6", "10.0.0.5", "10.0.0.6"]);
  // With every host busy there is room with us still.
  assert.is(given[6], "us");
  assert.is(text(sources.take("h", ["10.0.0.5", "10.0.0.6"])), "us");
  assert.equal(sources.take("i", ["10.0.0.5", "10.0.0.6"]), { from: "nowhere", loading: 8 });
});

test("without a host that has it, more load from us, up to a limit", () => {
  const sources = rootSources({ ...LIMITS, nowMs: () => 0 });
  const given = ["a", "b", "c", "d", "e"].map((mac) => text(sources.take(mac, [])));
  assert.equal(given, ["us", "us", "us", "us", "nowhere"]);
});

test("a place is free when its machine is done, asks again, or was not heard of for its time", () => {
  let nowMs = 0;
  const sources = rootSources({ ...LIMITS, ownMost: 1, ownFirst: 1, nowMs: () => nowMs });
  assert.is(text(sources.take("a", [])), "us");
  assert.is(text(sources.take("a", [])), "us", "its own place");
  assert.is(text(sources.take("b", [])), "nowhere");
  sources.done("a");
  assert.is(text(sources.take("b", [])), "us");
  nowMs += 1_000;
  assert.is(text(sources.take("c", [])), "us");
});

test("machines that nobody approved never take every place", () => {
  const sources = rootSources({ ...LIMITS, strangersMost: 2, nowMs: () => 0 });
  const given = ["a", "b", "c", "d"].map((mac) => text(sources.take(mac, [], false)));
  assert.equal(given, ["us", "us", "nowhere", "nowhere"]);
  assert.is(text(sources.take("approved", [])), "us");
  sources.done("a");
  assert.is(text(sources.take("c", [], false)), "us");
});

test("machines that nobody approved and that ask again and again give others their turn, the first that came first", () => {
  let nowMs = 0;
  const sources = rootSources({ ...LIMITS, holdMs: 240_000, strangersMost: 2, nowMs: () => nowMs });
  const turns: string[] = [];
  for (; nowMs < 600_000; nowMs += 5_000)
    for (const mac of ["again", "and again", "one", "two", "three"])
      if (sources.take(mac, [], false).from !== "nowhere" && !turns.includes(mac)) turns.push(mac);
  assert.equal(turns, ["again", "and again", "one", "two", "three"]);
});

test("one that waited and is not heard of any more keeps nobody from a place", () => {
  let nowMs = 0;
  const sources = rootSources({ ...LIMITS, holdMs: 240_000, strangersMost: 1, nowMs: () => nowMs });
  assert.is(text(sources.take("first", [], false)), "us");
  assert.is(text(sources.take("gone", [], false)), "nowhere");
  nowMs += 241_000;
  assert.is(text(sources.take("next", [], false)), "us");
});

test("no source is ever over its limit, whatever comes and goes", () => {
  const act = fc.record({
    mac: fc.integer({ min: 0, max: 40 }),
    done: fc.boolean(),
    peers: fc.subarray(["10.0.0.5", "10.0.0.6", "10.0.0.7"]),
    passMs: fc.integer({ min: 0, max: 300 }),
  });
  fc.assert(
    fc.property(fc.array(act, { maxLength: 200 }), (acts) => {
      let nowMs = 0;
      const sources = rootSources({ ...LIMITS, nowMs: () => nowMs });
      const held = new Map<number, { at: string; untilMs: number }>();
      for (const { mac, done, peers, passMs } of acts) {
        nowMs += passMs;
        held.delete(mac);
        if (done) {
          sources.done(`${mac}`);
          continue;
        }
        const given = sources.take(`${mac}`, peers);
        if (given.from === "nowhere") continue;
        if (given.from === "peer") assert.ok(peers.includes(given.address));
        held.set(mac, { at: text(given), untilMs: nowMs + LIMITS.holdMs });
        for (const [other, { untilMs }] of held) if (untilMs <= nowMs) held.delete(other);
        const count = [...held.values()].filter(({ at }) => at === text(given)).length;
        assert.ok(count <= (given.from === "us" ? LIMITS.ownMost : LIMITS.perPeer));
      }
    }),
  );
});

test.run();
