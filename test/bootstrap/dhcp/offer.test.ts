import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { classify } from "../../../bootstrap/dhcp/classify.ts";
import type { OfferConfig, OfferInput } from "../../../bootstrap/dhcp/exchange.ts";
import { createLeases, type Leases } from "../../../bootstrap/dhcp/leases.ts";
import { type Decision, offer } from "../../../bootstrap/dhcp/offer.ts";
import * as option from "../../../bootstrap/dhcp/options.ts";
import { MESSAGE, OPTION } from "../../../bootstrap/dhcp/options.ts";
import { encodePacket, type Packet, parsePacket } from "../../../bootstrap/dhcp/packet.ts";
import { bios, bytes, ipxe, MAC, os, request, uefi, uefiHttp } from "./packets.ts";

const SERVER = "10.77.0.1";
const FULL: OfferConfig = {
  mode: "full",
  address: SERVER,
  network: { address: "10.77.0.0", prefix: 24 },
  httpPort: 7780,
  loaders: ["ipxe", "shim"],
  served: new Set(["undionly.kpxe", "snponly.efi", "shimx64.efi"]),
  router: undefined,
  dns: ["10.77.0.1"],
  ntp: [],
  domain: "lab.internal",
  leaseMs: 3_600_000,
  quarantineMs: 600_000,
};
const PROXY: OfferConfig = { ...FULL, mode: "proxy" };
const SCRIPT = `http://10.77.0.1:7780/boot.ipxe?mac=${MAC}&uuid=\${uuid}`;

const freshLeases = () => createLeases({ first: "10.77.0.50", last: "10.77.0.60" });

function decide(packet: Packet, config = FULL, more: Partial<OfferInput> = {}): Decision {
  const client = classify(packet);
  if (client === undefined) throw new Error("not a client");
  const source = { address: "10.77.0.50", port: 68 };
  return offer({
    packet,
    client,
    port: 67,
    source,
    machine: { mayBoot: true },
    leases: freshLeases(),
    rung: 0,
    config,
    nowMs: 0,
    ...more,
  });
}

/** Plays a client through leases: decides, applies, returns the decision. */
function play(leases: Leases, packet: Packet, nowMs = 0, config = FULL): Decision {
  const decision = decide(packet, config, { leases, nowMs });
  if (decision.forgetOffer) leases.forgetOffer(MAC);
  if (decision.lease) leases.apply(decision.lease);
  return decision;
}

const text = (packet: Packet | undefined, code: number) => packet && option.text(packet.options, code);
const has = (packet: Packet, code: number) => packet.options.has(code);
const vendor = (packet: Packet) => packet.options.get(OPTION.vendor)?.toString("hex");

// The measured truth table of firmware (OVMF 2022.11, Debian iPXE): which reply each of these boots from.
const table: {
  title: string;
  packet: Packet;
  config: OfferConfig;
  rung?: 0 | 1 | 2;
  expect: { class?: string; vendor?: string; file?: string; count?: number }[];
}[] = [
  {
    title: "proxy, BIOS: direct offer and a second one for port 4011",
    packet: bios(),
    config: PROXY,
    expect: [
      { class: "PXEClient", vendor: "060108ff", file: "undionly.kpxe" },
      { class: "PXEClient", file: "undionly.kpxe" },
    ],
  },
  {
    title: "proxy, UEFI x64: the same two with snponly.efi",
    packet: uefi(),
    config: PROXY,
    expect: [
      { class: "PXEClient", vendor: "060108ff", file: "snponly.efi" },
      { class: "PXEClient", file: "snponly.efi" },
    ],
  },
  {
    title: "proxy, second rung: only the direct one",
    packet: uefi(),
    config: PROXY,
    rung: 1,
    expect: [{ class: "PXEClient", vendor: "060108ff", file: "snponly.efi" }],
  },
  {
    title: "proxy, third rung: only the one without 43 (firmware before 2017)",
    packet: uefi(),
    config: PROXY,
    rung: 2,
    expect: [{ class: "PXEClient", file: "snponly.efi" }],
  },
  {
    title: "proxy, UEFI HTTP: 60 is HTTPClient, 67 a URL, no 43",
    packet: uefiHttp(),
    config: PROXY,
    expect: [{ class: "HTTPClient", file: "http://10.77.0.1:7780/ipxe/snponly.efi" }],
  },
  {
    title: "proxy, iPXE: the script's URL",
    packet: ipxe(),
    config: PROXY,
    expect: [{ class: "PXEClient", vendor: "060108ff", file: SCRIPT }],
  },
  {
    title: "full, BIOS: 60 with 43.6 = 8",
    packet: bios(),
    config: FULL,
    expect: [{ class: "PXEClient", vendor: "060108ff", file: "undionly.kpxe" }],
  },
  {
    title: "full, UEFI x64: 60 with 43.6 = 8",
    packet: uefi(),
    config: FULL,
    expect: [{ class: "PXEClient", vendor: "060108ff", file: "snponly.efi" }],
  },
  {
    title: "full, second rung: a bare boot file, no 60, no 43",
    packet: uefi(),
    config: FULL,
    rung: 1,
    expect: [{ file: "snponly.efi" }],
  },
  {
    title: "full, UEFI HTTP: HTTPClient and a URL",
    packet: uefiHttp(),
    config: FULL,
    expect: [{ class: "HTTPClient", file: "http://10.77.0.1:7780/ipxe/snponly.efi" }],
  },
  {
    title: "full, iPXE: the script's URL",
    packet: ipxe(),
    config: FULL,
    expect: [{ class: "PXEClient", vendor: "060108ff", file: SCRIPT }],
  },
  { title: "full, an operating system: an address and no boot file", packet: os(), config: FULL, expect: [{}] },
  {
    title: "full, an architecture without a file: an address and no boot file",
    packet: uefi({ archs: [11] }),
    config: FULL,
    expect: [{}],
  },
];

