import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { classify } from "../../../bootstrap/dhcp/classify.ts";
import * as option from "../../../bootstrap/dhcp/options.ts";
import { OPTION } from "../../../bootstrap/dhcp/options.ts";
import {
  BROADCAST_FLAG,
  encodedBytes,
  encodePacket,
  macOf,
  type Packet,
  parsePacket,
} from "../../../bootstrap/dhcp/packet.ts";
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

test("RFC 2131 2: each field lies where the figure has it, and what does not fit its field is refused", () => {
  const packet: Packet = {
    ...bios(),
    op: 2,
    hops: 3,
    secs: 0x0102,
    ciaddr: "10.0.0.1",
    yiaddr: "10.0.0.2",
    siaddr: "10.0.0.3",
    giaddr: "10.0.0.4",
    sname: "server",
    file: "boot/file",
  };
  const raw = encodePacket(packet);
  assert.equal([...raw.subarray(0, 4)], [2, 1, 6, 3]);
  assert.is(raw.readUInt32BE(4), packet.xid);
  assert.is(raw.readUInt16BE(8), 0x0102);
  for (const [n, at] of [12, 16, 20, 24].entries()) assert.is(raw[at + 3], n + 1);
  assert.is(raw.toString("latin1", 44, 51), "server\0");
  assert.is(raw.toString("latin1", 108, 118), "boot/file\0");
  assert.is(raw.readUInt32BE(236), 0x63825363);
  assert.is(parsed(encodePacket({ ...packet, sname: "s".repeat(63) })).sname, "s".repeat(63));
  assert.is(parsed(encodePacket({ ...packet, file: "f".repeat(127) })).file, "f".repeat(127));
  for (const over of [{ sname: "s".repeat(64) }, { file: "f".repeat(128) }])
    assert.throws(() => encodePacket({ ...packet, ...over }), /does not fit/);
});

/** 1, 2, 3 ... in every byte of the header, so that a field read elsewhere is another. */
function counted(overload: number, ...more: number[]): Buffer {
  const raw = Buffer.alloc(240);
  for (let at = 0; at < 236; at++) raw[at] = (at % 250) + 1;
  raw[2] = 6;
  raw.fill(0x73, 44, 108);
  raw.fill(0x66, 108, 236);
  raw.writeUInt32BE(0x63825363, 236);
  return Buffer.concat([raw, Buffer.from([53, 1, 1, 52, 1, overload, ...more, 255])]);
}

test("RFC 2131 2: every byte of the header is read where the figure has it", () => {
  const { options, chaddr, ...fields } = parsed(counted(0));
  assert.equal(fields, {
    op: 1,
    htype: 2,
    hlen: 6,
    hops: 4,
    xid: 0x05060708,
    secs: 0x090a,
    flags: 0x0b0c,
    ciaddr: "13.14.15.16",
    yiaddr: "17.18.19.20",
    siaddr: "21.22.23.24",
    giaddr: "25.26.27.28",
    sname: "s".repeat(64),
    file: "f".repeat(128),
  });
  assert.equal(
    [...chaddr],
    Array.from({ length: 16 }, (_, n) => 29 + n),
  );
  assert.equal([...options.keys()], [53, 52]);
  assert.is(BROADCAST_FLAG, 0x8000);
});

