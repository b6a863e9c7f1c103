// Why no host takes a job, in the words that people read; and the numbers that the words are about.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { hostTags } from "../../../control/scheduler/architecture.ts";
import type { Ask } from "../../../control/scheduler/feasible.ts";
import { Fleet, type FleetHost, groupKey, type HostState } from "../../../control/scheduler/fleet.ts";
import { explain, explainBriefly, whyNotHere } from "../../../control/scheduler/why-not.ts";

const host = (name: string, over: Partial<FleetHost> = {}, memoryMiB = 512): FleetHost => ({
  id: `id-${name}`,
  name,
  capacity: { cpuMillis: 1_000, memoryMiB, diskMiB: 100 },
  state: "eligible",
  tags: {},
  addresses: 253,
  ...over,
});
function fleetOf(...hosts: FleetHost[]): Fleet {
  const fleet = new Fleet(2);
  for (const each of hosts) fleet.setHost(each);
  return fleet;
}
const need = { cpuMillis: 100, memoryMiB: 600, diskMiB: 0 };
const ask = (over: Partial<Ask> = {}): Ask => ({
  app: "app",
  process: "web",
  release: "r1",
  need,
  tags: {},
  jobs: ["j"],
  ...over,
});
const why = (hosts: FleetHost[], over: Partial<Ask> = {}, taken: [number, number][] = []) =>
  explain(fleetOf(...hosts), ask(over), new Map(taken));

const ssd = { tags: { disk: "ssd" } };
const arm = (tags = {}) => ({ tags: hostTags(tags, "arm64") });
const pc = (tags = {}) => ({ tags: hostTags(tags, "amd64") });
const WORDS: [claim: string, reason: string, said: string][] = [
  ["nobody is there", why([]), "no host has joined yet"],
  [
    "hosts of another architecture are no hosts for it, and one that is, but out of use, is told of",
    why([host("a", pc()), host("b", { ...arm(), state: "cordoned" })], arm()),
    "no host is arm64, and the image is for arm64 (1 host out of use is); 1 host cordoned",
  ],
  [
    "a tag that only the other hosts carry is missing",
    why([host("a", pc({ disk: "ssd" })), host("b", arm())], arm({ disk: "ssd" })),
    "no arm64 host carries tag disk=ssd",
  ],
  [
    "what all of the right ones lack is said without what they are",
    why([host("a", arm()), host("b", pc(), 900)], arm()),
    "no host has 600 MiB memory free (largest free: 512 MiB on a)",
  ],
  [
    "builds say why they are for one architecture",
    why([host("a", arm())], { ...pc(), release: "build" }),
    "no host is amd64, and builds run on amd64 hosts: the images that build apps are for amd64 only",
  ],
  [
    "each state has its word, in one order, and the first says of what",
    why(
      (["down", "unready", "short of memory", "short of disk", "draining", "cordoned", "cordoned"] as HostState[]).map(
        (state, n) => host(`h${n}`, { state }),
      ),
    ),
    "2 hosts cordoned, 1 draining, 1 short of disk, 1 short of memory, 1 not ready, 1 lost",
  ],
  ["one host is one host", why([host("a", { state: "down" })]), "1 host lost"],
  [
    "the best offer is named, the first of equal ones, and hosts out of use come last",
    why([host("a", {}, 100), host("b", {}, 500), host("c", {}, 500), host("d", { state: "down" }, 999)]),
    "no host has 600 MiB memory free (largest free: 500 MiB on b); 1 host lost",
  ],
  [
    "what was taken in this round is not on offer",
    why([host("a", {}, 900), host("b", {}, 400)], { need: { ...need, memoryMiB: 500 } }, [[0, 1]]),
    "no host has 500 MiB memory free (largest free: 400 MiB on a)",
  ],
  [
    "everything that is short everywhere is said",
    why([host("a")], { need: { cpuMillis: 1_001, memoryMiB: 600, diskMiB: 101 } }),
    "no host has 600 MiB memory free (largest free: 512 MiB on a); no host has 1.001 CPU free (largest free: 1 on a); no host has 101 MiB disk free (largest free: 100 MiB on a)",
  ],
  [
    "the smallest need is one, and none is none",
    why([host("a", { capacity: { cpuMillis: 0, memoryMiB: 512, diskMiB: 0 } })], {
      need: { cpuMillis: 0, memoryMiB: 500, diskMiB: 1 },
    }),
    "no host has 1 MiB disk free (largest free: 0 B on a)",
  ],
  [
    "what is never free together is counted by what is short",
    why([host("a", {}, 700), host("b", { capacity: { cpuMillis: 2_000, memoryMiB: 100, diskMiB: 0 } })], {
      need: { cpuMillis: 1_500, memoryMiB: 600, diskMiB: 0 },
    }),
    "no host has 600 MiB memory and 1.5 CPU free together (of 2 hosts: 1 short of memory, 1 short of CPU)",
  ],
  [
    "a tag that no host in use carries is named, with those out of use that do",
    why([host("a"), host("b", { ...ssd, state: "cordoned" }), host("c", { ...ssd, state: "down" })], ssd),
    "no host carries tag disk=ssd (2 hosts out of use do); 1 host cordoned, 1 lost",
  ],
  [
    "of several tags those are named that nobody carries",
    why([host("a", ssd)], { tags: { disk: "ssd", zone: "b", rack: "7" } }),
    "no host carries tags rack=7 and zone=b",
  ],
  [
    "tags that are there, and never together, are all named",
    why([host("a", ssd), host("b", { tags: { zone: "b" } })], { tags: { zone: "b", disk: "ssd" } }),
    "no host carries tags disk=ssd and zone=b together",
  ],
  [
    "room is looked for among hosts with the tags",
    why([host("a", {}, 999), host("b", ssd)], ssd),
    "no host with tag disk=ssd has 600 MiB memory free (largest free: 512 MiB on b)",
  ],
  [
    "a host that a job is bound to is named, or said not to be there",
    why([host("a"), host("b", { state: "unready" })], { host: "id-b" }),
    "bound to host b, which is not ready",
  ],
  ["one that is not there", why([host("a")], { host: "id-x" }), "bound to host id-x, which is not in the cluster"],
  [
    "a bound job that its host took already",
    why([host("a", {}, 999)], { host: "id-a", antiAffinity: true }, [[0, 0]]),
    "bound to host a, which already runs one web of this app",
  ],
];
for (const [claim, reason, said] of WORDS) test(`a reason: ${claim}`, () => assert.is(reason, said));