for (const { title, packet, config, rung, expect } of table) {
  test(`DISCOVER, ${title}`, () => {
    const { replies, step } = decide(packet, config, { rung: rung ?? 0 });
    assert.is(step, "offer");
    assert.is(replies.length, expect.length);
    for (const [i, want] of expect.entries()) {
      const { packet: sent, to, from } = replies[i]!;
      assert.is(option.messageType(sent.options), MESSAGE.offer);
      assert.is(option.address(sent.options, OPTION.serverId), SERVER, "EDK2 drops an offer without option 54");
      assert.equal(to, { address: "255.255.255.255", port: 68 }, "EDK2 ignores a subnet broadcast");
      assert.is(from, 67);
      assert.is(sent.xid, packet.xid);
      assert.is(text(sent, OPTION.vendorClass), want.class);
      assert.is(vendor(sent), want.vendor);
      assert.is(sent.yiaddr !== "0.0.0.0", config.mode === "full");
      assert.is(has(sent, OPTION.leaseSeconds), config.mode === "full");
      if (want.file === undefined) {
        assert.not.ok(has(sent, OPTION.bootfile));
        continue;
      }
      assert.ok(text(sent, OPTION.bootfile)?.startsWith(want.file), text(sent, OPTION.bootfile));
      if (want.file.length < 100 && !want.file.includes("$"))
        assert.is(sent.file, want.file, "U-Boot reads only the header");
      assert.is(sent.siaddr, SERVER);
      assert.equal(sent.options.get(OPTION.clientGuid), packet.options.get(OPTION.clientGuid));
    }
  });
}

test("never 60 without 43.6 = 8 in an answer that gives an address: the client would hang on port 4011 (edk2#8149)", () => {
  for (const packet of [bios(), uefi(), ipxe()]) {
    for (const rung of [0, 1, 2] as const) {
      const sent = decide(packet, FULL, { rung }).replies[0]!.packet;
      assert.is(has(sent, OPTION.vendorClass), vendor(sent) === "060108ff");
    }
  }
});

test("iPXE is told not to wait for proxies by the server that gives the address, and only by it", () => {
  assert.equal([...decide(ipxe(), FULL).replies[0]!.packet.options.get(OPTION.ipxe)!], [0xb0, 1, 1]);
  assert.not.ok(has(decide(ipxe(), PROXY).replies[0]!.packet, OPTION.ipxe));
});

test("undionly.kpxe, which reads its ROM's answer, finds there how to begin without IPv6; UEFI firmware is told nothing of it", () => {
  const words = "ifconf --configurator dhcp net0 && chain --autofree tftp://10.77.0.1/autoexec.ipxe || autoboot";
  for (const [config, answers] of [
    [FULL, 1],
    [PROXY, 2],
  ] as const) {
    const { replies } = decide(bios(), config);
    assert.is(replies.length, answers);
    for (const { packet } of replies) {
      const told = packet.options.get(OPTION.ipxe)!;
      assert.equal([told[0], told[1], told.toString("latin1", 2)], [81, words.length, words]);
    }
    assert.not.ok(has(decide(uefi(), config).replies[0]!.packet, OPTION.ipxe));
  }
});

