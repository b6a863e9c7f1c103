import type { NetworkInterfaceInfo } from "node:os";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { advertised } from "../../control/advertised.ts";

const card = (address: string, internal = false): NetworkInterfaceInfo[] => [
  { address, netmask: "255.255.255.0", family: "IPv4", mac: "02:00:00:00:00:01", internal, cidr: `${address}/24` },
];
const lan = { eth0: card("192.0.2.10") };

const TABLE: [claim: string, interfaces: Parameters<typeof advertised>[1], wanted: string[]][] = [
  [
    "every card's, and loopback's never",
    { lo: card("127.0.0.1", true), ...lan, wg0: card("10.9.0.1") },
    ["192.0.2.10", "10.9.0.1"],
  ],
  [
    "none of a bridge of containers, which every machine has",
    {
      docker0: card("172.17.0.1"),
      "br-0a1b2c3d4e5f": card("172.18.0.1"),
      docker_gwbridge: card("172.19.0.1"),
      flynn0: card("100.64.1.1"),
      flynnb1: card("100.64.255.1"),
      virbr0: card("192.168.122.1"),
      ...lan,
    },
    ["192.0.2.10"],
  ],
  [
    "a bridge that the machine's own card hangs on is its card",
    { br0: card("192.0.2.11"), "br-lan": card("192.0.2.12") },
    ["192.0.2.11", "192.0.2.12"],
  ],
  ["a link-local one only where there is no other", { ...lan, eth1: card("169.254.3.4") }, ["192.0.2.10"]],
  ["a link-local one only where there is no other (2)", { eth1: card("169.254.3.4") }, ["169.254.3.4"]],
  ["loopback where there is nothing else", { docker0: card("172.17.0.1") }, ["127.0.0.1"]],
];
for (const [claim, interfaces, wanted] of TABLE)
  test(`control is reached by ${claim}`, () => {
    assert.equal(advertised([], interfaces), wanted);
    assert.equal(advertised(["198.51.100.1"], interfaces), ["198.51.100.1"], "what is configured is all");
  });

test.run();
