import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  decode,
  ERROR_CODE,
  encodeAck,
  encodeError,
  encodeOack,
  encodeRequest,
  writeDataHeader,
} from "../../../bootstrap/tftp/packet.ts";

const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");
const rrq = (text: string) => Buffer.concat([Buffer.from([0, 1]), Buffer.from(text, "latin1")]);

test("an RRQ as EDK2 sends it decodes with its options (RFC 2347 section 2, RFC 7440 section 3)", () => {
  const packet = decode(rrq("ipxe.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0"));
  assert.equal(packet, {
    op: "rrq",
    name: "ipxe.efi",
    mode: "octet",
    options: new Map([
      ["tsize", "0"],
      ["blksize", "1468"],
      ["windowsize", "4"],
    ]),
  });
});

test("option names and the mode are case-insensitive, and the first of two options counts (RFC 2347 section 2)", () => {
  const packet = decode(rrq("f\0OCTET\0BLKSIZE\x00512\0blksize\x001024\0"));
  assert.equal(packet, { op: "rrq", name: "f", mode: "octet", options: new Map([["blksize", "512"]]) });
});

test("padding and an unterminated tail after the last option are no options", () => {
  for (const tail of ["\0\0\0\0", "tsize", "tsize\0", "\xff\xff", "tsize\x000"]) {
    const packet = decode(rrq(`f\0octet\0${tail}`));
    assert.equal(packet, { op: "rrq", name: "f", mode: "octet", options: new Map() }, JSON.stringify(tail));
  }
});

test("ACK, DATA, ERROR, OACK decode (RFC 1350 section 5)", () => {
  assert.equal(decode(hex("0004 ffff")), { op: "ack", block: 65535 });
  assert.equal(decode(hex("0003 0001 6162")), { op: "data", block: 1, payload: Buffer.from("ab") });
  assert.equal(decode(hex("0005 0008 6e6f 00")), { op: "error", code: 8, message: "no" });
  assert.equal(decode(hex("0005 0008 6e6f")), { op: "error", code: 8, message: "no" }, "without its zero");
  assert.equal(decode(hex("0006 7473697a6500 3130 00")), { op: "oack", options: new Map([["tsize", "10"]]) });
});

test("what is not TFTP is undefined", () => {
  const table = [
    "",
    "00",
    "0004",
    "000401",
    "0007 0000",
    "0000 0000",
    "0104 0001",
    "ffff ffff",
    "0001 0000",
    "0001 6600",
    "0001 66000000",
  ];
  for (const text of table) assert.is(decode(hex(text)), undefined, text);
  assert.is(decode(rrq(`${"a".repeat(3000)}\0octet\0`)), undefined, "a request past 2 KiB");
});

test("a request is read up to 2 KiB and thirty-two options, an error's words up to 256 characters", () => {
  const named = (bytes: number) => rrq(`${"a".repeat(bytes - "XX\0octet\0".length)}\0octet\0`);
  const name = (bytes: number) => {
    const packet = decode(named(bytes));
    return packet?.op === "rrq" ? packet.name.length : undefined;
  };
  assert.equal([named(2_048).length, name(2_048), name(2_049)], [2_048, 2_039, undefined]);
  const options = (count: number) => {
    const list = Array.from({ length: count }, (_, n) => `o${n}\0${n}\0`).join("");
    const packet = decode(rrq(`f\0octet\0${list}`));
    return packet?.op === "rrq" ? [packet.options.size, packet.options.get(`o${count - 1}`)] : undefined;
  };
  assert.equal(
    [options(1), options(32), options(33)],
    [
      [1, "0"],
      [32, "31"],
      [32, undefined],
    ],
  );
  const words = (bytes: number, end: string) => {
    const packet = decode(Buffer.concat([hex("0005 0001"), Buffer.from("w".repeat(bytes) + end)]));
    return packet?.op === "error" ? packet.message.length : undefined;
  };
  assert.equal([words(0, "\0"), words(256, "\0"), words(257, "\0"), words(400, "")], [0, 256, 256, 256]);
});

test("a request to write is told from one to read, and an empty option ends the list", () => {
  assert.is(decode(hex("0002 66 00 6f 00"))?.op, "wrq");
  assert.is(decode(hex("0001 66 00 6f 00"))?.op, "rrq");
  const packet = decode(rrq("f\0octet\0a\x001\0\0\0b\x002\0"));
  assert.equal(packet?.op === "rrq" && [...packet.options], [["a", "1"]]);
  assert.equal(decode(hex("0006")), undefined);
  assert.equal(decode(hex("0006 0000")), { op: "oack", options: new Map() });
});

test("error codes are those of RFC 1350 and RFC 2347", () => {
  assert.equal(
    { ...ERROR_CODE },
    {
      undefined: 0,
      notFound: 1,
      accessViolation: 2,
      illegalOperation: 4,
      unknownTid: 5,
      optionRefused: 8,
    },
  );
});

test("packets encode to the bytes of RFC 1350 section 5", () => {
  assert.is(encodeAck(65536 + 258).toString("hex"), "00040102");
  assert.is(encodeError(1, "no").toString("hex"), "000500016e6f00");
  assert.is(encodeOack(new Map([["tsize", "1"]])).toString("hex"), "00067473697a65003100");
  const header = Buffer.alloc(4);
  const wire = (block: number) => {
    writeDataHeader(header, 0, block);
    return header.toString("hex");
  };
  assert.equal([wire(1), wire(65535), wire(65536), wire(65537)], ["00030001", "0003ffff", "00030000", "00030001"]);
});

test("any bytes decode without a throw, and what is a request survives a round trip", () => {
  const opcode = fc.integer({ min: 0, max: 8 });
  void fc.assert(
    fc.property(opcode, fc.uint8Array({ maxLength: 600 }), (code, rest) => {
      const packet = decode(Buffer.concat([Buffer.from([0, code]), rest]));
      if (packet?.op === "rrq" || packet?.op === "wrq") assert.equal(decode(encodeRequest(packet)), packet);
      if (packet?.op === "oack" && packet.options.size > 0) assert.equal(decode(encodeOack(packet.options)), packet);
    }),
    { numRuns: 2000 },
  );
});

test.run();