test("where the answer would be too large for the ROM, how iPXE begins is left out before anything else", () => {
  const packet = bios({ extra: [[OPTION.maxSize, Buffer.from([2, 64])]] });
  const { options } = decide(packet, { ...FULL, domain: "d".repeat(150) }).replies[0]!.packet;
  assert.equal([options.has(OPTION.ipxe), options.has(OPTION.domain)], [false, true]);
});

test("the script's URL goes whole into option 67 and not truncated into the header, which iPXE would prefer", () => {
  const sent = decide(ipxe(), FULL).replies[0]!.packet;
  assert.ok(sent.options.get(OPTION.bootfile)!.length <= 255);
  assert.is(sent.file, "");
});

test("proxy mode is silent to operating systems, to requests, and to architectures without a file", () => {
  assert.equal(decide(os(), PROXY).replies, []);
  assert.equal(decide(bios({ type: MESSAGE.request, wish: "10.77.0.50" }), PROXY).replies, []);
  assert.equal(decide(uefi({ archs: [11] }), PROXY).replies, []);
});

test("a machine that may not boot has an address and no boot file", () => {
  const sent = decide(bios(), FULL, { machine: { mayBoot: false } }).replies[0]!.packet;
  assert.not.ok(has(sent, OPTION.bootfile));
  assert.is(sent.file, "");
  assert.equal(decide(bios(), PROXY, { machine: { mayBoot: false } }).replies, []);
});

test("4011: the answer is unicast from 4011 to where the request came from", () => {
  for (const port of [68, 4011]) {
    const source = { address: "10.77.0.99", port };
    const packet = uefi({ type: MESSAGE.request, ciaddr: "10.77.0.99" });
    const { replies, step } = decide(packet, PROXY, { port: 4011, source });
    assert.is(step, "boot-file");
    assert.is(replies[0]!.from, 4011);
    assert.equal(replies[0]!.to, source);
    assert.is(option.messageType(replies[0]!.packet.options), MESSAGE.ack);
    assert.is(replies[0]!.packet.file, "snponly.efi");
    assert.is(replies[0]!.packet.flags, 0);
  }
});

test("RFC 2131 4.1: a relayed request is answered to the relay, option 82 echoed", () => {
  const relay = Buffer.from([1, 4, 0, 0, 0, 7]);
  const { replies } = decide(bios({ giaddr: "10.77.0.2", extra: [[82, relay]] }));
  assert.equal(replies[0]!.to, { address: "10.77.0.2", port: 67 });
  assert.is(replies[0]!.packet.giaddr, "10.77.0.2");
  assert.equal(replies[0]!.packet.options.get(82), relay);
});

test("a relay of a network we have no addresses for gets none", () => {
  assert.equal(decide(bios({ giaddr: "10.88.0.2" })).replies, []);
});