test("one of a process per host: which hosts have one already is said, alone or beside what is short", () => {
  const fleet = fleetOf(host("a"), host("b", ssd), host("c"));
  fleet.charge("j1", "id-a", groupKey("app", "web", "r1"), { cpuMillis: 1, memoryMiB: 1, diskMiB: 0 });
  const single = (over: Partial<Ask>, taken: [number, number][] = []) =>
    explain(fleet, ask({ antiAffinity: true, ...over }), new Map(taken));
  const all = "already runs one web of this app, and it allows one per host";
  const small = { need: { ...need, memoryMiB: 1 } };
  assert.is(
    single(small, [
      [1, 1],
      [2, 1],
    ]),
    `each host ${all} (3 hosts)`,
  );
  assert.is(single({ ...small, ...ssd }, [[1, 1]]), `each host with tag disk=ssd ${all} (1 host)`);
  const short = "no host has 600 MiB memory free (largest free: 512 MiB on ";
  assert.is(single({}), `${short}b); 1 host already runs one web`);
  assert.is(single({}, [[1, 1]]), `${short}c); 2 hosts already run one web`);
  assert.is(explain(fleet, ask(), new Map()), `${short}b)`, "without that rule nobody is left out");
});

const BRIEFLY: [claim: string, said: string, hosts: FleetHost[], over?: Partial<Ask>][] = [
  ["nobody is there", "no host has joined yet", []],
  ["it is bound to one", "waits for the host it is bound to", [], { host: "id-a" }],
  [
    "none takes new jobs",
    "no host takes new jobs now",
    [host("a", { state: "cordoned" }), host("b", { state: "down" })],
  ],
  ["there is no room", "no host has 600 MiB memory and 0.1 CPU free", [host("a"), host("b", { state: "down" })]],
  [
    "each of three things is short",
    "no host has 600 MiB memory, 0.1 CPU and 5 MiB disk free",
    [host("a")],
    { need: { ...need, diskMiB: 5 } },
  ],
  ["one thing is short", "no host has 600 MiB memory free", [host("a")], { need: { ...need, cpuMillis: 0 } }],
  [
    "nobody carries the tag",
    "no host in use carries tag disk=ssd",
    [host("a"), host("b", { ...ssd, state: "down" })],
    ssd,
  ],
  [
    "nobody carries the tags",
    "no host in use carries tags disk=ssd, rack=7 and zone=b",
    [host("a", ssd)],
    { tags: { zone: "b", disk: "ssd", rack: "7" } },
  ],
  [
    "no address is left anywhere",
    "no host has an address left: each runs 0 jobs, as many as its subnet has; add hosts, or give hosts larger subnets (flynn up --host-net 22)",
    [host("a", { addresses: 0 })],
  ],
  [
    "there is no room where the tag is",
    "no host with tag disk=ssd has 600 MiB memory and 0.1 CPU free",
    [host("a", ssd)],
    ssd,
  ],
];
for (const [claim, said, hosts, over] of BRIEFLY)
  test(`briefly: ${claim}`, () => assert.is(explainBriefly(fleetOf(...hosts), ask(over)), said));

