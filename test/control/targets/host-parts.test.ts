// What a host makes of the parts it is sent is what control would have sent it whole, whatever changed between.
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { HostTarget } from "#api/host-agents.ts";
import type { StreamEvent } from "#api/stream.ts";
import type { TargetChange } from "../../../control/targets/host-feeds.ts";
import { hostParts } from "../../../control/targets/host-parts.ts";
import { listDiffs } from "../../../control/targets/list-changes.ts";
import { wholeTarget } from "../../../hostd/target-parts.ts";

type Peer = HostTarget["peers"][number];

const targetOf = (seq: number, peers: Peer[], closed: string[] | undefined): HostTarget => ({
  term: 1,
  seq,
  hostId: "h0",
  subnet: "100.64.1.0/24",
  clusterRange: "100.64.0.0/16",
  peers,
  registry: "10.0.0.1:5000",
  jobs: [],
  ...(closed === undefined
    ? {}
    : { reach: { version: seq, appNetwork: "app", egress: "internet", closed, open: [], routers: [], apps: [] } }),
});

async function* eventsOf(targets: HostTarget[]): AsyncGenerator<StreamEvent<TargetChange>> {
  for (const target of targets) {
    yield { event: "item", id: String(target.seq), data: { target, gone: [] } };
    yield { event: "current", id: String(target.seq) };
  }
}

const byId = (peers: readonly Peer[]) =>
  [...peers].filter(({ hostId }) => hostId !== "h0").sort((a, b) => (a.hostId < b.hostId ? -1 : 1));

test("a target in parts is made whole again, over any sequence of changes", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          hosts: fc.uniqueArray(fc.nat(6)),
          moved: fc.nat(3),
          closed: fc.option(fc.uniqueArray(fc.nat(5)), { nil: undefined }),
          samePeers: fc.boolean(),
          sameClosed: fc.boolean(),
        }),
        { minLength: 1, maxLength: 8 },
      ),
      async (steps) => {
        const targets: HostTarget[] = [];
        for (const { hosts, moved, closed, samePeers, sameClosed } of steps) {
          const before = targets.at(-1);
          const peers = hosts.map((n) => ({
            hostId: `h${n}`,
            subnet: `100.64.${n}.0/24`,
            address: `10.0.${moved}.${n}`,
          }));
          const ranges = closed?.map((n) => `10.1.0.${n}/32`).sort();
          targets.push(
            targetOf(
              targets.length,
              samePeers && before ? before.peers : peers,
              sameClosed && before ? before.reach?.closed : ranges,
            ),
          );
        }
        let received: HostTarget | undefined;
        let n = 0;
        for await (const { event, data } of hostParts().inParts(eventsOf(targets))) {
          if (event !== "item") continue;
          received = wholeTarget(JSON.parse(JSON.stringify(data)), received);
          const wanted = targets[n++]!;
          assert.equal({ ...received!, peers: byId(received!.peers) }, { ...wanted, peers: byId(wanted.peers) });
        }
        assert.is(n, targets.length);
      },
    ),
  ));

test("what did not change is not sent again, and one new peer is one row", async () => {
  const peers = Array.from({ length: 5_000 }, (_, n) => ({ hostId: `p${n}`, subnet: "s", address: `a${n}` }));
  const closed = peers.map(({ address }) => `${address}/32`);
  const more = [...peers, { hostId: "new", subnet: "s", address: "a" }];
  const sizes: number[] = [];
  const sent = eventsOf([targetOf(1, peers, closed), targetOf(2, peers, closed), targetOf(3, more, closed)]);
  for await (const { data } of hostParts().inParts(sent)) if (data) sizes.push(JSON.stringify(data).length);
  assert.ok(sizes[0]! > 100_000);
  assert.ok(sizes[1]! < 1_000 && sizes[2]! < 1_000, sizes.join());
});

test("the difference of two lists is found once for all hosts that go from the one to the other", () => {
  let looked = 0;
  const diff = listDiffs<string>((row) => {
    looked++;
    return row;
  });
  const [from, to] = [
    ["a", "b"],
    ["b", "c"],
  ];
  assert.equal(diff(from, to), { put: ["c"], gone: ["a"] });
  const once = looked;
  for (let n = 0; n < 100; n++) diff(from, to);
  assert.is(looked, once);
});

test("a part of a target that a host never had is refused, not guessed at", () => {
  const { peers: _, ...part } = targetOf(2, [], ["10.0.0.0/8"]);
  assert.is(wholeTarget(part, undefined), undefined);
});

test.run();