test("what gets no answer is silence for a reason that an operator can read", () => {
  const relay = (bytes: number): [number, Buffer] => [82, Buffer.alloc(bytes, 1)];
  const typeless = bios();
  typeless.options.delete(OPTION.messageType);
  const boot = { port: 4011 as const };
  const refused = { machine: { mayBoot: false } };
  const ROWS: [packet: Packet, config: OfferConfig, more: Partial<OfferInput>, reason: string][] = [
    [{ ...bios(), op: 2 }, FULL, {}, "not a request"],
    [typeless, FULL, {}, "no message type"],
    [bios({ giaddr: "10.77.0.2", extra: [relay(256)] }), FULL, {}, "relay information too long"],
    [bios({ giaddr: "10.88.0.2" }), FULL, {}, "relay 10.88.0.2 is of a network we have no addresses for"],
    [bios({ type: MESSAGE.offer }), FULL, {}, "a server's message"],
    [bios({ type: MESSAGE.ack }), FULL, {}, "a server's message"],
    [bios({ type: MESSAGE.request }), PROXY, {}, "the LAN's DHCP server answers this"],
    [bios({ type: MESSAGE.inform }), PROXY, {}, "the LAN's DHCP server answers this"],
    [os(), PROXY, {}, "not a network boot client"],
    [bios(), PROXY, refused, "the machine was refused"],
    [uefi({ archs: [11] }), PROXY, {}, "firmware is arm64 UEFI"],
    [uefi({ archs: [0x99, 0x98] }), PROXY, {}, "firmware is of an unknown kind, architecture 153, 152"],
    [bios({ type: MESSAGE.release }), PROXY, boot, "not a boot server request"],
    [bios({ type: MESSAGE.decline }), PROXY, boot, "not a boot server request"],
    [os({ type: MESSAGE.inform }), PROXY, boot, "not a network boot client"],
    [os({ type: MESSAGE.inform }), FULL, {}, "inform without an address"],
    [os({ type: MESSAGE.release, ciaddr: "10.77.0.55" }), FULL, {}, "released at another server"],
    [os({ type: MESSAGE.release, ciaddr: "10.77.0.55", server: SERVER }), FULL, {}, "released what it does not hold"],
    [os({ type: MESSAGE.decline, wish: "10.77.0.55" }), FULL, {}, "declined at another server"],
    [os({ type: MESSAGE.decline, server: SERVER }), FULL, {}, "declined what it was not given"],
    [os({ type: MESSAGE.request }), FULL, {}, "a request for no address"],
  ];
  for (const [packet, config, more, reason] of ROWS) {
    const { step, replies, reason: given } = decide(packet, config, more);
    assert.equal([step, replies.length, given], ["ignored", 0, reason]);
  }
  for (const type of [MESSAGE.request, MESSAGE.inform, MESSAGE.discover])
    assert.is(decide(bios({ type }), PROXY, boot).step, "boot-file");
  assert.is(decide(bios({ giaddr: "10.77.0.2", extra: [relay(255)] })).step, "offer", "as long as it may be");
});

test("whether there is nothing to boot for a machine is told apart from a machine that is to boot nothing", () => {
  const arm = uefi({ archs: [11] });
  const no = (packet: Packet, config: OfferConfig, more: Partial<OfferInput> = {}) => {
    const { noBootFile, reason } = decide(packet, config, more);
    return [noBootFile, reason];
  };
  assert.equal(no(arm, PROXY), [true, "firmware is arm64 UEFI"]);
  assert.equal(no(arm, PROXY, { machine: { mayBoot: false } }), [false, "the machine was refused"]);
  assert.equal(no(arm, PROXY, { port: 4011 }), [true, "firmware is arm64 UEFI"]);
  assert.equal(no(arm, FULL), [true, "firmware is arm64 UEFI"]);
  assert.equal(no(os(), FULL), [undefined, undefined], "an operating system asks for an address and nothing else");
  assert.equal(no(bios(), FULL), [undefined, undefined]);
});

test("an offer is held for thirty seconds; one to a machine whose lease stands changes nothing of it", () => {
  const leases = freshLeases();
  assert.is(play(leases, bios(), 1_000).lease?.expiresAtMs, 31_000);
  assert.is(play(leases, bios(), 5_000).lease?.expiresAtMs, 35_000, "offered again, held again");
  const held = bound();
  assert.is(decide(bios(), FULL, { leases: held, nowMs: FULL.leaseMs - 1 }).lease, undefined);
  assert.is(decide(bios(), FULL, { leases: held, nowMs: FULL.leaseMs }).lease?.state, "offered", "it has ended");
  held.apply({ mac: MAC, address: "10.77.0.55", state: "released", expiresAtMs: 9_000_000 });
  assert.is(decide(bios(), FULL, { leases: held, nowMs: 10 }).lease?.state, "offered", "it was given back");
});

