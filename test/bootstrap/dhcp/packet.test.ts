import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { classify } from "../../../bootstrap/dhcp/classify.ts";
import * as option from "../../../bootstrap/dhcp/options.ts";
import { OPTION } from "../../../bootstrap/dhcp/options.ts";
import { encodePacket, macOf, type Packet, parsePacket } from "../../../bootstrap/dhcp/packet.ts";
import { bios, bytes, ipxe, request, UUID } from "./packets.ts";

const parsed = (raw: Buffer): Packet => {
  const result = parsePacket(raw);
  if (!result.ok) throw new Error(result.reason);
  return result.packet;
};
const refusal = (raw: Buffer): string => {
  const result = parsePacket(raw);
  return result.ok ? "accepted" : result.reason;
};
/** A header with these option bytes and nothing after them. */
const withOptions = (...raw: number[]): Buffer => Buffer.concat([bytes(request()).subarray(0, 240), Buffer.from(raw)]);

// A DISCOVER in the layout of RFC 2131 figure 1, written out by hand: not made by the encoder under test.
const HAND_MADE = Buffer.from(
  `01010600${"deadbeef"}00048000${"00000000".repeat(4)}525400abcdef${"00".repeat(10)}${"00".repeat(192)}63825363` +
    `350101${"3c20"}${Buffer.from("PXEClient:Arch:00007:UNDI:003000").toString("hex")}5d0200075e03010300390205c0ff`,
  "hex",
);

test("RFC 2131 2: a hand-written DISCOVER is read field by field", () => {
  const packet = parsed(HAND_MADE);
  assert.is(packet.xid, 0xdeadbeef);
  assert.is(packet.secs, 4);
  assert.is(packet.flags, 0x8000);
  assert.is(macOf(packet), "52:54:00:ab:cd:ef");
  assert.is(option.messageType(packet.options), option.MESSAGE.discover);
  assert.equal(option.archs(packet.options), [7]);
  assert.is(option.text(packet.options, OPTION.vendorClass), "PXEClient:Arch:00007:UNDI:003000");
});

test("RFC 2131 2: what is encoded is parsed back the same, and is at least 300 bytes", () => {
  const packet = bios();
  const raw = encodePacket(packet);
  assert.ok(raw.length >= 300);
  assert.equal(parsed(raw), packet);
});

test("RFC 3396: a value longer than 255 bytes is split and joined again", () => {
  const long = Buffer.alloc(700, 7);
  const packet = parsed(bytes(request({ extra: [[224, long]] })));
  assert.equal(packet.options.get(224), long);
});

test("RFC 2132 9.3: overload reads file and sname as options, in that order", () => {
  const raw = withOptions(53, 1, 1, 52, 1, 3, 12, 1, 0x61, 255);
  Buffer.from([12, 1, 0x62, 255]).copy(raw, 108);
  Buffer.from([12, 1, 0x63, 255]).copy(raw, 44);
  const packet = parsed(raw);
  assert.is(option.text(packet.options, OPTION.hostname), "abc");
  assert.is(packet.file, "");
  assert.is(packet.sname, "");
});

test("pads are skipped one byte at a time, and a missing end is tolerated", () => {
  assert.is(option.messageType(parsed(withOptions(0, 0, 53, 1, 1, 0)).options), 1);
});

test("truncated, oversized and foreign packets are refused with a reason", () => {
  assert.is(refusal(HAND_MADE.subarray(0, 239)), "shorter than a DHCP header");
  assert.is(refusal(Buffer.alloc(1501)), "longer than an Ethernet frame");
  assert.is(refusal(Buffer.alloc(300)), "no magic cookie");
  assert.is(refusal(withOptions(53, 9, 1)), "option 53 runs past the end");
  assert.is(refusal(withOptions(53)), "option 53 runs past the end");
  const longAddress = Buffer.from(HAND_MADE);
  longAddress[2] = 17;
  assert.is(refusal(longAddress), "hardware address longer than 16 bytes");
});

