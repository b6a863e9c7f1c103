// Which public keys are taken: each kind to the length of each of its fields.
import { createHash } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parsePublicKey } from "../../../control/git/public-key.ts";
import { refusal } from "../faults.ts";

const field = (content: Buffer | string): Buffer => {
  const bytes = Buffer.from(content);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
};
const blobOf = (...fields: (Buffer | string)[]) => Buffer.concat(fields.map(field)).toString("base64");
const answer = (type: string, ...fields: (Buffer | string)[]) =>
  refusal(() => parsePublicKey(`${type} ${blobOf(type, ...fields)}`)).split(" ")[0];
const bytes = (length: number) => Buffer.alloc(length, 7);
/** An mpint of so many bits. */
const bits = (count: number) => {
  const number = Buffer.alloc(Math.ceil(count / 8) + 1);
  number[1] = 1 << ((count - 1) % 8);
  return number;
};
const SK_EC = "sk-ecdsa-sha2-nistp256@openssh.com";
const SK_ED = "sk-ssh-ed25519@openssh.com";
const E = bits(17);

const KEYS: [claim: string, type: string, fields: (Buffer | string)[], taken: boolean][] = [
  ["Ed25519", "ssh-ed25519", [bytes(32)], true],
  ["Ed25519 a byte short", "ssh-ed25519", [bytes(31)], false],
  ["Ed25519 a byte long", "ssh-ed25519", [bytes(33)], false],
  ["Ed25519 with something after it", "ssh-ed25519", [bytes(32), "ssh:"], false],
  ["Ed25519 without a key", "ssh-ed25519", [], false],
  ["Ed25519 of a security key", SK_ED, [bytes(32), "ssh:"], true],
  ["the same without an application", SK_ED, [bytes(32)], false],
  ["with an empty one", SK_ED, [bytes(32), ""], false],
  ["with the longest", SK_ED, [bytes(32), bytes(256)], true],
  ["with one too long", SK_ED, [bytes(32), bytes(257)], false],
  ["with something after it", SK_ED, [bytes(32), "ssh:", "x"], false],
  ["a point of the curve P-256", "ecdsa-sha2-nistp256", ["nistp256", bytes(65)], true],
  ["P-384", "ecdsa-sha2-nistp384", ["nistp384", bytes(97)], true],
  ["P-521", "ecdsa-sha2-nistp521", ["nistp521", bytes(133)], true],
  ["a point a byte short", "ecdsa-sha2-nistp256", ["nistp256", bytes(64)], false],
  ["a point a byte long", "ecdsa-sha2-nistp384", ["nistp384", bytes(98)], false],
  ["a point of another curve", "ecdsa-sha2-nistp256", ["nistp384", bytes(97)], false],
  ["a point with something after it", "ecdsa-sha2-nistp256", ["nistp256", bytes(65), "ssh:"], false],
  ["a curve without a point", "ecdsa-sha2-nistp256", ["nistp256"], false],
  ["a point of a security key", SK_EC, ["nistp256", bytes(65), "ssh:"], true],
  ["the same without an application", SK_EC, ["nistp256", bytes(65)], false],
  ["with something after it", SK_EC, ["nistp256", bytes(65), "ssh:", "x"], false],
  ["RSA of 4096 bits", "ssh-rsa", [E, bits(4096)], true],
  ["RSA of 2048 bits", "ssh-rsa", [E, bits(2048)], true],
  ["RSA of 2047 bits", "ssh-rsa", [E, bits(2047)], false],
  ["RSA with the exponent 1", "ssh-rsa", [Buffer.from([1]), bits(2048)], false],
  ["RSA with the exponent 3", "ssh-rsa", [Buffer.from([3]), bits(2048)], true],
  ["RSA with the exponent 0", "ssh-rsa", [Buffer.from([0]), bits(2048)], false],
  ["RSA with something after it", "ssh-rsa", [E, bits(2048), "x"], false],
  ["RSA without a modulus", "ssh-rsa", [E], false],
  ["DSA", "ssh-dss", [bits(1024), bits(160), E, bits(1000)], false],
];
for (const [claim, type, fields, taken] of KEYS)
  test(`${claim} is ${taken ? "taken" : "refused"}`, () =>
    assert.is(answer(type, ...fields), taken ? "fine" : "invalid"));

test("a key is known by its kind, its bytes and the sha256 of them, and its comment is kept", () => {
  const blob = blobOf("ssh-ed25519", bytes(32));
  const key = parsePublicKey(`ssh-ed25519 ${blob} ann@box\n`);
  const fingerprint = createHash("sha256").update(Buffer.from(blob, "base64")).digest("base64").replace(/=+$/, "");
  assert.equal(key, { type: "ssh-ed25519", blob, fingerprint: `SHA256:${fingerprint}`, comment: "ann@box" });
  assert.is(parsePublicKey(`ssh-ed25519 ${blob}`).comment, "");
});

test("an RSA key too short or too long hears how long one may be", () => {
  const of = (count: number) => refusal(() => parsePublicKey(`ssh-rsa ${blobOf("ssh-rsa", E, bits(count))}`));
  assert.is(of(16_384), "fine");
  for (const count of [1_024, 16_385])
    assert.is(
      of(count),
      `invalid an RSA key of ${count} bits; 2048 to 16384 are taken: ssh-keygen -t ed25519 makes a better one`,
    );
});

test("a kind that is not the blob's, a field cut short and text that is no base64 are refused", () => {
  const blob = blobOf("ssh-ed25519", bytes(32));
  const cut = Buffer.from(blob, "base64").subarray(0, -1).toString("base64");
  for (const line of [
    `ssh-rsa ${blob}`,
    `ssh-ed25519 ${cut}`,
    `ssh-ed25519 ${blob}!`,
    "ssh-ed25519",
    "",
    blob,
    `x ssh-ed25519 ${blob}`,
  ])
    assert.match(
      refusal(() => parsePublicKey(line)),
      /^invalid /,
      line,
    );
});

test.run();
