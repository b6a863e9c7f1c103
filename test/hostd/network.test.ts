import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Reach } from "#api/reach.ts";
import { chainText, firstAddress, isSubnet, jumpCommands, otherPeers } from "../../hostd/network.ts";
import { target } from "./jobs.ts";

const peer = (n: number) => ({ hostId: `h${n}`, subnet: `100.64.${n}.0/24`, address: `10.77.0.${n}` });
const with1 = (...peers: ReturnType<typeof peer>[]) => target([], { peers });

test("every peer but this host and its own subnet is one to have a route to", () => {
  const itself = { hostId: "host-1", subnet: "100.64.20.0/24", address: "10.77.0.20" };
  const sameSubnet = { ...peer(21), subnet: "100.64.7.0/24" };
  assert.equal(otherPeers(target([], { peers: [peer(11), itself, sameSubnet, peer(12)] })), [peer(11), peer(12)]);
});

test("Docker's firewall lets in the cluster range, routers and the named, and no host as such", () => {
  const reach: Reach = {
    version: 1,
    appNetwork: "app",
    egress: "internet",
    closed: [],
    open: [],
    routers: ["10.77.0.12"],
    apps: [],
  };
  const text = chainText({
    target: { ...with1(peer(13)), reach },
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
    ["-I FORWARD -j DOCKER-USER", "-I DOCKER-USER -j FLYNN"],
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
