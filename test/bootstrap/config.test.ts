import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { isFault } from "#api/fault.ts";
import { contains, isAddress, parseNetwork, toAddress, toNumber } from "#lib/ipv4.ts";
import { BootConfigSchema, readConfig } from "../../bootstrap/config.ts";
import { parseArpTable } from "../../bootstrap/identity/neighbours.ts";
import { parseInterfaces } from "../../bootstrap/interfaces.ts";
import { listenFault } from "../../bootstrap/listen-fault.ts";

const eth1 = { name: "eth1", mac: "02:00:00:00:00:01", cidrs: ["10.77.0.1/24"] };
const required = {
  interface: "eth1",
  controlUrls: ["https://10.77.0.1:7777"],
  caFile: "ca",
  stateDir: "s",
  imagesDir: "i",
  imageKeyFile: "k",
};
/** Reservations of as many machines. */
const fixed = (...addresses: string[]) =>
  Object.fromEntries(addresses.map((address, n) => [`02:00:00:00:00:${10 + n}`, address]));
const read = (flags: Record<string, unknown> = {}) => readConfig({ flags: { ...required, ...flags }, env: {} }, [eth1]);

test("what is not said follows from the interface", () => {
  const config = read();
  assert.is(config.mode, "proxy", "a DHCP server must never surprise a LAN");
  assert.is(config.address, "10.77.0.1");
  assert.equal(config.network, { address: "10.77.0.0", prefix: 24 });
  assert.equal(config.range, { first: "10.77.0.128", last: "10.77.0.254" });
  assert.ok(config.ownMacs.has("02:00:00:00:00:01"));
});

test("a wrong configuration is refused in words, before any socket opens", () => {
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ interface: "eth9" }, /no eth9; it has eth1/],
    [{ address: "10.0.0.1" }, /eth1 has no IPv4 address 10.0.0.1/],
    [{ range: "10.78.0.1-10.78.0.9" }, /range/],
    [{ relays: ["10.88.0.1"] }, /relays: 10.88.0.1 is not .* such as 10.88.0.1\/24/],
    [{ relays: ["10.88.0.1/24@here"] }, /names no address after its @/],
    [{ relays: ["10.77.0.9/24"] }, /our own network/],
    [{ relays: ["10.0.0.1/8"] }, /our own network/],
    [{ refused: ["10.88.0.1"] }, /such as 172.18.0.0\/16/],
    [{ range: "10.77.0.9-10.77.0.1" }, /range/],
    [{ range: "10.77.0.9" }, /range/],
    [{ range: "10.77.0.1-10.77.0.9" }, /range: .* holds 10.77.0.1, this machine's own address/],
    [{ router: "gateway" }, /gateway is not an IPv4 address/],
    [{ leaseTime: "soon" }, /leaseTime/],
    [{ mode: "both" }, /mode/],
    [{ httpPort: 99_999 }, /httpPort/],
    [{ reservations: { "aa-bb": "10.77.0.5" } }, /.*/],
    [
      { reservations: fixed("10.77.0.5", "10.77.0.5") },
      /10.77.0.5 of 02:00:00:00:00:11 is the address of 02:00:00:00:00:10/,
    ],
    [{ reservations: fixed("10.77.0.1") }, /is the address of this machine, the DHCP server already/],
    [{ router: "10.77.0.254", reservations: fixed("10.77.0.254") }, /is the address of the router already/],
    [{ router: "10.78.0.1" }, /router: 10.78.0.1 is not in 10.77.0.0\/24: machines there could not reach it/],
    [{ dns: ["10.77.0.255"] }, /dns: 10.77.0.255 is the broadcast address/],
    [{ ntp: ["224.0.1.1"] }, /ntp: 224.0.1.1 is no address of a server/],
    [{ domain: "-lab" }, /domain/],
    [{ reservations: { "02:00:00:00:00:01": "10.77.0.9" } }, /is for a card of this machine/],
    [{ reservations: fixed("10.77.0.255") }, /broadcast/],
    [{ reservations: fixed("10.77.0.0") }, /is the address of the network/],
    [{ reservations: fixed("10.78.0.5") }, /is not in 10.77.0.0\/24/],
    [{ typo: 1 }, /typo/],
  ];
  for (const [flags, message] of wrong) assert.throws(() => read(flags), message, JSON.stringify(flags));
});