test("what a client did is told with what was done: refusals, releases, declines and their times", () => {
  const said = ({ step, reason, lease }: Decision) => [step, reason, lease?.state, lease?.expiresAtMs];
  const as = (packet: Packet) => said(decide(packet, FULL, { leases: bound(), nowMs: 500 }));
  const ask = (over: object) => os({ type: MESSAGE.request, ...over });
  assert.equal(as(ask({ wish: "10.77.0.56", server: SERVER })), [
    "nak",
    "not the offered address",
    undefined,
    undefined,
  ]);
  assert.equal(as(ask({ ciaddr: "10.77.0.56" })), ["nak", "bound to another address", undefined, undefined]);
  assert.equal(as(ask({ ciaddr: "10.88.0.1" })), ["nak", "wrong network", undefined, undefined]);
  assert.equal(as(ask({ wish: "10.77.0.55" })), ["ack", undefined, "bound", 500 + FULL.leaseMs]);
  assert.equal(as(os({ type: MESSAGE.release, ciaddr: "10.77.0.55", server: SERVER })), [
    "release",
    undefined,
    "released",
    500,
  ]);
  assert.equal(as(os({ type: MESSAGE.decline, wish: "10.77.0.55", server: SERVER })), [
    "decline",
    "10.77.0.55 is in use by somebody else",
    "declined",
    500 + FULL.quarantineMs,
  ]);
  const none = (packet: Packet) => said(decide(packet, FULL, { leases: freshLeases(), nowMs: 500 }));
  assert.equal(none(ask({ wish: "10.77.0.56", server: SERVER })), ["nak", "no such offer", undefined, undefined]);
  assert.equal(none(ask({ wish: "10.77.0.56" })), ["ignored", "a lease we do not know", undefined, undefined]);
  const other = createLeases({ first: "10.77.0.50", last: "10.77.0.60", reservations: new Map([["x", "10.77.0.55"]]) });
  const reserved = () => said(decide(ask({ ciaddr: "10.77.0.55" }), FULL, { leases: other, nowMs: 500 }));
  assert.equal(reserved(), ["nak", "reserved for another machine", undefined, undefined]);
  other.apply({ mac: MAC, address: "10.77.0.55", state: "bound", expiresAtMs: 9_000 });
  assert.equal(reserved(), ["nak", "reserved for another machine", "released", 500]);
});

test("DISCOVER, REQUEST, ACK: the offered address is held, bound and lent for the lease time (RFC 2131 3.1)", () => {
  const leases = freshLeases();
  const offered = play(leases, bios());
  assert.is(offered.lease?.state, "offered");
  const address = offered.replies[0]!.packet.yiaddr;
  const ack = play(leases, bios({ type: MESSAGE.request, wish: address, server: SERVER }));
  assert.is(ack.step, "ack");
  assert.is(ack.lease?.state, "bound");
  assert.is(ack.lease?.expiresAtMs, FULL.leaseMs);
  assert.is(ack.replies[0]!.packet.yiaddr, address);
  assert.equal(ack.replies[0]!.packet.options.get(OPTION.leaseSeconds), option.uint32(3600));
  assert.equal(ack.replies[0]!.packet.options.get(OPTION.renewSeconds), option.uint32(1800));
  assert.equal(ack.replies[0]!.packet.options.get(OPTION.rebindSeconds), option.uint32(3150));
});

test("firmware, iPXE and the system of one machine get one address, whatever client id they send", () => {
  const leases = freshLeases();
  const ids = [
    bios({ extra: [[61, Buffer.from([1, 1])]] }),
    ipxe({ extra: [[61, Buffer.from([2, 2])]] }),
    os({ extra: [[61, Buffer.from([255, 3])]] }),
  ];
  const addresses = ids.map((packet) => play(leases, packet).replies[0]!.packet.yiaddr);
  assert.is(new Set(addresses).size, 1);
});

function bound(address = "10.77.0.55", nowMs = 0): Leases {
  const leases = freshLeases();
  leases.apply({ mac: MAC, address, state: "bound", expiresAtMs: nowMs + FULL.leaseMs });
  return leases;
}
const OTHER = "10.77.0.9";
// RFC 2131 4.3.2: the four kinds of REQUEST.
const requests: [string, Leases, Packet, Decision["step"]][] = [
  [
    "SELECTING us with the offered address: ACK",
    bound(),
    bios({ type: MESSAGE.request, wish: "10.77.0.55", server: SERVER }),
    "ack",
  ],
  [
    "SELECTING us with another address: NAK",
    bound(),
    bios({ type: MESSAGE.request, wish: "10.77.0.56", server: SERVER }),
    "nak",
  ],
  [
    "SELECTING us without an offer of ours: NAK",
    freshLeases(),
    bios({ type: MESSAGE.request, wish: "10.77.0.56", server: SERVER }),
    "nak",
  ],
  [
    "SELECTING another server: silence",
    bound(),
    bios({ type: MESSAGE.request, wish: "10.77.0.55", server: OTHER }),
    "ignored",
  ],
  ["INIT-REBOOT with its address: ACK", bound(), os({ type: MESSAGE.request, wish: "10.77.0.55" }), "ack"],
  ["INIT-REBOOT with another address: NAK", bound(), os({ type: MESSAGE.request, wish: "10.77.0.56" }), "nak"],
  ["INIT-REBOOT from another network: NAK", freshLeases(), os({ type: MESSAGE.request, wish: "192.168.1.5" }), "nak"],
  [
    "INIT-REBOOT with a lease we do not know: silence",
    freshLeases(),
    os({ type: MESSAGE.request, wish: "10.77.0.56" }),
    "ignored",
  ],
  ["RENEWING its address: ACK", bound(), os({ type: MESSAGE.request, ciaddr: "10.77.0.55" }), "ack"],
  ["RENEWING another address: NAK", bound(), os({ type: MESSAGE.request, ciaddr: "10.77.0.56" }), "nak"],
  [
    "REBINDING a lease we do not know: silence",
    freshLeases(),
    os({ type: MESSAGE.request, ciaddr: "10.77.0.56" }),
    "ignored",
  ],
  ["a REQUEST for no address: silence", bound(), os({ type: MESSAGE.request }), "ignored"],
];
for (const [title, leases, packet, step] of requests) {
  test(`RFC 2131 4.3.2, ${title}`, () => {
    const decision = decide(packet, FULL, { leases });
    assert.is(decision.step, step);
    const types = decision.replies.map((reply) => option.messageType(reply.packet.options));
    assert.equal(types, step === "ack" ? [MESSAGE.ack] : step === "nak" ? [MESSAGE.nak] : []);
  });
}

