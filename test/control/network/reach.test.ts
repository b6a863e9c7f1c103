// What a host is given to enforce, as tables over jobs and rules.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { closedNetworks, clusterReach } from "../../../control/network/platform.ts";
import { type ClusterReach, memberOf, type ReachView, reachOf } from "../../../control/network/reach.ts";

const CLUSTER: ClusterReach = { appNetwork: "app", egress: "internet", closed: [], open: [], routers: [] };

type Row = [id: string, appId: string, hostId: string, address?: string, over?: Partial<Job>];

function viewOf(rows: Row[], rules: [from: string, to: string][] = [], cluster = CLUSTER): ReachView {
  const members = rows.flatMap(
    ([id, appId, hostId, address, over]) =>
      memberOf({ id, appId, hostId, ...(address ? { address } : {}), state: "up", desired: "run", ...over } as Job) ??
      [],
  );
  return {
    cluster,
    appsOn: (hostId) => members.filter((member) => member.hostId === hostId).map(({ appId }) => appId),
    addressesOf: (appId) => members.flatMap((one) => (one.appId === appId ? (one.address ?? []) : [])).sort(),
    reachableFrom: (appId) => rules.flatMap(([from, to]) => (from === appId ? [to] : [])),
    outsideOf: () => [],
    reaching: (appId) => rules.flatMap(([from, to]) => (to === appId ? [from] : [])),
  };
}

const appsOf = (hostId: string, view: ReachView) =>
  reachOf(hostId, view).apps.map(({ appId, addresses, to }) => [appId, addresses.join(" "), to.join(" ")]);

const TWO_HOSTS: Row[] = [
  ["j1", "blog", "h1", "100.64.1.2"],
  ["j2", "blog", "h2", "100.64.2.2"],
  ["j3", "db", "h2", "100.64.2.3"],
];

const TABLE: [claim: string, hostId: string, view: ReachView, apps: string[][]][] = [
  [
    "an app's jobs on other hosts are in its set, other apps are not named",
    "h1",
    viewOf(TWO_HOSTS),
    [["blog", "100.64.1.2 100.64.2.2", ""]],
  ],
  ["a host without jobs is given no app", "h3", viewOf(TWO_HOSTS, [["blog", "db"]]), []],
  [
    "by a rule, the sender's host is given the destination",
    "h1",
    viewOf(TWO_HOSTS, [["blog", "db"]]),
    [
      ["blog", "100.64.1.2 100.64.2.2", "db"],
      ["db", "100.64.2.3", ""],
    ],
  ],
  [
    "by a rule, the receiver's host is given the source",
    "h3",
    viewOf([...TWO_HOSTS, ["j4", "db", "h3", "100.64.3.2"]], [["blog", "db"]]),
    [
      ["blog", "100.64.1.2 100.64.2.2", "db"],
      ["db", "100.64.2.3 100.64.3.2", ""],
    ],
  ],
  [
    "a rule leads one way only",
    "h1",
    viewOf(TWO_HOSTS, [["db", "blog"]]),
    [
      ["blog", "100.64.1.2 100.64.2.2", ""],
      ["db", "100.64.2.3", "blog"],
    ],
  ],
  [
    "rules do not lead on to a third app, and whom a neighbour reaches besides is not named",
    "h1",
    viewOf(
      [...TWO_HOSTS, ["j5", "mail", "h2", "100.64.2.9"]],
      [
        ["blog", "db"],
        ["db", "mail"],
      ],
    ),
    [
      ["blog", "100.64.1.2 100.64.2.2", "db"],
      ["db", "100.64.2.3", ""],
    ],
  ],
  [
    "jobs that are down or lost are out of the set, draining ones are in it",
    "h1",
    viewOf([
      ["j1", "blog", "h1", "100.64.1.2"],
      ["j2", "blog", "h2", "100.64.2.2", { state: "lost" }],
      ["j3", "blog", "h2", "100.64.2.3", { state: "down" }],
      ["j4", "blog", "h2", "100.64.2.4", { desired: "drain" }],
      ["j5", "blog", "h2", "100.64.2.5", { state: "stopping", desired: "stop" }],
      ["j6", "blog", "h2", "100.64.2.6", { state: "crashed" }],
    ]),
    [["blog", "100.64.1.2 100.64.2.4 100.64.2.5 100.64.2.6", ""]],
  ],
  [
    "an app is given before its first job here has an address, so that its set is in force when it starts",
    "h1",
    viewOf([
      ["j1", "blog", "h1", undefined, { state: "starting" }],
      ["j2", "blog", "h2", "100.64.2.2"],
    ]),
    [["blog", "100.64.2.2", ""]],
  ],
  [
    "jobs that run once are in their app's set, builds are not",
    "h1",
    viewOf([
      ["j1", "blog", "h1", "100.64.1.2", { task: { kind: "run", attach: false, tty: false, createdBy: "me" } }],
      ["j2", "blog", "h1", "100.64.1.3", { task: { kind: "build", attach: false, tty: false, createdBy: "me" } }],
      ["j3", "db", "h1", "100.64.1.4", { task: { kind: "build", attach: false, tty: false, createdBy: "me" } }],
    ]),
    [["blog", "100.64.1.2", ""]],
  ],
  [
    "in a cluster where every app reaches every other, the setting says so",
    "h1",
    viewOf(TWO_HOSTS, [], { ...CLUSTER, appNetwork: "cluster" }),
    [["blog", "100.64.1.2 100.64.2.2", ""]],
  ],
];

