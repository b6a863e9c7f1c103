// What a packet on the well-known port asks for.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeAck, encodeError, encodeOack, encodeRequest } from "../../../bootstrap/tftp/packet.ts";
import { readRequest } from "../../../bootstrap/tftp/request.ts";

const ask = (op: "rrq" | "wrq", mode: string) =>
  readRequest(encodeRequest({ op, name: "ipxe.efi", mode, options: new Map([["tsize", "0"]]) }));

test("a read is a read in octet and in netascii, with its name and options", () => {
  for (const mode of ["octet", "netascii", "OCTET", "NetASCII"])
    assert.equal(ask("rrq", mode), { ask: "read", name: "ipxe.efi", options: new Map([["tsize", "0"]]) }, mode);
});

test("writes, other modes and broken requests get an ERROR that says what is wrong (RFC 1350 appendix I)", () => {
  const refused = { ask: "refused", malformed: false } as const;
  assert.equal(ask("wrq", "octet"), { ...refused, code: 2, message: "read only" });
  assert.equal(ask("wrq", "mail"), { ...refused, code: 2, message: "read only" });
  for (const mode of ["mail", "x"]) assert.equal(ask("rrq", mode), { ...refused, code: 4, message: "unknown mode" });
  const malformed = { ask: "refused", malformed: true, code: 4, message: "malformed request" } as const;
  for (const bytes of [
    [0, 1],
    [0, 2],
    [0, 1, 0, 0],
    [0, 1, 97, 98],
  ])
    assert.equal(readRequest(Buffer.from(bytes)), malformed, `${bytes}`);
});

test("what is no request is answered by nobody, and known to be TFTP or not", () => {
  for (const packet of [encodeAck(1), encodeError(0, "x"), encodeOack(new Map()), Buffer.from([0, 3, 0, 1])])
    if (packet.length >= 4) assert.equal(readRequest(packet), { ask: "other", malformed: false });
  for (const bytes of [[], [0], [1, 1], [1, 1, 97, 0, 98, 0], [0, 0], [0, 3], [0, 9, 0, 0], [255, 2, 3, 4]])
    assert.equal(readRequest(Buffer.from(bytes)), { ask: "other", malformed: true }, `${bytes}`);
});

test.run();
