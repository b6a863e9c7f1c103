// time limit: 60 s
// What is taken as a certificate: pure rule, over certificates that openssl made.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { checkCertificate } from "../../../control/routing/certificate.ts";
import { makeCertificate } from "./certificates.ts";

const NOW = new Date();
const DAY_MS = 86_400_000;
const root = await makeCertificate({ ca: true, subject: "/CN=Test Root" });
const middle = await makeCertificate({ ca: true, by: root, subject: "/CN=Test Issuer" });
const leaf = await makeCertificate({ names: ["a.test", "*.b.test"], by: middle });
const alone = await makeCertificate({ names: ["a.test"] });

test("a chain is taken with its facts, the root left out, the key as PKCS #8", () => {
  const { facts, keyPem } = checkCertificate(leaf.certificate + middle.certificate + root.certificate, leaf.key, NOW);
  assert.equal(facts.names, ["a.test", "*.b.test"]);
  assert.is(facts.issuer, "CN=Test Issuer");
  assert.is(facts.keyType, "EC prime256v1");
  assert.is(facts.chainLength, 2);
  assert.not.match(facts.chain, "PRIVATE");
  assert.match(facts.sha256, /^[0-9a-f]{64}$/);
  assert.match(keyPem, /^-----BEGIN PRIVATE KEY-----/);
});

test("one that is signed by itself is taken, as is one without its issuers", () => {
  assert.is(checkCertificate(alone.certificate, alone.key, NOW).facts.chainLength, 1);
  assert.is(checkCertificate(leaf.certificate, leaf.key, NOW).facts.chainLength, 1);
});

test("line ends of Windows, words between the blocks and a key in the older form are taken", async () => {
  const rsa = await makeCertificate({ names: ["r.test"], key: ["rsa", "rsa_keygen_bits:2048"] });
  const text = `Bag Attributes\r\n${rsa.certificate.replaceAll("\n", "\r\n")}`;
  assert.is(checkCertificate(text, rsa.key.replaceAll("\n", "\r\n"), NOW).facts.keyType, "RSA 2048");
});

const weakRsa = await makeCertificate({ names: ["a.test"], key: ["rsa", "rsa_keygen_bits:1024"] });
const oddCurve = await makeCertificate({ names: ["a.test"], key: ["EC", "ec_paramgen_curve:secp256k1"] });
const sha1 = await makeCertificate({ names: ["a.test"], digest: "sha1" });
const old = await makeCertificate({
  names: ["a.test"],
  from: new Date(NOW.getTime() - 9 * DAY_MS),
  to: new Date(NOW.getTime() - DAY_MS),
});
const early = await makeCertificate({
  names: ["a.test"],
  from: new Date(NOW.getTime() + DAY_MS),
  to: new Date(NOW.getTime() + 9 * DAY_MS),
});
const nameless = await makeCertificate({ subject: "/CN=a.test" });
const client = await makeCertificate({ names: ["a.test"], usage: "clientAuth" });
const impostor = await makeCertificate({ ca: true, by: root, subject: "/CN=Test Issuer" });
const notIssuer = await makeCertificate({ names: ["b.test"], by: leaf });

for (const [what, chain, key, why] of [
  ["the key of another", leaf.certificate, alone.key, /key does not belong to the certificate/],
  ["the two swapped", leaf.key, leaf.certificate, /the key is a certificate; were the two swapped/],
  ["no key", leaf.certificate, "", /not a PEM private key/],
  [
    "a broken key",
    leaf.certificate,
    "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    /cannot be read/,
  ],
  [
    "a key with a passphrase",
    leaf.certificate,
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----",
    /has a passphrase; take it off first/,
  ],
  ["two keys", leaf.certificate, leaf.key + alone.key, /more than one private key/],
  ["no certificate", "hello", leaf.key, /holds no PEM certificate/],
  ["the key in the chain too", leaf.certificate + leaf.key, leaf.key, /the chain holds a private key/],
  [
    "a broken certificate",
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    leaf.key,
    /certificate 1 of the chain cannot be read/,
  ],
  [
    "the issuer first",
    middle.certificate + leaf.certificate,
    leaf.key,
    /own certificate comes first, here it is number 2/,
  ],
  [
    "issuers out of order",
    leaf.certificate + root.certificate + middle.certificate,
    leaf.key,
    /after certificate 1 comes its issuer, which is number 3/,
  ],
  [
    "a stranger in the chain",
    leaf.certificate + alone.certificate,
    leaf.key,
    /did not issue certificate 1; needed there: CN=Test Issuer/,
  ],
  [
    "one with its issuer's name and another key",
    leaf.certificate + impostor.certificate,
    leaf.key,
    /certificate 2 of the chain did not issue certificate 1; needed there: CN=Test Issuer/,
  ],
  [
    "its issuer behind one that has the name alone",
    leaf.certificate + impostor.certificate + middle.certificate,
    leaf.key,
    /after certificate 1 comes its issuer, which is number 3/,
  ],
  [
    "an issuer that may not issue",
    notIssuer.certificate + leaf.certificate,
    notIssuer.key,
    /certificate 2 of the chain is not one that may issue/,
  ],
  ["an ended one", old.certificate, old.key, /expired at \d{4}-/],
  ["one of tomorrow", early.certificate, early.key, /valid only from \d{4}-/],
  ["a short RSA key", weakRsa.certificate, weakRsa.key, /RSA key of 1024 bits, 2048 are the least/],
  ["a curve browsers lack", oddCurve.certificate, oddCurve.key, /curve secp256k1; P-256/],
  ["SHA-1", sha1.certificate, sha1.key, /SHA1, which clients refuse/],
  ["no name", nameless.certificate, nameless.key, /names no domain \(subjectAltName\)/],
  ["one for clients only", client.certificate, client.key, /not for servers/],
  ["ten in a chain", alone.certificate.repeat(10), alone.key, /holds 10 certificates, 8 are the most/],
] as const)
  test(`refused in words: ${what}`, () => {
    try {
      checkCertificate(chain, key, NOW);
      assert.unreachable("taken");
    } catch (error) {
      assert.ok(isFault(error, "invalid"), String(error));
      assert.match((error as Error).message, why);
      const secret = leaf.key.split("\n")[1]!;
      assert.not.match(JSON.stringify(error) + (error as Error).stack, secret);
    }
  });

test("what HAProxy could not take in one piece is refused", async () => {
  const names = Array.from({ length: 90 }, (_, n) => `${"x".repeat(60)}.${"y".repeat(60)}.${n}.test`);
  const large = await makeCertificate({ names, subject: "/CN=large" });
  assert.throws(() => checkCertificate(large.certificate, large.key, NOW), /over 14336 bytes/);
});

test.run();