test("after the network changed, a renewal of an address of the old one gets a NAK", () => {
  const leases = bound("192.168.9.5");
  assert.is(decide(os({ type: MESSAGE.request, ciaddr: "192.168.9.5" }), FULL, { leases }).step, "nak");
});

test("a renewal of what is reserved for another machine gets a NAK, and that machine its address", () => {
  const other = "52:54:00:00:00:99";
  const reservations = new Map([[other, "10.77.0.55"]]);
  const leases = createLeases({ first: "10.77.0.50", last: "10.77.0.60", reservations });
  leases.apply({ mac: MAC, address: "10.77.0.55", state: "bound", expiresAtMs: 3_600_000 });
  assert.is(play(leases, os({ type: MESSAGE.request, ciaddr: "10.77.0.55" })).step, "nak");
  assert.is(play(leases, bios({ mac: other })).replies[0]!.packet.yiaddr, "10.77.0.55");
});

const RANGE = { first: "10.77.0.50", last: "10.77.0.60" };
const holder = (address: string, options: Omit<Parameters<typeof createLeases>[0], "first" | "last"> = {}): Leases => {
  const leases = createLeases({ ...RANGE, ...options });
  leases.apply({ mac: MAC, address, state: "bound", expiresAtMs: 3_600_000 });
  return leases;
};
// What a configuration that changed since the lease says of the lease: RFC 2131 4.3.2, the address "is incorrect", so a NAK.
const CHANGED: [what: string, leases: Leases, address: string, reason: string][] = [
  ["is outside of the range now", holder("10.77.0.90"), "10.77.0.90", "not an address we give out"],
  [
    "is the router's now",
    holder("10.77.0.55", { exclude: ["10.77.0.55"] }),
    "10.77.0.55",
    "the address of the server or the router",
  ],
  [
    "is not the one that is reserved for the machine now",
    holder("10.77.0.55", { reservations: new Map([[MAC, "10.77.0.90"]]) }),
    "10.77.0.55",
    "another address is reserved for it",
  ],
];
for (const [what, leases, address, reason] of CHANGED)
  test(`RFC 2131 4.3.2: a lease whose address ${what} gets a NAK at its renewal and at INIT-REBOOT, and ends`, () => {
    for (const packet of [
      os({ type: MESSAGE.request, ciaddr: address }),
      os({ type: MESSAGE.request, wish: address }),
    ]) {
      const { step, reason: why, lease } = decide(packet, FULL, { leases, nowMs: 5 });
      assert.equal([step, why, lease?.state], ["nak", reason, "released"]);
    }
    play(leases, os({ type: MESSAGE.request, ciaddr: address }));
    assert.is.not(play(leases, bios()).replies[0]!.packet.yiaddr, address, "and another one is offered");
  });

test("a machine keeps its address while another holds what is reserved for it, and a reserved one lies where it likes", () => {
  const reservations = new Map([[MAC, "10.77.0.90"]]);
  const leases = holder("10.77.0.55", { reservations });
  leases.apply({ mac: "52:54:00:00:00:99", address: "10.77.0.90", state: "bound", expiresAtMs: 9_000 });
  const renewal = os({ type: MESSAGE.request, ciaddr: "10.77.0.55" });
  assert.is(decide(renewal, FULL, { leases, nowMs: 5 }).step, "ack");
  assert.is(decide(renewal, FULL, { leases, nowMs: 9_000 }).step, "nak", "once it is free the machine moves");
  const reserved = holder("10.77.0.90", { reservations });
  assert.is(decide(os({ type: MESSAGE.request, ciaddr: "10.77.0.90" }), FULL, { leases: reserved }).step, "ack");
});

