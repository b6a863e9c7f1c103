// Settings of `flynn up` that cannot be right on this machine are refused in words, each with what to give instead.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Link } from "../../../cli/up/address.ts";
import { loadUpConfig } from "../../../cli/up/config.ts";
import { settingsProblems, settingsWarnings } from "../../../cli/up/settings.ts";

const link = (ifname: string, ...cidrs: string[]): Link => ({
  ifname,
  addr_info: cidrs.map((cidr) => {
    const [local = "", prefix] = cidr.split("/");
    return { family: "inet", local, prefixlen: Number(prefix), scope: "global" };
  }),
});
const LINKS = [link("lo", "127.0.0.1/8"), link("eth0", "10.91.0.1/24"), link("eth1", "192.168.7.9/30")];
const LAN = { interface: "eth0" };
/** A reserved card but for its last digit. */
const CARD = "52:54:00:00:00:0";
const FULL = { ...LAN, dhcp: "full" };
const GIVES = { ...FULL, dhcpRange: "10.91.0.100-10.91.0.200" };

const configOf = (flags: Record<string, unknown>) =>
  loadUpConfig({ flags: { stateDir: "/nowhere", ...flags }, env: {}, root: true });
function problems(flags: Record<string, unknown>, links: readonly Link[] = LINKS): string[] {
  const config = configOf(flags);
  const name = config.interface || "eth0";
  const own = links.find(({ ifname }) => ifname === name)?.addr_info[0]?.local ?? "127.0.0.1";
  const found = settingsProblems(config, { links, address: config.address || own });
  return found.map(({ what, todo }) => `${what} -> ${todo}`);
}

