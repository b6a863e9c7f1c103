// The packets that are answered with, field by field, for each kind of client.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { OfferInput } from "../../../bootstrap/dhcp/exchange.ts";
import { createLadder } from "../../../bootstrap/dhcp/ladder.ts";
import { MESSAGE } from "../../../bootstrap/dhcp/options.ts";
import { encodedBytes, type Packet } from "../../../bootstrap/dhcp/packet.ts";
import { nakReply, type ReplyContent, reply } from "../../../bootstrap/dhcp/reply.ts";

const request = (over: Partial<Packet> = {}, options: [number, Buffer][] = []): Packet => ({
  op: 1,
  htype: 1,
  hlen: 6,
  hops: 3,
  xid: 0xdeadbeef,
  secs: 9,
  flags: 0,
  ciaddr: "0.0.0.0",
  yiaddr: "9.9.9.9",
  siaddr: "9.9.9.9",
  giaddr: "0.0.0.0",
  chaddr: Buffer.from("52540000000100000000000000000000", "hex"),
  sname: "theirs",
  file: "theirs",
  options: new Map(options),
  ...over,
});
const CONFIG = {
  mode: "full",
  address: "10.77.0.1",
  network: { address: "10.77.0.0", prefix: 24 },
  httpPort: 80,
  router: "10.77.0.254",
  dns: ["10.77.0.2", "10.77.0.3"],
  ntp: ["10.77.0.4"],
  domain: "lan",
  leaseMs: 3_600_000,
  quarantineMs: 1,
};
const input = (packet: Packet, over: object = {}): OfferInput =>
  ({
    packet,
    client: { kind: "pxe" },
    machine: { mayBoot: true },
    config: CONFIG,
    port: 67,
    ...over,
  }) as unknown as OfferInput;
const sent = (content: ReplyContent, over: object = {}, packet = request(), type: number = MESSAGE.offer) =>
  reply(input(packet, over), type, content).packet;
const hexOf = ({ options }: Packet) =>
  Object.fromEntries([...options].map(([code, value]) => [code, value.toString("hex")]));

/** In full mode, on port 67: mask, broadcast, router, DNS, NTP, domain (RFC 2132 3.3, 5.3, 3.5, 3.8, 8.3, 3.17). */
const ADDRESSING = {
  ...{ 1: "ffffff00", 28: "0a4d00ff", 3: "0a4d00fe", 6: "0a4d00020a4d0003", 42: "0a4d0004", 15: "6c616e" },
};
const OFFER = { 53: "02", 54: "0a4d0001" };

test("RFC 2131 table 3: a reply is of the request, with nothing of it that is not the server's to repeat", () => {
  const packet = request({ flags: 0x8000, giaddr: "10.77.0.9", ciaddr: "10.77.0.7" });
  assert.equal(sent({ yiaddr: "10.77.0.50" }, {}, packet), {
    op: 2,
    htype: 1,
    hlen: 6,
    hops: 0,
    xid: 0xdeadbeef,
    secs: 0,
    flags: 0x8000,
    ciaddr: "0.0.0.0",
    yiaddr: "10.77.0.50",
    siaddr: "0.0.0.0",
    giaddr: "10.77.0.9",
    chaddr: packet.chaddr,
    sname: "",
    file: "",
    options: sent({}).options,
  });
  assert.is(sent({}, {}, packet, MESSAGE.ack).ciaddr, "10.77.0.7", "an ACK repeats the client's address");
  assert.is(sent({}).yiaddr, "0.0.0.0");
});

test("with an address comes what a system needs on the network, and only what there is", () => {
  assert.equal(hexOf(sent({})), { ...OFFER, ...ADDRESSING });
  assert.equal(hexOf(sent({}, { machine: { mayBoot: true, hostname: "box" } })), {
    ...OFFER,
    ...ADDRESSING,
    12: "626f78",
  });
  const bare = { ...CONFIG, router: undefined, dns: [], ntp: [], domain: undefined };
  assert.equal(hexOf(sent({}, { config: bare })), { ...OFFER, 1: "ffffff00", 28: "0a4d00ff" });
  assert.equal(hexOf(sent({}, { config: { ...CONFIG, mode: "proxy" } })), OFFER, "the other server gives addresses");
  assert.equal(hexOf(sent({}, { port: 4011 })), OFFER);
});

test("RFC 6842 3: option 61 goes back as it came in every answer, a NAK too, and none goes to who sent none", () => {
  const id = Buffer.from("ff525400000001000100012a3b4c5d525400000001", "hex"); // RFC 4361: type 255, IAID, DUID
  const asked = request({}, [[61, id]]);
  for (const config of [CONFIG, { ...CONFIG, mode: "proxy" }])
    assert.is(hexOf(sent({}, { config }, asked))[61], id.toString("hex"));
  assert.is(hexOf(sent({ boot: "x" }, { port: 4011 }, asked, MESSAGE.ack))[61], id.toString("hex"));
  assert.is(hexOf(nakReply(asked, "10.77.0.1", "no").packet)[61], id.toString("hex"));
  assert.is(hexOf(sent({}))[61], undefined);
  const joined = request({}, [[61, Buffer.alloc(256, 1)]]);
  assert.is(hexOf(sent({}, {}, joined))[61], undefined, "an id joined of several options is nobody's");
});