test("nobody is given, or keeps, what another machine holds by lease, reserved for him or not: no two have one address", () => {
  const [a, b] = [MAC, "52:54:00:00:00:99"];
  const leases = createLeases({ ...RANGE, reservations: new Map([[b, "10.77.0.50"]]) });
  leases.apply({ mac: a, address: "10.77.0.50", state: "bound", expiresAtMs: 1_000 });
  const offered = play(leases, bios({ mac: b }), 500).replies[0]!.packet.yiaddr;
  assert.is.not(offered, "10.77.0.50");
  assert.is(
    play(leases, os({ type: MESSAGE.request, ciaddr: "10.77.0.50" }), 500).step,
    "nak",
    "A's renewal is answered",
  );
  assert.is(play(leases, bios({ mac: b }), 501).replies[0]!.packet.yiaddr, "10.77.0.50");
});

test("RFC 2131 4.1: a NAK is broadcast, and a relayed one asks the relay to", () => {
  const packet = os({ type: MESSAGE.request, ciaddr: "10.77.0.56" });
  assert.equal(decide(packet, FULL, { leases: bound() }).replies[0]!.to, { address: "255.255.255.255", port: 68 });
  const relayed = decide({ ...packet, giaddr: "10.77.0.2" }, FULL, { leases: bound() }).replies[0]!;
  assert.equal(relayed.to, { address: "10.77.0.2", port: 67 });
  assert.is(relayed.packet.flags & 0x8000, 0x8000);
});

test("a renewal is answered to the client's address", () => {
  const { replies } = decide(os({ type: MESSAGE.request, ciaddr: "10.77.0.55" }), FULL, { leases: bound() });
  assert.equal(replies[0]!.to, { address: "10.77.0.55", port: 68 });
});

test("a client that chose another server frees our offer, and names that server", () => {
  const leases = freshLeases();
  play(leases, bios());
  const decision = play(leases, bios({ type: MESSAGE.request, wish: "10.77.0.3", server: OTHER }));
  assert.is(decision.otherServer, OTHER);
  assert.is(leases.byMac(MAC), undefined);
});

test("a declined address rests for its quarantine, and the machine gets another one", () => {
  const leases = bound();
  const declined = play(leases, os({ type: MESSAGE.decline, wish: "10.77.0.55", server: SERVER }));
  assert.is(declined.step, "decline");
  const next = play(leases, bios({ wish: "10.77.0.55" }), 1_000).replies[0]!.packet.yiaddr;
  assert.is.not(next, "10.77.0.55");
  leases.apply({ mac: MAC, address: next, state: "released", expiresAtMs: 0 });
});

test("nobody can decline or release what is not theirs", () => {
  const leases = bound();
  for (const packet of [
    os({ type: MESSAGE.decline, mac: "52:54:00:00:00:99", wish: "10.77.0.55", server: SERVER }),
    os({ type: MESSAGE.release, mac: "52:54:00:00:00:99", ciaddr: "10.77.0.55", server: SERVER }),
    os({ type: MESSAGE.release, ciaddr: "10.77.0.55", server: OTHER }),
  ]) {
    assert.is(decide(packet, FULL, { leases }).step, "ignored");
  }
});

test("RELEASE is silent and sticky: the machine gets its address again", () => {
  const leases = bound("10.77.0.58");
  const released = play(leases, os({ type: MESSAGE.release, ciaddr: "10.77.0.58", server: SERVER }));
  assert.is(released.step, "release");
  assert.equal(released.replies, []);
  assert.is(play(leases, bios()).replies[0]!.packet.yiaddr, "10.77.0.58");
});

test("RFC 2131 4.3.5: INFORM is answered without an address and without a lease", () => {
  const { replies, lease } = decide(os({ type: MESSAGE.inform, ciaddr: "10.77.0.70" }));
  assert.is(lease, undefined);
  assert.is(replies[0]!.packet.yiaddr, "0.0.0.0");
  assert.not.ok(has(replies[0]!.packet, OPTION.leaseSeconds));
  assert.ok(has(replies[0]!.packet, OPTION.mask));
});

