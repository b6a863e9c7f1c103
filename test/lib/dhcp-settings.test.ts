// What machines may be told beside their address: every rule also holds for settings nobody thought of.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { cardOf, type DhcpSettings, wrongSettings } from "#lib/dhcp-settings.ts";
import { broadcastOf, contains, isAddress, toAddress, toNumber } from "#lib/ipv4.ts";

const network = { address: "10.20.0.0", prefix: 28 };
const own = "10.20.0.1";
const right: DhcpSettings = { network, own, router: "", dns: [], ntp: [], leaseTime: "1h", reservations: [] };

const address = fc.oneof(
  fc.integer({ min: toNumber("10.19.255.254"), max: toNumber("10.20.0.17") }).map(toAddress),
  fc.integer({ min: 0, max: 0xffffffff }).map(toAddress),
  fc.string({ maxLength: 12 }),
);
const card = fc.oneof(
  fc.constantFrom("52:54:00:00:00:01", "52:54:00:00:00:02", "01:00:5e:00:00:01", "00:00:00:00:00:00"),
  fc.string({ maxLength: 17 }),
);

test("property: what is not refused holds each machine's own address of this network, and servers that can be reached", () => {
  fc.assert(
    fc.property(
      fc.record({
        router: fc.oneof(fc.constant(""), address),
        dns: fc.array(address, { maxLength: 5 }),
        ntp: fc.array(address, { maxLength: 5 }),
        leaseTime: fc.oneof(fc.constantFrom("1h", "59s", "1m", "365d", "366d", "x"), fc.string({ maxLength: 6 })),
        reservations: fc.array(fc.tuple(card, address), { maxLength: 4 }),
      }),
      (given) => {
        const settings = { ...right, ...given };
        if (wrongSettings(settings).length > 0) return;
        const { router, dns, ntp, reservations } = settings;
        const usable = (one: string) => isAddress(one) && one !== network.address && one !== broadcastOf(network);
        assert.ok(router === "" || (usable(router) && contains(network, router)));
        for (const one of [...dns, ...ntp]) assert.ok(usable(one) && (router !== "" || contains(network, one)));
        const addresses = reservations.map(([, one]) => one);
        assert.is(
          new Set([own, ...(router === "" || router === own ? [] : [router]), ...addresses]).size,
          addresses.length + 1 + (router === "" || router === own ? 0 : 1),
        );
        assert.is(new Set(reservations.map(([mac]) => mac)).size, reservations.length);
        for (const [mac, one] of reservations) assert.ok(cardOf(mac) === mac && contains(network, one) && usable(one));
      },
    ),
    { numRuns: 2_000 },
  );
});

test("an address with zeros before its numbers is none: it would pass for another than the one it is", () => {
  const card = "52:54:00:00:00:01";
  for (const given of [
    { router: "10.20.0.02" },
    { dns: ["010.20.0.3"], router: "10.20.0.2" },
    { ntp: ["10.20.00.3"] },
    { reservations: [[card, "10.20.0.01"]] as const },
    {
      reservations: [
        [card, "10.20.0.5"],
        ["52:54:00:00:00:02", "10.20.0.05"],
      ] as const,
    },
  ])
    assert.equal(
      wrongSettings({ ...right, ...given }).map(({ why }) => why),
      ["is not an IPv4 address, such as 10.20.0.1"],
      JSON.stringify(given),
    );
});

test("this machine may be the gateway, the name server and the time server", () => {
  assert.equal(wrongSettings({ ...right, router: own, dns: [own], ntp: [own] }), []);
});

test("a lease is a minute at least and a year at most", () => {
  const of = (leaseTime: string) => wrongSettings({ ...right, leaseTime }).length;
  assert.equal(["59s", "1m", "365d", "8761h"].map(of), [1, 0, 0, 1]);
});

test("a card is written as people write it, and is one machine's", () => {
  assert.equal(["52-54-00-AB-CD-EF", "01:00:5e:00:00:01", "00:00:00:00:00:00", "52:54:00"].map(cardOf), [
    "52:54:00:ab:cd:ef",
    undefined,
    undefined,
    undefined,
  ]);
});

test.run();