test("RFC 2132 8.3: time servers are given as they are configured, and none is no option", () => {
  const ntp = (...servers: string[]) => hexOf(sent({}, { config: { ...CONFIG, ntp: servers } }))[42];
  assert.equal([ntp(), ntp("10.77.0.2"), ntp("10.77.0.2", "9.9.9.9")], [undefined, "0a4d0002", "0a4d000209090909"]);
});

test("one name server is given as well as two, and none is no option", () => {
  const dns = (...servers: string[]) => hexOf(sent({}, { config: { ...CONFIG, dns: servers } }))[6];
  assert.equal([dns(), dns("10.77.0.2"), dns("10.77.0.2", "10.77.0.3")], [undefined, "0a4d0002", "0a4d00020a4d0003"]);
});

test("RFC 2131 4.4.5: a lease is renewed at half its time and rebound at seven eighths", () => {
  const of = (leaseMs: number) => {
    const { 51: lease, 58: renew, 59: rebind } = hexOf(sent({ leaseMs }));
    return [lease, renew, rebind].map((hex) => Number.parseInt(hex!, 16));
  };
  assert.equal(of(3_600_000), [3_600, 1_800, 3_150]);
  assert.equal(of(9_999), [9, 4, 7]);
  assert.equal(of(0), [0, 0, 0]);
});

const BOOT = "boot/ipxe.efi";
const FILE = { 67: Buffer.from(BOOT).toString("hex") };
const SERVER = { 66: Buffer.from("10.77.0.1").toString("hex") };
const PXE = { 60: Buffer.from("PXEClient").toString("hex") };
const HTTP = { 60: Buffer.from("HTTPClient").toString("hex") };
const NOBODY_ELSE = { 43: "060108ff" };
const NO_PROXY = { 175: "b00101" };
const SHAPES: [kind: string, vendor: ReplyContent["vendor"], port: number, options: Record<number, string>][] = [
  ["pxe", undefined, 67, { ...FILE, ...SERVER, ...ADDRESSING }],
  ["pxe", "plain", 67, { ...FILE, ...SERVER, ...ADDRESSING }],
  ["pxe", "direct", 67, { ...FILE, ...SERVER, ...PXE, ...NOBODY_ELSE, ...ADDRESSING }],
  ["pxe", "4011", 67, { ...FILE, ...SERVER, ...PXE, ...ADDRESSING }],
  ["pxe", "4011", 4011, { ...FILE, ...SERVER, ...PXE }],
  ["http", undefined, 67, { ...FILE, ...HTTP, ...ADDRESSING }],
  ["http", "direct", 67, { ...FILE, ...HTTP, ...ADDRESSING }],
  ["http", "4011", 4011, { ...FILE, ...HTTP }],
  ["ipxe", undefined, 67, { ...FILE, ...NO_PROXY, ...ADDRESSING }],
  ["ipxe", "direct", 67, { ...FILE, ...NO_PROXY, ...PXE, ...NOBODY_ELSE, ...ADDRESSING }],
  ["ipxe", undefined, 4011, FILE],
];
for (const [kind, vendor, port, options] of SHAPES)
  test(`what ${kind} is told of its boot file on ${port} (${vendor ?? "no shape"})`, () => {
    const packet = sent({ boot: BOOT, vendor }, { client: { kind }, port });
    assert.equal(hexOf(packet), { ...OFFER, ...options });
    assert.equal([packet.siaddr, packet.sname, packet.file], ["10.77.0.1", "10.77.0.1", BOOT]);
  });

test("a boot file's name stands in the header when it is whole there, else only in option 67", () => {
  assert.is(sent({ boot: "x".repeat(127) }).file, "x".repeat(127));
  const long = sent({ boot: "x".repeat(128) });
  assert.is(long.file, "");
  assert.is(long.options.get(67)!.length, 128);
});

test("the client's GUID comes back with a boot file when it has the length of one, and option 82 always", () => {
  const guid = Buffer.alloc(17, 7);
  const relay = Buffer.from([1, 1, 5]);
  const asked = (value: Buffer, boot: ReplyContent) =>
    hexOf(
      sent(
        boot,
        {},
        request({}, [
          [97, value],
          [82, relay],
        ]),
      ),
    );
  assert.is(asked(guid, { boot: BOOT })[97], guid.toString("hex"));
  assert.is(asked(guid, {})[97], undefined);
  for (const length of [0, 16, 18]) assert.is(asked(Buffer.alloc(length), { boot: BOOT })[97], undefined);
  assert.is(asked(guid, {})[82], "010105");
  assert.is(hexOf(sent({}))[82], undefined);
});