test("briefly: one per host is the reason only when each host that may has one", () => {
  const fleet = fleetOf(host("a"), host("b", ssd), host("gone"));
  fleet.removeHost("id-gone");
  const charge = (id: string) =>
    fleet.charge(id, id, groupKey("app", "web", "r1"), { cpuMillis: 1, memoryMiB: 1, diskMiB: 0 });
  const said = (over: Partial<Ask> = {}) => explainBriefly(fleet, ask({ antiAffinity: true, ...over }));
  charge("id-b");
  assert.is(said(), "no host has 600 MiB memory and 0.1 CPU free");
  assert.is(said(ssd), "each host with tag disk=ssd already runs one web of this app, and it allows one per host");
  charge("id-a");
  assert.is(said(), "each host already runs one web of this app, and it allows one per host");
  assert.is(said({ antiAffinity: false }), "no host has 600 MiB memory and 0.1 CPU free");
  assert.is(said({ release: "r2" }), "no host has 600 MiB memory and 0.1 CPU free");
});

test("why a single host takes no more of it: its state, its tags, what it lacks, one that it has; else nothing", () => {
  const fleet = fleetOf(host("a", {}, 1_000), host("b", { ...ssd, state: "short of disk" }));
  fleet.charge("j", "id-a", groupKey("app", "web", "r1"), { cpuMillis: 100, memoryMiB: 100, diskMiB: 60 });
  const why = (slot: number, over: Partial<Ask> = {}, taken = 0) =>
    whyNotHere(fleet, slot, ask(over), new Map(taken === 0 ? [] : [[slot, taken]]));
  assert.is(whyNotHere(fleet, 0, ask()), undefined);
  assert.is(why(1, ssd), "is short of disk");
  assert.is(why(0, ssd), "does not carry tag disk=ssd");
  assert.is(why(0, { need: { ...need, memoryMiB: 900 } }), undefined, "just so");
  assert.is(why(0, { need: { ...need, memoryMiB: 901 } }), "has only 900 MiB of the 901 MiB memory needed free");
  assert.is(why(0, {}, 1), "has only 300 MiB of the 600 MiB memory needed free");
  assert.is(
    why(0, { need: { cpuMillis: 950, memoryMiB: 1, diskMiB: 41 } }),
    "has only 0.9 of the 0.95 CPU needed and 40 MiB of the 41 MiB disk needed free",
  );
  assert.is(why(0, { antiAffinity: true }), "already runs one web of this app");
  assert.is(why(0, { antiAffinity: true, release: "r2" }), undefined);
  const small = { cpuMillis: 1, memoryMiB: 1, diskMiB: 0 };
  assert.is(why(0, { antiAffinity: true, release: "r2", need: small }, 1), "already runs one web of this app");
});

test.run();
