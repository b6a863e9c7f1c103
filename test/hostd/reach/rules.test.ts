// The table as text. What it does to packets is in test/lab/reach.test.ts.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Reach } from "#api/reach.ts";
import { type ReachInput, reachText } from "../../../hostd/reach/rules.ts";

const REACH: Reach = {
  version: 17,
  appNetwork: "app",
  egress: "internet",
  closed: ["10.99.0.0/24", "fd00::/8"],
  open: [{ address: "10.77.0.1", ports: ["443", "7777", "80", "79-81"] }],
  routers: ["10.77.0.1"],
  apps: [
    { appId: "app-1", addresses: ["100.64.7.9", "100.64.8.2"], to: ["app-2"] },
    { appId: "app-2", addresses: ["100.64.8.3"], to: [] },
    { appId: "app-3", addresses: ["100.64.8.4"], to: ["app-1", "app-unknown"] },
  ],
};

function input(reach: Partial<Reach> | "none" = {}, fields: Partial<ReachInput> = {}): ReachInput {
  return {
    target: {
      subnet: "100.64.7.0/24",
      clusterRange: "100.64.0.0/16",
      registry: "10.77.0.9:5000",
      peers: [{ hostId: "h2", subnet: "100.64.8.0/24", address: "10.77.0.12" }],
      ...(reach === "none" ? {} : { reach: { ...REACH, ...reach } }),
    },
    jobs: [{ address: "100.64.7.2", appId: "app-1" }],
    jobBridge: "flynn0",
    buildBridges: ["flynnb0", "flynnb1"],
    builds: [
      { bridge: "flynnb0", subnet: "172.30.0.0/16" },
      { bridge: "flynnb1", subnet: "172.31.0.0/16" },
    ],
    dns: ["10.77.0.1"],
    clusterAddresses: ["10.77.0.1"],
    ...fields,
  };
}
const chain = (text: string, name: string): string[] => {
  const [, body = ""] = new RegExp(`  chain ${name} \\{\n([^}]*(?:\\{[^}]*\\}[^}]*)*?)\n  \\}`).exec(text) ?? [];
  return body.split("\n").map((line) => line.trim());
};
const elements = (text: string, name: string): string[] => {
  const [, found] = new RegExp(`  (?:set|map) ${name} \\{[^}]*elements = \\{ ([^}]*) \\}`).exec(text) ?? [];
  return found?.split(", ") ?? [];
};

test("the whole table of a host", () => {
  assert.is(reachText(input()), TABLE);
});

test("the addresses of this host's own subnet are its own truth, whatever the target says", () => {
  assert.equal(elements(reachText(input()), "app_0"), ["100.64.7.2", "100.64.8.2"]);
});

test("a cloud's metadata service outside of link-local is closed, whatever the policy", () => {
  for (const egress of ["all", "internet", "none"] as const)
    assert.ok(elements(reachText(input({ egress })), "closed").includes("168.63.129.16"), egress);
});

test("an app is reached by itself and by those that a rule opens it to, and by no other", () => {
  const text = reachText(input());
  assert.equal(chain(text, "in_0"), [
    "ct original ip saddr @app_0 accept",
    "ct original ip saddr @app_2 accept",
    "goto routed",
  ]);
  assert.equal(chain(text, "out_0"), [
    "ct original ip daddr @app_0 accept",
    "ct original ip daddr @app_1 accept",
    "goto out",
  ]);
  const jobs = [{ address: "100.64.7.2", appId: "app-2" }];
  assert.equal(chain(reachText(input({}, { jobs })), "in_1"), [
    "ct original ip saddr @app_0 accept",
    "ct original ip saddr @app_1 accept",
    "goto routed",
  ]);
});

test("with the apps' network open, a job reaches every job and no host's end of a bridge", () => {
  const text = reachText(input({ appNetwork: "cluster" }));
  assert.equal(chain(text, "out_0").slice(0, 2), [
    "ct original ip daddr @gateways goto deny",
    "ct original ip daddr 100.64.0.0/16 accept",
  ]);
  assert.equal(elements(text, "gateways"), ["100.64.7.1", "100.64.8.1"]);
});

test("the outside is closed under none, without private ranges under internet, and whole under all", () => {
  assert.is(chain(reachText(input({ egress: "none" })), "world").at(-1), "goto deny");
  assert.ok(chain(reachText(input()), "world").includes("ct original ip daddr @not_internet goto deny"));
  const all = chain(reachText(input({ egress: "all" })), "world");
  assert.is(all.at(-1), "accept");
  assert.not.match(all.join("\n"), /not_internet/);
});

test("names come before what is closed, and are never asked of a link-local or loopback address", () => {
  const text = reachText(input({}, { dns: ["10.77.0.1", "169.254.169.253", "127.0.0.53", "::1", "x"] }));
  assert.equal(elements(text, "names"), ["10.77.0.1 . 53"]);
  const world = chain(text, "world");
  assert.match(world[0]!, /@names accept$/);
  assert.match(world[1]!, /@closed goto deny$/);
});