const REFUSED: [what: string, flags: Record<string, unknown>, said: RegExp][] = [
  [
    "a DHCP range on another network",
    { ...FULL, dhcpRange: "10.92.0.5-10.92.0.9" },
    /^--dhcp-range 10.92.0.5-10.92.0.9: 10.92.0.5 is not in 10.91.0.0\/24 -> .*10.91.0.0\/24 \(eth0\), such as --dhcp full --dhcp-range 10.91.0.128-10.91.0.254$/,
  ],
  ["one that ends on another network", { ...FULL, dhcpRange: "10.91.0.5-10.92.0.9" }, /10.92.0.9 is not in/],
  ["a reversed one", { ...FULL, dhcpRange: "10.91.0.9-10.91.0.5" }, /turned round it is 10.91.0.5-10.91.0.9/],
  ["one with the network's address", { ...FULL, dhcpRange: "10.91.0.0-10.91.0.0" }, /10.91.0.0, the network's own/],
  ["one with the broadcast", { ...FULL, dhcpRange: "10.91.0.200-10.91.0.255" }, /10.91.0.255, the network's broadcast/],
  ["one with our address", { ...FULL, dhcpRange: "10.91.0.1-10.91.0.9" }, /10.91.0.1, this machine's own/],
  ["one that is no range", { ...FULL, dhcpRange: "10.91.0.9" }, /two addresses, FIRST-LAST/],
  ["one of three", { ...FULL, dhcpRange: "10.91.0.3-10.91.0.5-10.91.0.9" }, /two addresses, FIRST-LAST/],
  ["--dhcp full without one", FULL, /^--dhcp full needs --dhcp-range.*--dhcp-range 10.91.0.128-10.91.0.254$/],
  ["one beside another server", { ...LAN, dhcpRange: "10.91.0.5-10.91.0.9" }, /does nothing without --dhcp full/],
  ["--dhcp full without an interface", { dhcp: "full" }, /^--dhcp full does nothing without --interface/],
  ["a range without", { dhcpRange: "10.91.0.5-10.91.0.9" }, /^--dhcp-range 10.91.0.5-10.91.0.9 does nothing without/],
  [
    "a gateway elsewhere",
    { ...GIVES, dhcpRouter: "10.92.0.1" },
    /^--dhcp-router 10.92.0.1 is not in 10.91.0.0\/24.* -> give /,
  ],
  ["a gateway that is none", { ...GIVES, dhcpRouter: "gw" }, /^--dhcp-router gw is not an IPv4 address/],
  ["a name server elsewhere without a gateway", { ...GIVES, dhcpDns: ["9.9.9.9"] }, /9.9.9.9 is outside .* no router/],
  ["one twice", { ...GIVES, dhcpNtp: ["10.91.0.2", "10.91.0.2"] }, /^--dhcp-ntp 10.91.0.2 is there twice/],
  ["five of them", { ...GIVES, dhcpDns: [2, 3, 4, 5, 6].map((n) => `10.91.0.${n}`) }, /are 5 servers; 4 is the most/],
  ["a lease of seconds", { ...GIVES, dhcpLease: "30s" }, /^--dhcp-lease 30s is too short: a minute is the least/],
  ["a lease of centuries", { ...GIVES, dhcpLease: "40000d" }, /too long/],
  ["a lease that is no time", { ...GIVES, dhcpLease: "soon" }, /^--dhcp-lease soon is not a time/],
  [
    "an address for two cards",
    { ...GIVES, dhcpReserve: [`${CARD}1=10.91.0.9`, `${CARD}2=10.91.0.9`] },
    /10.91.0.9 of .*02 is the address of .*01 already/,
  ],
  [
    "two addresses for a card",
    { ...GIVES, dhcpReserve: [`${CARD}1=10.91.0.8`, `${CARD}1=10.91.0.9`] },
    /is its second address; it has 10.91.0.8/,
  ],
  [
    "our address reserved",
    { ...GIVES, dhcpReserve: [`${CARD}1=10.91.0.1`] },
    /is the address of this machine.* 52:54:00:12:34:56=10.91.0.128$/,
  ],
  [
    "the gateway's reserved",
    { ...GIVES, dhcpRouter: "10.91.0.254", dhcpReserve: [`${CARD}1=10.91.0.254`] },
    /is the address of the router/,
  ],
  ["the broadcast reserved", { ...GIVES, dhcpReserve: [`${CARD}1=10.91.0.255`] }, /is the broadcast address/],
  ["the network reserved", { ...GIVES, dhcpReserve: [`${CARD}1=10.91.0.0`] }, /is the address of the network/],
  [
    "another network's reserved",
    { ...GIVES, dhcpReserve: [`${CARD}1=10.92.0.9`] },
    /10.92.0.9 of 52:54:00:00:00:01 is not in 10.91.0.0\/24/,
  ],
  ["a reservation for many", { ...GIVES, dhcpReserve: ["01:00:5e:00:00:01=10.91.0.9"] }, /no card of a machine/],
  [
    "a gateway beside another server",
    { ...LAN, dhcpRouter: "10.91.0.254" },
    /^--dhcp-router 10.91.0.254 does nothing without --dhcp full/,
  ],
  ["a lease time beside another server", { ...LAN, dhcpLease: "2h" }, /^--dhcp-lease 2h does nothing without/],
  ["a reservation without an interface", { dhcpReserve: [`${CARD}1=10.91.0.9`] }, /does nothing without --interface/],
  ["a relay without", { dhcpRelay: ["10.8.0.1/24"] }, /^--dhcp-relay 10.8.0.1\/24 does nothing without --interface/],
  [
    "a relay that is none",
    { ...LAN, dhcpRelay: ["10.88.0.1"] },
    /^--dhcp-relay 10.88.0.1 is not an address with its prefix/,
  ],
  [
    "a relay of our own network",
    { ...LAN, dhcpRelay: ["10.91.0.9/24"] },
    /^--dhcp-relay 10.91.0.9\/24 is our own network/,
  ],
  ["no such interface", { interface: "eth7" }, /^there is no interface eth7.*lo, eth0, eth1$/],
  [
    "an address that is not on the interface",
    { ...LAN, address: "192.168.7.9" },
    /interface eth0 does not have --address 192.168.7.9.* 10.91.0.1$/,
  ],
  ["an address that is none", { address: "here" }, /^--address here is not an IPv4 address/],
  [
    "a cluster range with our address",
    { clusterRange: "10.91.0.0/16" },
    /holds 10.91.0.1, .* on eth0.*100.64.0.0\/16$/,
  ],
  ["one with loopback", { clusterRange: "127.0.0.0/8" }, /holds 127.0.0.1/],
  [
    "one with host bits",
    { clusterRange: "8.8.8.0/16" },
    /^--cluster-range 8.8.8.0\/16 is an .*--cluster-range 8.8.0.0\/16$/,
  ],
  ["a small one", { clusterRange: "10.20.0.0/24" }, /not a network between \/8 and \/23/],
  ["a large one", { clusterRange: "10.0.0.0/7" }, /not a network between \/8 and \/23/],
  [
    "hosts' parts that the range has no room for",
    { clusterRange: "10.20.0.0/22", hostNet: 22 },
    /^--host-net 22 is no smaller than --cluster-range 10.20.0.0\/22.* -> give a wider range, such as --cluster-range 10.20.0.0\/20, or a larger number$/,
  ],
  [
    "a boot network with host bits",
    { bootNetworks: ["10.20.0.5/24"] },
    /the network is 10.20.0.0\/24 -> give --boot-networks 10.20.0.0\/24/,
  ],
  [
    "a BMC network with host bits",
    { bmcNetworks: ["10.0.0.0/8", "10.3.0.5/24"] },
    /^--bmc-networks 10.3.0.5\/24 .*10.3.0.0\/24$/,
  ],
  [
    "a boot network that is none",
    { bootNetworks: ["10.20.0.0/99"] },
    /^--boot-networks 10.20.0.0\/99 is not an address with/,
  ],
  ["a drain range with host bits", { drainAllow: ["10.0.0.5/8"] }, /--drain-allow 10.0.0.0\/8$/],
  [
    "the API's port for the router",
    { httpPort: 7777 },
    /^the API \(control\) and the router \(HTTP\) want the same port, 7777 -> .*--http-port 8080/,
  ],
  [
    "the registry's",
    { httpsPort: 5000 },
    /^the registry and the router \(HTTPS\) want the same port, 5000.*--https-port 8443/,
  ],
  ["git's", { httpPort: 7722 }, /git over SSH \(sshd\)/],
  ["the boot server's", { ...LAN, httpPort: 7780 }, /the boot server \(HTTP\)/],
  ["the agent's", { httpPort: 7779 }, /hostd/],
  ["its own", { httpPort: 443 }, /the router \(HTTP\) and the router \(HTTPS\)/],
];
for (const [what, flags, said] of REFUSED)
  test(`refused: ${what}`, () => {
    const found = problems(flags);
    assert.is(found.length, 1, found.join("\n"));
    assert.match(found[0]!, said);
  });

const TAKEN: [what: string, flags: Record<string, unknown>][] = [
  ["nothing said", {}],
  ["an interface", LAN],
  ["a range of free addresses", { ...FULL, dhcpRange: "10.91.0.2-10.91.0.254" }],
  [
    "all that machines are told",
    {
      ...{ ...GIVES, dhcpRouter: "10.91.0.254", dhcpDns: ["9.9.9.9", "10.91.0.1"], dhcpNtp: ["10.91.0.1"] },
      ...{ dhcpDomain: "lab.example.com", dhcpLease: "12h", dhcpReserve: ["52-54-00-AB-CD-EF=10.91.0.150"] },
    },
  ],
  ["a relay", { ...LAN, dhcpRelay: ["10.8.0.1/24"] }],
  ["an address of the interface", { ...LAN, address: "10.91.0.1" }],
  [
    "networks, IPv6 too, and one address",
    { bootNetworks: ["10.20.0.0/24", "203.0.113.7/32", "fd00::/8"], drainAllow: ["10.0.0.7"] },
  ],
  ["ports of parts that do not run", { host: false, ssh: false, httpPort: 7779, httpsPort: 7722 }],
  ["no HTTPS, twice nothing", { httpsPort: 0 }],
];
for (const [what, flags] of TAKEN) test(`taken: ${what}`, () => assert.equal(problems(flags), []));

test("what a message proposes is taken", () => {
  for (const own of ["10.91.0.1/24", "10.91.0.200/24", "10.0.0.1/8", "10.0.0.2/30", "10.255.0.1/9"]) {
    const links = [link("eth0", own)];
    const range = / --dhcp-range (\S+)$/.exec(problems(FULL, links)[0]!)![1];
    assert.equal(problems({ ...FULL, dhcpRange: range }, links), [], `${own}: ${range}`);
  }
});

test("bridges of ours are in the cluster's range, as they should be", () => {
  assert.equal(problems({}, [...LINKS, link("flynn0", "100.64.1.1/24")]), []);
  assert.is(problems({}, [...LINKS, link("tailscale0", "100.64.1.1/32")]).length, 1);
});

test("an address that only a NAT has is gone on with, and said", () => {
  const warned = (flags: Record<string, unknown>) => {
    const config = configOf(flags);
    assert.equal(problems(flags), []);
    return settingsWarnings(config, { links: LINKS, address: config.address });
  };
  assert.match(
    warned({ address: "1.2.3.4" })[0]!,
    /^no interface of this machine has --address 1.2.3.4.*NAT.*10.91.0.1/,
  );
  for (const flags of [{}, { address: "10.91.0.1" }, { address: "127.0.0.1" }, LAN]) assert.equal(warned(flags), []);
});

test.run();
