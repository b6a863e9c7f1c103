import { test } from "uvu";
import * as assert from "uvu/assert";
import { type KernelRoute, parseKernelRoutes, routeCommands } from "#lib/ip-routes.ts";

const rule = (
  peers: { subnet: string; address: string }[],
  current: KernelRoute[] = [],
  localAddresses = ["10.0.0.1"],
) => routeCommands({ peers, current, localAddresses, clusterRange: "100.64.0.0/16" }).map((argv) => argv.join(" "));

test("a new peer gets a route, an equal one is left alone, a moved one is replaced", () => {
  assert.equal(rule([{ subnet: "100.64.2.0/24", address: "10.0.0.2" }]), [
    "ip route replace 100.64.2.0/24 via 10.0.0.2 proto 77",
  ]);
  const current = [{ subnet: "100.64.2.0/24", via: "10.0.0.2" }];
  assert.equal(rule([{ subnet: "100.64.2.0/24", address: "10.0.0.2" }], current), []);
  assert.equal(rule([{ subnet: "100.64.2.0/24", address: "10.0.0.3" }], current), [
    "ip route replace 100.64.2.0/24 via 10.0.0.3 proto 77",
  ]);
});

test("a route whose peer is gone is removed", () => {
  assert.equal(rule([], [{ subnet: "100.64.9.0/24", via: "10.0.0.9" }]), ["ip route del 100.64.9.0/24 proto 77"]);
});

test("this machine's own subnet gets no route, and a route left over for it is removed", () => {
  assert.equal(rule([{ subnet: "100.64.1.0/24", address: "10.0.0.1" }]), []);
  assert.equal(
    rule([{ subnet: "100.64.1.0/24", address: "10.0.0.1" }], [{ subnet: "100.64.1.0/24", via: "10.0.0.5" }]),
    ["ip route del 100.64.1.0/24 proto 77"],
  );
});

for (const [subnet, address, why] of [
  ["0.0.0.0/0", "10.0.0.2", "the default route"],
  ["10.0.0.0/8", "10.0.0.2", "a range outside the cluster's"],
  ["100.64.0.0/10", "10.0.0.2", "a range larger than the cluster's"],
  ["100.64.2.1/24", "10.0.0.2", "a subnet with host bits"],
  ["100.64.2.0/24", "100.64.2.9", "a gateway inside the subnet it leads to"],
  ["100.64.2.0/24", "10.0.0.2; reboot", "an address that is not one"],
  ["100.64.2.0/24 dev lo", "10.0.0.2", "a subnet with more words"],
  ["100.64.2.0", "10.0.0.2", "a subnet without a length"],
] as const)
  test(`${why} is never set`, () => assert.equal(rule([{ subnet, address }]), []));

test("the kernel's list is read from its JSON, and an empty list from nothing", () => {
  assert.equal(
    parseKernelRoutes('[{"dst":"100.64.2.0/24","gateway":"10.0.0.2","dev":"eth0","flags":[]},{"dst":"100.64.3.1"}]'),
    [
      { subnet: "100.64.2.0/24", via: "10.0.0.2" },
      { subnet: "100.64.3.1/32", via: undefined },
    ],
  );
  assert.equal(parseKernelRoutes(""), []);
});

test.run();