test("control, routers, peers, the registry, the cluster's range and what control closes are closed under every policy", () => {
  const closed = elements(reachText(input({ egress: "all", open: [], routers: ["10.77.0.3"] })), "closed");
  for (const range of ["10.77.0.1", "10.77.0.3", "10.77.0.9", "10.77.0.12", "10.99.0.0-10.99.0.255"])
    assert.ok(closed.includes(range), range);
  for (const range of ["100.64.0.0-100.64.255.255", "172.30.0.0-172.31.255.255", "169.254.0.0-169.254.255.255"])
    assert.ok(closed.includes(range), range);
});

test("before the builds' network is known nothing leaves their bridge", () => {
  const text = reachText(input({}, { builds: [] }));
  assert.not.match(text, /iifname "flynnb0" ip saddr/);
  assert.ok(chain(text, "source").includes('iifname { "flynn0", "flynnb0", "flynnb1" } drop'));
});

test("without reach of control a job reaches its own app on this host and the internet", () => {
  const text = reachText(
    input("none", { jobs: [{ address: "100.64.7.2", appId: "app-1" }, { address: "100.64.7.3" }] }),
  );
  assert.equal(chain(text, "out_0"), ["ct original ip daddr @app_0 accept", "goto out"]);
  assert.equal(elements(text, "app_0"), ["100.64.7.2"]);
  assert.equal(elements(text, "senders"), ["100.64.7.2 : goto out_0", "100.64.7.3 : goto out"]);
  assert.ok(text.includes("@not_internet"));
});

test("a job outside of the host's subnet is none of its jobs", () => {
  const text = reachText(input({}, { jobs: [{ address: "172.30.0.2", appId: "app-1" }] }));
  assert.equal(elements(text, "jobs"), []);
  assert.equal(elements(text, "senders"), []);
});

test("jobs of the subnet before run on as this host's own until it is another host's: they send, are reached, and nobody else is them", () => {
  const jobs = [
    { address: "100.64.7.2", appId: "app-1" },
    { address: "100.64.5.9", appId: "app-2" },
  ];
  const text = reachText(input({}, { jobs }));
  assert.equal(elements(text, "jobs"), ["02:42:64:40:05:09 . 100.64.5.9", "02:42:64:40:07:02 . 100.64.7.2"]);
  assert.ok(elements(text, "senders").some((each) => each.startsWith("100.64.5.9 : goto out_")));
  assert.ok(elements(text, "receivers").some((each) => each.startsWith("100.64.5.9 : goto in_")));
  assert.ok(chain(text, "source").includes('iifname != "lo" ip saddr { 100.64.7.0/24, 100.64.5.9 } drop'));
  assert.match(chain(text, "outgoing").join("\n"), /ip saddr \{ 100\.64\.7\.0\/24, 100\.64\.5\.9 \} .* masquerade/);
  const peers = [{ hostId: "h3", subnet: "100.64.4.0/22", address: "10.77.0.13" }];
  const others = reachText(input({}, { jobs, target: { ...input().target, peers } }));
  assert.equal(elements(others, "jobs"), ["02:42:64:40:07:02 . 100.64.7.2"], "the subnet is another host's now");
});

test("open ports that overlap become one range, and what is no port is left out", () => {
  const open = [
    { address: "10.77.0.1", ports: ["80", "70-81", "443", "99999", "9-3"] },
    { address: "x", ports: ["1"] },
  ];
  assert.equal(elements(reachText(input({ open })), "open"), ["10.77.0.1 . 70-81", "10.77.0.1 . 443"]);
});

test("a closed network that cannot be read makes no table: the one before holds", () => {
  assert.throws(() => reachText(input({ closed: ["10.0.0.0/40"] })), /10\.0\.0\.0\/40 is not IPv4 CIDR/);
});