test("RFC 2132 9.3: one field overloaded leaves the other text, and what is wrong there is refused", () => {
  const fields = (overload: number) => {
    const raw = counted(overload);
    Buffer.from([12, 1, 0x62, 255]).copy(raw, 108);
    Buffer.from([12, 1, 0x63, 255]).copy(raw, 44);
    const { sname, file, options } = parsed(raw);
    return [option.text(options, OPTION.hostname), sname.slice(4), file.slice(4)];
  };
  assert.equal(fields(0), [undefined, "s".repeat(60), "f".repeat(124)]);
  assert.equal(fields(1), ["b", "s".repeat(60), ""]);
  assert.equal(fields(2), ["c", "", "f".repeat(124)]);
  assert.equal(fields(3), ["bc", "", ""]);
  assert.equal(
    [refusal(counted(1)), refusal(counted(2)), refusal(counted(0))],
    ["option 102 runs past the end", "option 115 runs past the end", "accepted"],
  );
  // An option that fills the field to its last byte, and one that is a byte longer than the field.
  const filling = (at: number, size: number, overload: number, over: number) => {
    const raw = counted(overload);
    raw[at] = 12;
    raw[at + 1] = size - 2 + over;
    return refusal(raw);
  };
  assert.equal([filling(108, 128, 1, 0), filling(44, 64, 2, 0)], ["accepted", "accepted"]);
  assert.equal(
    [filling(108, 128, 1, 1), filling(44, 64, 2, 1)],
    ["option 12 runs past the end", "option 12 runs past the end"],
  );
});

test("the shortest and the longest packet that can be one are read", () => {
  const bare = counted(0).subarray(0, 240);
  assert.equal([refusal(bare), refusal(bare.subarray(0, 239))], ["accepted", "shorter than a DHCP header"]);
  const long = (bytes: number) => Buffer.concat([bare, Buffer.alloc(bytes - 240)]);
  assert.equal([refusal(long(1_500)), refusal(long(1_501))], ["accepted", "longer than an Ethernet frame"]);
});

test("a packet is written byte for byte: options one behind the other, an end, and pads up to 300", () => {
  const packet = (...list: [number, Buffer][]): Packet => ({ ...request(), options: new Map(list) });
  const tail = (...list: [number, Buffer][]) => [...encodePacket(packet(...list)).subarray(240)];
  assert.equal(tail(), [255, ...Array<number>(59).fill(0)]);
  assert.equal(tail([12, Buffer.from("ab")], [53, Buffer.from([1])]).slice(0, 8), [12, 2, 97, 98, 53, 1, 1, 255]);
  assert.equal(tail([80, Buffer.alloc(0)]).slice(0, 3), [80, 0, 255], "one without a value");
  for (const [bytes, size] of [
    [0, 300],
    [57, 300],
    [58, 301],
    [255, 498],
    [256, 501],
    [510, 755],
    [511, 758],
  ] as const) {
    const made = packet([224, Buffer.alloc(bytes, 7)]);
    assert.equal(
      [encodedBytes(made), encodePacket(made).length, encodePacket(made).lastIndexOf(255)],
      [size, size, Math.max(242 + bytes, size === 300 ? 0 : size - 1)],
      `${bytes}`,
    );
  }
  const long = { ...packet(), chaddr: Buffer.alloc(20, 9) };
  assert.equal([...encodePacket(long).subarray(42, 46)], [9, 9, 0, 0], "a hardware address writes into no other field");
});

test("a card is somebody unless its address is all zero or many's", () => {
  const of = (...chaddr: number[]) =>
    macOf({ ...request(), chaddr: Buffer.from([...chaddr, ...Array<number>(10).fill(0)]) });
  assert.is(of(0, 0, 0, 0, 0, 0), undefined);
  assert.is(of(0, 0, 0, 0, 0, 1), "00:00:00:00:00:01");
  assert.is(of(2, 1, 1, 1, 1, 1), "02:01:01:01:01:01");
  assert.is(of(0xfe, 0xff, 0xff, 0xff, 0xff, 0xff), "fe:ff:ff:ff:ff:ff");
  assert.is(of(1, 0, 0x5e, 0, 0, 1), undefined);
  assert.is(of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff), undefined);
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
  const each = Buffer.from(Array.from({ length: 17 }, (_, n) => n));
  const read = option.guid(parsed(bytes(request({ extra: [[97, each]] }))).options);
  assert.is(read, "04030201-0605-0807-090a-0b0c0d0e0f10");
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
