// Quotes of two TPMs (swtpm 0.7.1 by tpm2-tools 5.4, recorded), verified as control does when a host joins; and a join with --require-tpm.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { quoteNonce, type TpmQuote, tpmIdOf } from "#api/tpm.ts";
import { readQuote } from "../../../control/identity/tpm.ts";

const TOKEN = "fjg_grant-of-one-boot.signature";
const ONE: TpmQuote = {
  key: "AFgAIwALAAUAcgAAABAAGAALAAMAEAAgoVpahur7b+KlB9KSd98g+LlDN+9BQZNgn9/FGwyMheMAIPAkM6EMSJDdhHtvMXYgFYEzxHVOkoSdslCOHQebLwY1",
  attest:
    "/1RDR4AYACIACx65AibEk9gWGo+bHDFCRKUnlaK++/Fxy4M0NG+okz5MACAdQ1tGwl6jXZZOtY3m4HW2uhFBYGXS9t/QIKhZ6fArOQAAAAAAAAJ9AAAAAgAAAAAAIBkQIwAWNjYAAAABAAsDgQAAACD1pf1C0WogMCeY727TCZebQwA9IyDZ8OjqmDGpJ1n7Sw==",
  signature: "ABgACwAgpE866e9nIKED2X4M96La88O5fzD00Y5RnlKl7ROiIWcAIAiRQ/tGrwGlOWmynI5wSXLOyEJzOC1sScyz81x982Ur",
};
const TWO: TpmQuote = {
  key: "AFgAIwALAAUAcgAAABAAGAALAAMAEAAgMzmovvuye+8GLL6PEvRGcn305so9f+wIlPXJ4Uu+CT4AIM3Jm20l/FLxawBkxTDu/SJiFu42MeWfSwcVkN0emQDE",
  attest:
    "/1RDR4AYACIAC7NspL02UnEC2XpRJggAF7FZGRIknND848n94WLAHW2lACAdQ1tGwl6jXZZOtY3m4HW2uhFBYGXS9t/QIKhZ6fArOQAAAAAAAAHzAAAAAgAAAAAAIBkQIwAWNjYAAAABAAsDgQAAACD1pf1C0WogMCeY727TCZebQwA9IyDZ8OjqmDGpJ1n7Sw==",
  signature: "ABgACwAgNldwEdgDs/k8HHYNnFO0SNPN0CewD11I5b+Psbn31kQAIOH9Ov47Qsnp14v/Iqf30E+7EI4XEAFepdyeeeimUAbe",
};
const idOf = ({ key }: TpmQuote) => tpmIdOf(Buffer.from(key, "base64"));
/** The same with one bit of one part turned over. */
const turned = (quote: TpmQuote, part: keyof TpmQuote, bit: number): TpmQuote => {
  const bytes = Buffer.from(quote[part], "base64");
  bytes[(bit >> 3) % bytes.length]! ^= 1 << (bit & 7);
  return { ...quote, [part]: bytes.toString("base64") };
};

test("a TPM's quote over a boot's token says which TPM it is; another TPM is another", () => {
  assert.equal(readQuote(ONE, TOKEN), { tpmId: idOf(ONE) });
  assert.equal(readQuote(TWO, TOKEN), { tpmId: idOf(TWO) });
  assert.is.not(idOf(ONE), idOf(TWO));
  assert.is(quoteNonce(TOKEN), "1d435b46c25ea35d964eb58de6e075b6ba11416065d2f6dfd020a859e9f02b39");
});

test("the quote of another boot, and one signed by another TPM than it names, are none", () => {
  assert.equal(readQuote(ONE, "fjg_another-boot.signature"), { wrong: "its quote is of another boot" });
  assert.match(JSON.stringify(readQuote({ ...ONE, key: TWO.key }, TOKEN)), /not signed by the key/);
  assert.match(JSON.stringify(readQuote({ ...ONE, attest: TWO.attest }, TOKEN)), /not signed by the key/);
  assert.match(JSON.stringify(readQuote({ ...ONE, signature: TWO.signature }, TOKEN)), /not signed by the key/);
});

test("a key that could leave its TPM, or sign what no TPM made, is no attestation key", () => {
  for (const bit of [1, 4, 5, 16, 17, 18]) {
    const bytes = Buffer.from(ONE.key, "base64");
    // objectAttributes: after size, type and nameAlg.
    bytes.writeUInt32BE((bytes.readUInt32BE(6) ^ (1 << bit)) >>> 0, 6);
    const read = readQuote({ ...ONE, key: bytes.toString("base64") }, TOKEN);
    assert.match(JSON.stringify(read), /may leave the TPM, or sign what the TPM did not make/, `bit ${bit}`);
  }
});

test("whatever a joiner sends for a quote is refused in words: any bit turned, cut anywhere, any bytes at all", () => {
  const part = fc.constantFrom("attest" as const, "signature" as const);
  fc.assert(
    fc.property(part, fc.nat(4095), (name, bit) => assert.ok("wrong" in readQuote(turned(ONE, name, bit), TOKEN))),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.nat(4095), (bit) => {
      const read = readQuote(turned(ONE, "key", bit), TOKEN);
      // An attribute that says nothing of where the key is may differ: then it is another TPM.
      assert.ok("wrong" in read || read.tpmId !== idOf(ONE));
    }),
    { numRuns: 300 },
  );
  const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array).toString("base64"));
  fc.assert(
    fc.property(bytes, bytes, bytes, (key, attest, signature) => {
      assert.ok("wrong" in readQuote({ key, attest, signature }, TOKEN));
      assert.ok("wrong" in readQuote({ ...ONE, key: key.slice(0, 60) }, TOKEN));
    }),
    { numRuns: 300 },
  );
});

test.run();