test("no text of a target writes a line, a word or a comment of its own", () => {
  const hostile = 'x" }\n  drop; } # ';
  const text = reachText(
    input(
      {
        open: [{ address: hostile, ports: [hostile] }],
        routers: [hostile],
        apps: [{ appId: hostile, addresses: [hostile], to: [hostile] }],
      },
      { dns: [hostile], clusterAddresses: [hostile], jobs: [{ address: hostile, appId: hostile }] },
    ),
  );
  assert.not.match(text, /x"/);
  for (const fields of [{ subnet: hostile }, { clusterRange: hostile }])
    assert.throws(() => reachText({ ...input(), target: { ...input().target, ...fields } }));
});

const TABLE = `table inet flynn
delete table inet flynn
table inet flynn {
  set jobs {
    type ether_addr . ipv4_addr
    elements = { 02:42:64:40:07:02 . 100.64.7.2 }
  }
  # app-1
  set app_0 {
    type ipv4_addr
    elements = { 100.64.7.2, 100.64.8.2 }
  }
  # app-2
  set app_1 {
    type ipv4_addr
    elements = { 100.64.8.3 }
  }
  # app-3
  set app_2 {
    type ipv4_addr
    elements = { 100.64.8.4 }
  }
  set routers {
    type ipv4_addr
    elements = { 10.77.0.1 }
  }
  set names {
    type ipv4_addr . inet_service
    elements = { 10.77.0.1 . 53 }
  }
  set open {
    type ipv4_addr . inet_service
    flags interval
    elements = { 10.77.0.1 . 79-81, 10.77.0.1 . 443, 10.77.0.1 . 7777 }
  }
  set closed {
    type ipv4_addr
    flags interval
    elements = { 0.0.0.0-0.255.255.255, 10.77.0.1, 10.77.0.9, 10.77.0.12, 10.99.0.0-10.99.0.255, 100.64.0.0-100.64.255.255, 127.0.0.0-127.255.255.255, 168.63.129.16, 169.254.0.0-169.254.255.255, 172.30.0.0-172.31.255.255, 224.0.0.0-255.255.255.255 }
  }
  set not_internet {
    type ipv4_addr
    flags interval
    elements = { 10.0.0.0-10.255.255.255, 100.64.0.0-100.127.255.255, 172.16.0.0-172.31.255.255, 192.0.0.0-192.0.0.255, 192.0.2.0-192.0.2.255, 192.88.99.0-192.88.99.255, 192.168.0.0-192.168.255.255, 198.18.0.0-198.19.255.255, 198.51.100.0-198.51.100.255, 203.0.113.0-203.0.113.255 }
  }
  map senders {
    type ipv4_addr : verdict
    elements = { 100.64.7.2 : goto out_0 }
  }
  map receivers {
    type ipv4_addr : verdict
    elements = { 100.64.7.2 : goto in_0 }
  }
  chain out_0 {
    ct original ip daddr @app_0 accept
    ct original ip daddr @app_1 accept
    goto out
  }
  chain in_0 {
    ct original ip saddr @app_0 accept
    ct original ip saddr @app_2 accept
    goto routed
  }
  chain out {
    meta l4proto tcp ct original ip daddr . ct original proto-dst @open accept
    goto world
  }
  chain world {
    meta l4proto { tcp, udp } ct original ip daddr . ct original proto-dst @names accept
    ct original ip daddr @closed goto deny
    ct reply ip saddr @closed goto deny
    ct original ip daddr @not_internet goto deny
    ct reply ip saddr @not_internet goto deny
    accept
  }
  chain routed {
    ct original ip saddr @routers accept
    goto deny
  }
  chain deny {
    ct direction original reject with icmp admin-prohibited
    drop
  }
  chain judge {
    ct original ip saddr vmap @senders
    ct original ip saddr 172.30.0.0/16 goto world
    ct original ip saddr 172.31.0.0/16 goto world
    ct original ip daddr vmap @receivers
    goto deny
  }
  chain host {
    ct direction reply accept
    iifname "flynn0" meta l4proto tcp ct original ip daddr . ct original proto-dst @open accept
    meta l4proto { tcp, udp } ct original ip daddr . ct original proto-dst @names accept
    goto deny
  }
  chain source {
    type filter hook prerouting priority raw; policy accept;
    iifname "flynn0" ether saddr . ip saddr @jobs accept
    iifname "flynnb0" ip saddr 172.30.0.0/16 accept
    iifname "flynnb1" ip saddr 172.31.0.0/16 accept
    iifname { "flynn0", "flynnb0", "flynnb1" } drop
    iifname != "lo" ip saddr 100.64.7.0/24 drop
  }
  chain before_nat {
    type filter hook prerouting priority mangle; policy accept;
    iifname { "flynn0", "flynnb0", "flynnb1" } ct direction original fib daddr type local goto host
  }
  chain input {
    type filter hook input priority filter - 5; policy accept;
    iifname { "flynn0", "flynnb0", "flynnb1" } goto host
    iifname != "lo" ct direction original ip saddr 100.64.0.0/16 goto deny
  }
  chain forward {
    type filter hook forward priority filter - 5; policy accept;
    iifname { "flynn0", "flynnb0", "flynnb1" } goto judge
    oifname { "flynn0", "flynnb0", "flynnb1" } goto judge
  }
  chain outgoing {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 100.64.7.0/24 ip daddr != 100.64.0.0/16 oifname != "flynn0" masquerade
    ip saddr 172.30.0.0/16 oifname != "flynnb0" masquerade
    ip saddr 172.31.0.0/16 oifname != "flynnb1" masquerade
  }
}
`;

test.run();