test("the example file names every field, and what it comments out are the defaults", () => {
  const text = readFileSync(fileURLToPath(new URL("../../bootstrap/example.yaml", import.meta.url)), "utf8");
  const commented = parse(text.replace(/^#(?=[a-z])/gim, "").replace(/^# .*\n/, "")) as Record<string, unknown>;
  const given = parse(text) as Record<string, unknown>;
  assert.equal(Object.keys(commented), Object.keys(BootConfigSchema.properties));
  for (const [name, field] of Object.entries(BootConfigSchema.properties) as [string, { default?: unknown }][]) {
    if (name in given) assert.is(field.default, undefined, `${name} has no default`);
    else assert.equal(commented[name], field.default, name);
  }
});

test("addresses", () => {
  for (const bad of ["", "1.2.3", "1.2.3.256", "1.2.3.4.5", "01.2.3.4.", "a.b.c.d", " 1.2.3.4"])
    assert.not.ok(isAddress(bad), bad);
  assert.is(toAddress(toNumber("255.10.0.7")), "255.10.0.7");
  assert.is(parseNetwork("10.0.0.1/33"), undefined);
  assert.ok(contains({ address: "10.77.0.0", prefix: 22 }, "10.77.3.255"));
  assert.not.ok(contains({ address: "10.77.0.0", prefix: 22 }, "10.77.4.0"));
});

test("a server that cannot listen says on which port, and who has it or what is wrong", async () => {
  const tcp = createServer().listen(0, "127.0.0.1");
  await once(tcp, "listening");
  const { port } = tcp.address() as { port: number };
  const of = (code: string) =>
    listenFault("tcp", "127.0.0.1", port, "boot plane", Object.assign(new Error(), { code }));
  const taken = await of("EADDRINUSE");
  assert.ok(isFault(taken, "conflict"));
  assert.match(taken.message, `boot plane cannot listen on tcp 127.0.0.1:${port}: `);
  assert.match(taken.message, `(pid ${process.pid})`);
  assert.match((await of("EACCES")).message, "need root");
  assert.match((await of("EADDRNOTAVAIL")).message, "does not have the address");
  tcp.close();
  await once(tcp, "close");
});

test("an interface without a carrier, or without an address, is there", () => {
  const json = JSON.stringify([
    {
      ifname: "br0",
      flags: ["NO-CARRIER", "UP"],
      address: "02:00:00:00:00:02",
      addr_info: [
        { family: "inet", local: "10.77.0.1", prefixlen: 24 },
        { family: "inet6", local: "fe80::1", prefixlen: 64 },
      ],
    },
    { ifname: "eth9", address: "02:00:00:00:00:03" },
    {},
  ]);
  assert.equal(parseInterfaces(json), [
    { name: "br0", mac: "02:00:00:00:00:02", cidrs: ["10.77.0.1/24"] },
    { name: "eth9", mac: "02:00:00:00:00:03", cidrs: [] },
  ]);
});

test("only complete neighbours of our own interface are known", () => {
  const table = parseArpTable(
    `IP address       HW type     Flags       HW address            Mask     Device
10.77.0.50       0x1         0x2         52:54:00:AA:BB:CC     *        br0
10.77.0.51       0x1         0x0         00:00:00:00:00:00     *        br0
192.0.2.9        0x1         0x2         52:54:00:00:00:09     *        eth0\n`,
    "br0",
  );
  assert.equal([...table], [["10.77.0.50", "52:54:00:aa:bb:cc"]]);
});

test.run();
