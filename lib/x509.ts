// Keys, certificate requests and fingerprints: ECDSA P-256 (RFC 5480), PKCS #10 (RFC 2986).
import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  webcrypto,
  X509Certificate,
} from "node:crypto";

export const KEY_ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** What writes certificates and requests: 18 MB in memory, loaded by those who do, when they do. */
export async function x509Writer(): Promise<typeof import("@peculiar/x509")> {
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  x509.cryptoProvider.set(webcrypto as never);
  return x509;
}

/** A fresh private key, PKCS #8 PEM. */
export function newKeyPem(): string {
  return generateKeyPairSync("ec", { namedCurve: "prime256v1" })
    .privateKey.export({ type: "pkcs8", format: "pem" })
    .toString();
}

/** WebCrypto key pair of a private key in PEM. */
export async function importKeyPair(keyPem: string): Promise<webcrypto.CryptoKeyPair> {
  const der = (text: string) => Buffer.from(text.replace(/-----[^-]+-----|\s/g, ""), "base64");
  const publicPem = createPublicKey(keyPem).export({ type: "spki", format: "pem" }).toString();
  const [privateKey, publicKey] = await Promise.all([
    webcrypto.subtle.importKey("pkcs8", der(keyPem), KEY_ALGORITHM, true, ["sign"]),
    webcrypto.subtle.importKey("spki", der(publicPem), KEY_ALGORITHM, true, ["verify"]),
  ]);
  return { privateKey, publicKey };
}

/** A PKCS #10 request for `commonName`, PEM; names in the certificate are chosen by the signer, not by it. */
export async function newCsr(keyPem: string, commonName: string): Promise<string> {
  const x509 = await x509Writer();
  const keys = await importKeyPair(keyPem);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [commonName] }],
    keys: keys as never,
    signingAlgorithm: KEY_ALGORITHM,
  });
  return request.toString("pem");
}

/** The pin people copy: sha256 of a certificate's DER, base64. */
export function certificatePin(pem: string): string {
  return createHash("sha256").update(new X509Certificate(pem).raw).digest("base64");
}

export function publicKeyOf(certificatePem: string): KeyObject {
  return new X509Certificate(certificatePem).publicKey;
}
