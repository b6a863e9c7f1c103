import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  chainText,
  firstAddress,
  isSubnet,
  jumpCommands,
  type KernelRoute,
  routeCommands,
} from "../../hostd/network.ts";
import { target } from "./jobs.ts";

const peer = (n: number) => ({ hostId: `h${n}`, subnet: `100.64.${n}.0/24`, address: `10.77.0.${n}` });
const with1 = (...peers: ReturnType<typeof peer>[]) => target([], { peers });

test("a peer without a route gets one, by its LAN address, marked as ours", () => {
  assert.equal(routeCommands({ target: with1(peer(12)), routes: [] }), [
    ["ip", "route", "replace", "100.64.12.0/24", "via", "10.77.0.12", "proto", "77"],
  ]);
});

test("a peer that moved gets its route replaced, one that left loses it, a right one is not touched", () => {
  const routes = [
    { dst: "100.64.11.0/24", gateway: "10.77.0.99" },
    { dst: "100.64.12.0/24", gateway: "10.77.0.12" },
    { dst: "100.64.13.0/24", gateway: "10.77.0.13" },
  ];
  assert.equal(routeCommands({ target: with1(peer(11), peer(12)), routes }), [
    ["ip", "route", "del", "100.64.13.0/24", "proto", "77"],
    ["ip", "route", "replace", "100.64.11.0/24", "via", "10.77.0.11", "proto", "77"],
  ]);
});

test("this host, its own subnet, and peers with odd addresses get no route", () => {
  const odd = [
    { hostId: "host-1", subnet: "100.64.20.0/24", address: "10.77.0.20" },
    { ...peer(21), subnet: "100.64.7.0/24" },
    { ...peer(22), address: "fe80::1" },
    { ...peer(23), subnet: "default" },
    { ...peer(24), address: "-h" },
  ];
  assert.equal(routeCommands({ target: target([], { peers: odd }), routes: [] }), []);
});

test("routes carried out once need nothing more", () => {
  const n = fc.integer({ min: 10, max: 250 });
  const anyPeer = fc.record({
    subnet: n.map((x) => `100.64.${x}.0/24`),
    hostId: fc.constant("h"),
    address: n.map((x) => `10.77.0.${x}`),
  });
  const peers = fc.uniqueArray(anyPeer, { selector: ({ subnet }) => subnet });
  const routes = fc.uniqueArray(
    fc.record({ dst: n.map((x) => `100.64.${x}.0/24`), gateway: n.map((x) => `10.77.0.${x}`) }),
    {
      selector: ({ dst }) => dst,
    },
  );
  fc.assert(
    fc.property(peers, routes, (p, r) => {
      const wanted = target([], { peers: p });
      const kernel = new Map<string, KernelRoute>(r.map((route) => [route.dst, route]));
      for (const [, , verb, dst, , gateway] of routeCommands({ target: wanted, routes: r })) {
        if (verb === "del") assert.ok(kernel.delete(dst!));
        else kernel.set(dst!, { dst: dst!, gateway });
      }
      assert.equal(routeCommands({ target: wanted, routes: [...kernel.values()] }), []);
    }),
  );
});

test("the chains let in the cluster range, peers and the named, and masquerade only what leaves the cluster", () => {
  const text = chainText({
    target: with1(peer(12)),
    bridge: "flynn0",
    allowedAddresses: ["10.77.0.1", "10.77.0.12", "not an address"],
  });
  assert.is(
    text,
    `*filter
:FLYNN - [0:0]
-A FLYNN -s 10.77.0.1 -o flynn0 -j ACCEPT
-A FLYNN -s 10.77.0.12 -o flynn0 -j ACCEPT
-A FLYNN -s 100.64.0.0/16 -o flynn0 -j ACCEPT
COMMIT
*nat
:FLYNN-NAT - [0:0]
-A FLYNN-NAT -s 100.64.7.0/24 ! -d 100.64.0.0/16 ! -o flynn0 -j MASQUERADE
COMMIT
`,
  );
});

test("Docker's user chain is made where it is missing, then the jumps into it and out of it, each checked before", () => {
  const [chain, ...jumps] = jumpCommands();
  assert.equal(chain, {
    check: ["iptables", "-w", "5", "-S", "DOCKER-USER"],
    add: ["iptables", "-w", "5", "-N", "DOCKER-USER"],
  });
  assert.equal(
    jumps.map(({ add }) => add.slice(-4).join(" ")),
    ["-I FORWARD -j DOCKER-USER", "-I DOCKER-USER -j FLYNN", "-I POSTROUTING -j FLYNN-NAT"],
  );
  for (const { check, add } of jumps)
    assert.equal(
      check.map((word) => (word === "-C" ? "-I" : word)),
      add,
    );
});

test("a subnet's first address is its bridge's; what is no subnet throws", () => {
  assert.is(firstAddress("100.64.7.0/24"), "100.64.7.1");
  assert.is(isSubnet("100.64.7.0/33"), false);
  assert.is(isSubnet("100.64.7.0/24/1"), false);
  assert.throws(() => firstAddress("100.64.7.0"));
});

test.run();