test("an exhausted range is silence with a reason", () => {
  const leases = createLeases({ first: "10.77.0.50", last: "10.77.0.50" });
  leases.apply({ mac: "52:54:00:00:00:77", address: "10.77.0.50", state: "bound", expiresAtMs: 1_000 });
  const decision = decide(bios(), FULL, { leases });
  assert.equal(decision.replies, []);
  assert.is(decision.reason, "no free address in the range");
});

test("a client that takes only 576 bytes gets no more", () => {
  const relay = Buffer.alloc(200, 1);
  for (const size of [
    [2, 64],
    [0, 0],
    [255, 0],
  ]) {
    const packet = ipxe({
      giaddr: "10.77.0.2",
      extra: [
        [57, Buffer.from(size)],
        [82, relay],
      ],
    });
    const sent = encodePacket(decide(packet).replies[0]!.packet);
    assert.ok(sent.length <= 548 + 202, `${sent.length} bytes`);
  }
  assert.ok(encodePacket(decide(ipxe({ extra: [[57, Buffer.from([2, 64])]] })).replies[0]!.packet).length <= 548);
});

test("a client that takes more gets more, up to what an Ethernet frame holds; bounds are the RFC's", () => {
  const relay = Buffer.alloc(200, 1);
  const sent = (size: number) => {
    const bytes = Buffer.alloc(2);
    bytes.writeUInt16BE(size);
    const packet = ipxe({
      giaddr: "10.77.0.2",
      extra: [
        [57, bytes],
        [82, relay],
      ],
    });
    return encodePacket(decide(packet).replies[0]!.packet).length;
  };
  const [least, most] = [sent(576), sent(1_500)];
  assert.ok(least <= most);
  for (const size of [575, 1_501, 65_535]) assert.is(sent(size), least, `${size} counts as not sent`);
  for (const size of [1_499, 1_500]) assert.is(sent(size), most);
});

test("property: no request makes the decision throw, answer a reply, or send more than 1500 bytes; what it sends parses", () => {
  const field = fc.record({
    type: fc.integer({ min: 0, max: 12 }),
    archs: fc.array(fc.integer({ min: 0, max: 65535 }), { maxLength: 6 }),
    userClass: fc.constantFrom(undefined, "iPXE", "\x04iPXE", "x".repeat(300)),
    vendorClass: fc.constantFrom(undefined, "PXEClient", "HTTPClient", "PXEClient:Arch:00007", "\0\0"),
    wish: fc.constantFrom(undefined, "10.77.0.55", "0.0.0.0", "255.255.255.255"),
    server: fc.constantFrom(undefined, SERVER, OTHER),
    ciaddr: fc.constantFrom("0.0.0.0", "10.77.0.55", "8.8.8.8"),
    giaddr: fc.constantFrom("0.0.0.0", "10.77.0.2", "8.8.8.8"),
    flags: fc.integer({ min: 0, max: 65535 }),
    guid: fc.boolean(),
    extra: fc.array(
      fc.tuple(
        fc.integer({ min: 1, max: 254 }).filter((code) => code !== 53),
        fc.uint8Array({ maxLength: 400 }).map((value) => Buffer.from(value)),
      ),
      { maxLength: 2 },
    ),
  });
  const op = fc.constantFrom(1, 1, 1, 2);
  fc.assert(
    fc.property(
      field,
      op,
      fc.constantFrom(FULL, PROXY),
      fc.constantFrom(67 as const, 4011 as const),
      fc.constantFrom(0 as const, 1 as const, 2 as const),
      (fields, opcode, config, port, rung) => {
        const raw = bytes({ ...request(fields), op: opcode });
        const result = parsePacket(raw);
        if (!result.ok) return;
        const { replies } = decide(result.packet, config, { port, rung, leases: bound() });
        if (opcode === 2) assert.is(replies.length, 0, "a reply is never answered");
        for (const { packet } of replies) {
          const sent = encodePacket(packet);
          assert.ok(sent.length <= 1500 - 28 && sent.length >= 300, `${sent.length} bytes`);
          const back = parsePacket(sent);
          assert.ok(back.ok);
          assert.is(back.packet.op, 2);
          const again = classify(back.packet);
          if (again) assert.equal(decide(back.packet, config, { port }).replies, [], "its own packet is not answered");
        }
      },
    ),
    { numRuns: 3000 },
  );
});

test.run();