for (const [claim, hostId, view, apps] of TABLE) test(claim, () => assert.equal(appsOf(hostId, view), apps));

const SETTINGS = {
  appNetwork: "app",
  appEgress: "internet",
  clusterRange: "100.64.0.0/16",
  closedNetworks: ["10.9.0.0/16", "10.2.0.0/24", "10.9.0.0/16"],
  port: 7777,
  sshRelay: ["relay"],
  sshPort: 7722,
  tcpPorts: "3000-3500",
} as const;

test("the API's, git's and the routers' ports are open, and nothing else of their addresses is", () => {
  const reach = clusterReach({
    config: { ...SETTINGS, closedNetworks: [...SETTINGS.closedNetworks], sshRelay: [...SETTINGS.sshRelay] },
    controlUrls: ["https://10.1.0.1:7777", "https://flynn.example.com:7777"],
    routers: [{ addresses: ["10.1.0.1"], ports: [80] }, { addresses: ["10.1.0.7", "203.0.113.7"] }, {}],
  });
  assert.equal(reach, {
    appNetwork: "app",
    egress: "internet",
    closed: ["10.2.0.0/24", "10.9.0.0/16", "10.1.0.1/32", "10.1.0.7/32", "203.0.113.7/32"],
    open: [
      { address: "10.1.0.1", ports: ["80", "3000-3500", "7722", "7777"] },
      { address: "10.1.0.7", ports: ["80", "443", "3000-3500"] },
      { address: "203.0.113.7", ports: ["80", "443", "3000-3500"] },
    ],
    routers: ["10.1.0.1", "10.1.0.7", "203.0.113.7"],
  });
});

test("no address of a machine of the platform is reached: hosts', routers' and control's own, whichever they are", () => {
  const reach = clusterReach({
    config: { ...SETTINGS, closedNetworks: [], sshRelay: [] },
    controlUrls: ["https://10.1.0.1:7777"],
    routers: [{ addresses: ["10.1.0.7"], localAddresses: ["10.1.0.7", "203.0.113.8", "100.64.9.1"] }],
    machines: ["10.1.0.1", "10.1.0.2", "192.168.5.2", "9.9.9.7", "9.9.9.7", "100.64.2.1", "169.254.3.4", "127.0.0.1"],
  });
  assert.equal(
    reach.closed,
    ["10.1.0.1", "10.1.0.2", "10.1.0.7", "192.168.5.2", "203.0.113.8", "9.9.9.7"].map((address) => `${address}/32`),
  );
  assert.equal(reach.routers, ["10.1.0.1", "10.1.0.7"], "who opens connections to jobs is not more");
  assert.equal(
    reach.open.map(({ address }) => address),
    ["10.1.0.1", "10.1.0.7"],
  );
});

test("without git over SSH its port is closed", () => {
  const reach = clusterReach({
    config: { ...SETTINGS, closedNetworks: [], sshRelay: [] },
    controlUrls: ["https://10.1.0.1:7777"],
    routers: [],
  });
  assert.equal(reach.open, [{ address: "10.1.0.1", ports: ["7777"] }]);
});

for (const range of [
  "10.0.0.0",
  "10.0.0.0/33",
  "10.0.0.0/",
  "10.0.0/8",
  "fd00::/129",
  "0.0.0.0/0",
  "x/8",
  "10.0.0.0/8/8",
])
  test(`${range} is refused as a closed network, with an example`, () =>
    assert.throws(() => closedNetworks([range]), /is not a network; .* such as 10.20.0.0\/16/));

test.run();