test("RFC 2131 4.1: a reply goes to the relay, else to the address the client has, else to everybody", () => {
  const to = (over: Partial<Packet>) => {
    const { from, to } = reply(input(request(over)), MESSAGE.offer, {});
    return `${from} ${to.address}:${to.port}`;
  };
  assert.is(to({}), "67 255.255.255.255:68");
  assert.is(to({ ciaddr: "10.77.0.50" }), "67 10.77.0.50:68");
  assert.is(to({ giaddr: "10.88.0.1", ciaddr: "10.77.0.50" }), "67 10.88.0.1:67");
});

test("RFC 2131 4.3.2: a NAK says why, is sent to everybody, and a relay is told to send it so", () => {
  const nak = (over: Partial<Packet>) => nakReply(request(over, [[82, Buffer.from([1])]]), "10.77.0.1", "no");
  const direct = nak({ ciaddr: "10.77.0.50" });
  assert.equal(hexOf(direct.packet), { 53: "06", 54: "0a4d0001", 56: "6e6f", 82: "01" });
  assert.equal([direct.from, direct.to, direct.packet.flags], [67, { address: "255.255.255.255", port: 68 }, 0]);
  assert.equal([direct.packet.op, direct.packet.xid, direct.packet.ciaddr], [2, 0xdeadbeef, "0.0.0.0"]);
  const relayed = nak({ giaddr: "10.88.0.1", flags: 1 });
  assert.equal([relayed.to, relayed.packet.flags], [{ address: "10.88.0.1", port: 67 }, 0x8001]);
});

const sizeOf = (maxSize: Buffer | undefined, domain: string, boot = "x".repeat(120)) => {
  const packet = request({}, maxSize === undefined ? [] : [[57, maxSize]]);
  const over = { config: { ...CONFIG, domain }, machine: { mayBoot: true, hostname: "h".repeat(60) } };
  return sent({ boot, leaseMs: 1, vendor: "direct" }, over, packet);
};
const uint16 = (value: number) => Buffer.from([value >> 8, value & 255]);

test("RFC 2132 9.10: a reply is as long as the client takes, 576 bytes with IP's and UDP's unless it says more", () => {
  const long = "d".repeat(200);
  for (const maxSize of [
    undefined,
    uint16(576),
    uint16(575),
    uint16(1501),
    uint16(0),
    Buffer.from([3]),
    Buffer.alloc(3, 4),
  ]) {
    const packet = sizeOf(maxSize, long);
    assert.ok(encodedBytes(packet) <= 548, maxSize?.toString("hex"));
    assert.not(packet.options.has(15), maxSize?.toString("hex"));
    assert.ok(packet.options.has(67));
  }
  for (const maxSize of [uint16(1_500), uint16(1_000)]) assert.ok(sizeOf(maxSize, long).options.has(15));
});

test("what a client can do without goes first, one by one, until the rest fits; a reply that fits just so is whole", () => {
  const whole = encodedBytes(sizeOf(uint16(1_500), "d".repeat(200)));
  const fits = (bytes: number) => [...sizeOf(uint16(bytes + 28), "d".repeat(200)).options.keys()];
  const all = fits(whole);
  assert.ok([15, 28, 66, 12].every((code) => all.includes(code)));
  const without = (...codes: number[]) => all.filter((code) => !codes.includes(code));
  assert.equal(fits(whole - 1), without(15));
  assert.ok(whole - 202 < 548, "the bounds of this test");
});

test("a reply that stays too long drops everything that can go, and nothing that cannot", () => {
  const packet = sizeOf(undefined, "d".repeat(200), "x".repeat(600));
  const codes = [...packet.options.keys()].sort((a, b) => a - b);
  assert.equal(codes, [1, 3, 6, 43, 51, 53, 54, 58, 59, 60, 67]);
});

test("a machine that ignores an offer is shown the next shape, and after the last the first again", () => {
  const ladder = createLadder({ maxKeys: 2 });
  const rungs = (mac: string, times: number) => Array.from({ length: times }, () => ladder.discovered(mac).rung);
  assert.equal(rungs("a", 9), [0, 0, 1, 2, 0, 0, 1, 2, 0]);
  assert.equal(rungs("b", 3), [0, 0, 1]);
  ladder.progressed("b");
  assert.equal(rungs("b", 2), [1, 2], "the shape that it took is the first to be shown again");
  ladder.progressed("nobody");
  assert.is(ladder.discovered("a").rung, 0);
  assert.is(ladder.discovered("c").rung, 0); // b makes room, a was seen later
  assert.is(ladder.discovered("a").rung, 1);
  assert.is(ladder.discovered("b").rung, 0);
});

test.run();