test("two message types joined are no message type (RFC 3396 concatenation)", () => {
  assert.is(option.messageType(parsed(withOptions(53, 1, 1, 53, 1, 3, 255)).options), undefined);
});

test("a hardware address that is not six bytes of unicast Ethernet is nobody", () => {
  for (const [at, value] of [
    [1, 32],
    [2, 0],
    [2, 16],
    [28, 0x01],
  ] as const) {
    const raw = Buffer.from(HAND_MADE);
    raw[at] = value;
    assert.is(macOf(parsed(raw)), undefined, `byte ${at} = ${value}`);
  }
});

test("RFC 3046: option 82 is written last, after whatever was set later", () => {
  const raw = bytes(
    request({
      extra: [
        [82, Buffer.from([1, 2, 3])],
        [12, Buffer.from("x")],
      ],
    }),
  );
  const end = raw.lastIndexOf(255);
  assert.equal([...raw.subarray(end - 5, end)], [82, 3, 1, 2, 3]);
});

test("RFC 4578: every architecture of the list is read", () => {
  assert.equal(option.archs(parsed(bytes(bios({ archs: [7, 0x10, 9] }))).options), [7, 16, 9]);
});

test("option 97 is read with SMBIOS byte order, and its mistakes are absence", () => {
  assert.is(option.guid(parsed(bytes(bios())).options), UUID);
  for (const value of [Buffer.alloc(0), Buffer.alloc(16), Buffer.alloc(17, 1), Buffer.alloc(18)]) {
    assert.is(option.guid(parsed(bytes(request({ extra: [[97, value]] }))).options), undefined);
  }
});

test("RFC 3004 and bare user classes both say iPXE", () => {
  assert.ok(option.userClasses(ipxe().options).includes("iPXE"));
  assert.ok(option.userClasses(ipxe({ userClass: "\x04iPXE" }).options).includes("iPXE"));
  assert.not.ok(option.userClasses(ipxe({ userClass: "\x09iPXE" }).options).includes("iPXE"));
});

test("sub-options that loop, overlap or run out end the list", () => {
  assert.is(option.subOptions(Buffer.from([6, 200, 1])).size, 0);
  assert.is(option.subOptions(Buffer.from([6])).size, 0);
  assert.equal([...option.subOptions(Buffer.from([0, 6, 1, 8, 255, 9, 1, 1]))], [[6, Buffer.from([8])]]);
  assert.is(option.userClasses(request({ userClass: "\0\0\0\0" }).options).length, 1);
});

test("property: no bytes make the parser, the readers or the classifier throw", () => {
  const header = bytes(request()).subarray(0, 240);
  const anything = fc.oneof(
    fc.uint8Array({ maxLength: 1600 }),
    fc.uint8Array({ maxLength: 1200 }).map((tail) => Buffer.concat([header, tail])),
    fc.tuple(fc.integer({ min: 0, max: 320 }), fc.integer({ min: 0, max: 255 })).map(([at, value]) => {
      const raw = Buffer.from(bytes(ipxe()));
      raw[at % raw.length] = value;
      return raw;
    }),
  );
  fc.assert(
    fc.property(anything, (raw) => {
      const result = parsePacket(Buffer.from(raw));
      if (!result.ok) return;
      classify(result.packet);
      for (const code of result.packet.options.keys()) option.text(result.packet.options, code);
      option.subOptions(result.packet.options.get(OPTION.ipxe));
    }),
    { numRuns: 3000 },
  );
});

test("property: parse(encode(packet)) is the packet, whatever its options hold", () => {
  const options = fc.uniqueArray(
    fc.tuple(
      fc.integer({ min: 1, max: 254 }).filter((code) => code !== 52 && code !== 82),
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
    ),
    { maxLength: 3, selector: ([code]) => code },
  );
  fc.assert(
    fc.property(options, (list) => {
      const packet = { ...request(), options: new Map(list.map(([code, value]) => [code, Buffer.from(value)])) };
      assert.equal(parsed(encodePacket(packet)), packet);
    }),
    { numRuns: 500 },
  );
});

test.run();
