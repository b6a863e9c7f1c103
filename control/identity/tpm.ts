// Quotes of TPMs, verified: TPM 2.0 Library, part 2 (structures). Pure; every length is doubted, since a joiner wrote it.
import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { quoteNonce, type TpmQuote, tpmIdOf } from "#api/tpm.ts";

/** Which TPM made the quote, or in words why it is none for this token. */
export type Quoted = { tpmId: string } | { wrong: string };

const GENERATED = 0xff544347; // TPM_GENERATED_VALUE: a restricted key signs it for nobody but the TPM itself
const ATTEST_QUOTE = 0x8018;
const [ECC, ECDSA, SHA256, P256, NULL] = [0x0023, 0x0018, 0x000b, 0x0003, 0x0010];
/** fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign; and not decrypt. */
const NEEDED = (1 << 1) | (1 << 4) | (1 << 5) | (1 << 16) | (1 << 18);
const DECRYPT = 1 << 17;

export function readQuote({ key, attest, signature }: TpmQuote, token: string): Quoted {
  try {
    const area = Buffer.from(key, "base64");
    const signed = Buffer.from(attest, "base64");
    const publicKey = attestationKey(area);
    const ieee = signatureOf(Buffer.from(signature, "base64"));
    if (!verify("sha256", signed, { key: publicKey, dsaEncoding: "ieee-p1363" }, ieee))
      return { wrong: "its quote is not signed by the key that comes with it" };
    const at = reader(signed);
    if (at.uint32() !== GENERATED || at.uint16() !== ATTEST_QUOTE) return { wrong: "what its TPM signed is no quote" };
    at.sized(); // the signer's name
    if (at.sized().toString("hex") !== quoteNonce(token)) return { wrong: "its quote is of another boot" };
    return { tpmId: tpmIdOf(area) };
  } catch (error) {
    if (error instanceof Malformed) return { wrong: `its quote cannot be read: ${error.message}` };
    throw error;
  }
}

class Malformed extends Error {}

function attestationKey(area: Buffer): KeyObject {
  const at = reader(reader(area).sized());
  const [type, nameAlg, attributes] = [at.uint16(), at.uint16(), at.uint32()];
  at.sized(); // no policy
  const [symmetric, scheme, hash, curve, kdf] = [at.uint16(), at.uint16(), at.uint16(), at.uint16(), at.uint16()];
  const isOurs = type === ECC && nameAlg === SHA256 && scheme === ECDSA && hash === SHA256 && curve === P256;
  if (!isOurs || symmetric !== NULL || kdf !== NULL) throw new Malformed("its key is of another kind");
  if ((attributes & NEEDED) !== NEEDED || (attributes & DECRYPT) !== 0)
    throw new Malformed("its key may leave the TPM, or sign what the TPM did not make");
  const [x, y] = [padded(at.sized()), padded(at.sized())];
  try {
    const jwk = { kty: "EC", crv: "P-256", x: x.toString("base64url"), y: y.toString("base64url") };
    return createPublicKey({ key: jwk, format: "jwk" });
  } catch {
    throw new Malformed("its key is no point of the curve");
  }
}

function signatureOf(bytes: Buffer): Buffer {
  const at = reader(bytes);
  if (at.uint16() !== ECDSA || at.uint16() !== SHA256) throw new Malformed("its signature is of another kind");
  return Buffer.concat([padded(at.sized()), padded(at.sized())]);
}

/** The TPM leaves leading zeros out. */
function padded(number: Buffer): Buffer {
  if (number.length > 32) throw new Malformed("a number is too long");
  return Buffer.concat([Buffer.alloc(32 - number.length), number]);
}

function reader(bytes: Buffer) {
  let at = 0;
  const take = (length: number): Buffer => {
    if (at + length > bytes.length) throw new Malformed("it ends too early");
    at += length;
    return bytes.subarray(at - length, at);
  };
  const uint16 = () => take(2).readUInt16BE();
  return { uint16, uint32: () => take(4).readUInt32BE(), sized: () => take(uint16()) };
}
