// What `flynn up` hands its parts: settings of what apps reach, and where the registries listen.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadUpConfig } from "../../../cli/up/config.ts";
import { parts } from "../../../cli/up/parts.ts";
import { invoke } from "../invoke.ts";

const partsWith = (flags: Record<string, unknown>) =>
  parts({
    config: loadUpConfig({ flags: { stateDir: "/nowhere", ...flags }, env: {}, root: true }),
    address: "10.1.0.1",
    treeDir: "/tree",
    node: "node",
    registrySecret: "s",
    hostname: "box",
  });
const fileOf = (name: string, flags: Record<string, unknown> = {}) => {
  const { file } = partsWith(flags).find((part) => part.name === name)!;
  return JSON.parse(file.content) as Record<string, unknown>;
};

test("apps reach their own app and the internet unless whoever starts it says otherwise", () => {
  const { appNetwork, appEgress, closedNetworks } = fileOf("control");
  assert.equal([appNetwork, appEgress, closedNetworks], ["app", "internet", []]);
});

test("what apps reach, and the networks closed to them, are control's to tell the hosts", () => {
  const { appNetwork, appEgress, closedNetworks } = fileOf("control", {
    appNetwork: "cluster",
    appEgress: "none",
    bootNetworks: ["10.20.0.0/24"],
    bmcNetworks: ["10.30.0.0/24", "10.31.0.0/24"],
  });
  assert.equal([appNetwork, appEgress], ["cluster", "none"]);
  assert.equal(closedNetworks, ["10.20.0.0/24", "10.30.0.0/24", "10.31.0.0/24"]);
});

test("both registries are on loopback, and control gives the images out", () => {
  assert.equal(
    ["registry", "registry-push"].map((name) => (fileOf(name)["http"] as { addr: string }).addr),
    ["127.0.0.1:5002", "127.0.0.1:5001"],
  );
  const { registry, registryListen, registryRead } = fileOf("control");
  assert.equal([registry, registryListen, registryRead], ["10.1.0.1:5000", "0.0.0.0:5000", "127.0.0.1:5002"]);
  const ports = partsWith({}).flatMap((part) => part.ports.map(({ protocol, port }) => `${protocol} ${port}`));
  assert.is(new Set(ports).size, ports.length, "no two parts want one port");
});

test("what machines are told beside an address goes to the boot server, in full mode only", () => {
  const told = {
    ...{
      dhcpRouter: "10.1.0.254",
      dhcpDns: ["10.1.0.2"],
      dhcpNtp: ["10.1.0.3"],
      dhcpDomain: "lab.test",
      dhcpLease: "2h",
    },
    dhcpReserve: ["52-54-00-AB-CD-EF=10.1.0.30"],
  };
  const names = ["router", "dns", "ntp", "domain", "leaseTime", "reservations"];
  const of = (flags: object) => {
    const file = fileOf("boot server", { interface: "eth0", ...flags });
    return names.map((name) => file[name]);
  };
  const reservations = { "52:54:00:ab:cd:ef": "10.1.0.30" };
  assert.equal(of({ dhcp: "full", ...told }), [
    "10.1.0.254",
    ["10.1.0.2"],
    ["10.1.0.3"],
    "lab.test",
    "2h",
    reservations,
  ]);
  assert.equal(of({ dhcp: "full" }), ["", [], [], "", "1h", {}]);
  assert.equal(of({}), Array(6).fill(undefined));
});

for (const argv of [
  ["--boot-networks", "10.20.0.0"],
  ["--bmc-networks", "bmc"],
  ["--app-egress", "some"],
  ["--app-network", "host"],
])
  test(`flynn up ${argv.join(" ")} is refused before anything starts`, async () => {
    const { code, err } = await invoke(["up", "--state", "/nowhere", ...argv]);
    assert.is(code, 2, err);
  });

test.run();
