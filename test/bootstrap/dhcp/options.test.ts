// Numbers that others chose: a wrong one is understood by nobody on the wire, and by every test that takes it from the source.
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as option from "../../../bootstrap/dhcp/options.ts";
import { MESSAGE, OPTION } from "../../../bootstrap/dhcp/options.ts";

const holding = (code: number, ...bytes: (number | string)[]) =>
  new Map([
    [
      code,
      Buffer.concat(
        bytes.map((each) => (typeof each === "string" ? Buffer.from(each, "latin1") : Buffer.from([each]))),
      ),
    ],
  ]);
const NONE = new Map<number, Buffer>();

test("options have the numbers of RFC 2132, 3004, 3046, 4578 and iPXE", () => {
  assert.equal(OPTION, {
    pad: 0,
    mask: 1,
    router: 3,
    dns: 6,
    hostname: 12,
    domain: 15,
    broadcast: 28,
    ntp: 42,
    vendor: 43,
    requestedAddress: 50,
    leaseSeconds: 51,
    overload: 52,
    messageType: 53,
    serverId: 54,
    parameterList: 55,
    message: 56,
    maxSize: 57,
    renewSeconds: 58,
    rebindSeconds: 59,
    vendorClass: 60,
    clientId: 61,
    tftpServer: 66,
    bootfile: 67,
    userClass: 77,
    relayAgent: 82,
    clientArch: 93,
    clientUndi: 94,
    clientGuid: 97,
    ipxe: 175,
    end: 255,
  });
});

test("RFC 2132 9.6: the message types", () => {
  assert.equal(MESSAGE, { discover: 1, offer: 2, request: 3, decline: 4, ack: 5, nak: 6, release: 7, inform: 8 });
});

test("RFC 2132 9.6: a message type is one byte from 1 to 8", () => {
  const read = (...bytes: number[]) => option.messageType(holding(OPTION.messageType, ...bytes));
  assert.equal(
    [read(1), read(8), read(0), read(9), read(1, 1), read()],
    [1, 8, undefined, undefined, undefined, undefined],
  );
  assert.is(option.messageType(NONE), undefined);
});

test("an address is four bytes", () => {
  const read = (...bytes: number[]) => option.address(holding(50, ...bytes), 50);
  assert.equal([read(10, 77, 0, 255), read(1, 2, 3), read(1, 2, 3, 4, 5)], ["10.77.0.255", undefined, undefined]);
  assert.is(option.address(NONE, 50), undefined);
});

test("a text is what can be printed of it before its first NUL", () => {
  const read = (...bytes: (number | string)[]) => option.text(holding(12, ...bytes), 12);
  for (const [bytes, answer] of [
    [["box"], "box"],
    [["box", 0, "rest"], "box"],
    [[0, "rest"], undefined],
    [[31, "a b~", 127, 128, 255], "a b~"],
    [["\n"], undefined],
    [[], undefined],
  ] as const)
    assert.is(read(...bytes), answer);
  assert.is(option.text(NONE, 12), undefined);
});

test("RFC 4578 2.1: architectures are pairs of bytes, sixteen at most", () => {
  const read = (...bytes: number[]) => option.archs(holding(OPTION.clientArch, ...bytes));
  assert.equal(read(0, 7, 1, 0), [7, 256]);
  assert.equal(read(0, 7, 1), [7]);
  assert.equal([read(), option.archs(NONE)], [[], []]);
  assert.equal(read(...Array(40).fill(0)), Array(16).fill(0));
});

test("RFC 3004: user classes are the whole text and each part that has its length before it", () => {
  const read = (...bytes: (number | string)[]) => option.userClasses(holding(OPTION.userClass, ...bytes));
  assert.equal(read("iPXE"), ["iPXE"]);
  assert.equal(read(4, "iPXE"), ["\u0004iPXE", "iPXE"]);
  assert.equal(read(1, "a", 2, "bc"), ["\u0001a\u0002bc", "a", "bc"]);
  assert.equal(read(1, "a", 3, "bc"), ["\u0001a\u0003bc", "a"], "one that runs past the end");
  assert.equal(read(1, "a", 0, 1, "b"), ["\u0001a\u0000\u0001b", "a"], "an empty one ends the list");
  assert.equal([read(), option.userClasses(NONE)], [[""], []]);
  assert.is(read(...Array(40).fill([1, "a"]).flat()).length, 16);
});

test("option 97 is a GUID of type 0 and 16 bytes, its first fields little-endian", () => {
  const bytes = Array.from({ length: 17 }, (_, n) => n);
  const read = (...of: number[]) => option.guid(holding(OPTION.clientGuid, ...of));
  assert.is(read(...bytes), "04030201-0605-0807-090a-0b0c0d0e0f10");
  assert.equal(
    [read(1, ...bytes.slice(1)), read(...bytes, 0), read(...bytes.slice(1)), option.guid(NONE)],
    Array(4).fill(undefined),
  );
});

test("sub-options are read to their end; pads are one byte, and one that runs out ends the list", () => {
  const read = (...bytes: number[]) =>
    [...option.subOptions(Buffer.from(bytes))].map(([code, value]) => [code, value.toString("hex")]);
  assert.equal(read(6, 1, 8, 0, 0, 9, 2, 1, 2, 255, 7, 1, 1), [
    [6, "08"],
    [9, "0102"],
  ]);
  assert.equal(read(6, 0), [[6, ""]]);
  assert.equal(read(6, 1, 8), [[6, "08"]]);
  assert.equal(read(6, 2, 8), []);
  assert.equal([read(6), read(), read(255, 6, 1, 8), read(0)], [[], [], [], []]);
  assert.equal([...option.subOptions(undefined)], []);
});

test("addresses, numbers and texts are written as they are read", () => {
  assert.is(option.addressBytes("10.77.0.1", "255.0.0.2").toString("hex"), "0a4d0001ff000002");
  assert.is(option.addressBytes().length, 0);
  assert.is(option.uint32(0xdeadbeef).toString("hex"), "deadbeef");
  assert.is(option.uint32(1).toString("hex"), "00000001");
  assert.is(option.ascii("é!").toString("hex"), "e921");
});

test.run();
