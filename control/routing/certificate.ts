// Whether a chain and key that somebody brings can be served, and what they say of themselves. Refused with the reason and
// what to do: a wrong order, a key of another certificate, what has expired, and what HAProxy's OpenSSL (security level 2)
// would refuse: short keys and SHA-1.
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { CERTIFICATE_BYTES, type Certificate } from "#api/certificates.ts";
import { Fault } from "#api/fault.ts";
import { DOMAIN_PATTERN } from "#api/routes.ts";

export type CertificateFacts = Omit<Certificate, "id" | "createdAt" | "updatedAt">;
export interface Checked {
  facts: CertificateFacts;
  /** PKCS #8 PEM. */
  keyPem: string;
}

const SKEW_MS = 5 * 60_000; // a certificate issued a moment ago by a clock slightly ahead of ours
const CHAIN_MOST = 8;
const NAMES_MOST = 100;
const RSA_LEAST_BITS = 2048;
const CURVES = new Set(["prime256v1", "secp384r1", "secp521r1"]);
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const DOMAIN = new RegExp(DOMAIN_PATTERN);

export function checkCertificate(chainText: string, keyText: string, now: Date): Checked {
  const key = readKey(keyText);
  const chain = readChain(chainText);
  const [leaf] = orderOf(chain, key);
  const sent = dropRoot(chain);
  for (const [n, certificate] of sent.entries()) checkOne(certificate, n, now);
  if (leaf.keyUsage !== undefined && leaf.keyUsage.length > 0 && !leaf.keyUsage.includes(SERVER_AUTH))
    refuse("chain", "the certificate is not for servers (its extended key usage lacks serverAuth)");
  const names = namesOf(leaf);
  const pem = sent.map((certificate) => certificate.toString().trim()).join("\n");
  const keyPem = key.export({ type: "pkcs8", format: "pem" }).toString();
  if (Buffer.byteLength(pem) + Buffer.byteLength(keyPem) > CERTIFICATE_BYTES)
    refuse("chain", `chain and key together are over ${CERTIFICATE_BYTES} bytes; leave out what clients do not need`);
  return {
    keyPem,
    facts: {
      names,
      issuer: oneLine(leaf.issuer),
      keyType: keyType(leaf.publicKey),
      notBefore: new Date(leaf.validFrom).toISOString(),
      notAfter: new Date(leaf.validTo).toISOString(),
      sha256: leaf.fingerprint256.replaceAll(":", "").toLowerCase(),
      chainLength: sent.length,
      chain: `${pem}\n`,
    },
  };
}

function refuse(field: "chain" | "key", message: string): never {
  throw new Fault("invalid", message, { details: { field } });
}

function readKey(text: string): KeyObject {
  const blocks = text.match(/-----BEGIN [A-Z ]*PRIVATE KEY-----/g) ?? [];
  if (blocks.length === 0)
    refuse(
      "key",
      text.includes("BEGIN CERTIFICATE")
        ? "the key is a certificate; were the two swapped?"
        : "the key is not a PEM private key",
    );
  if (blocks.length > 1) refuse("key", "the key file holds more than one private key");
  if (/ENCRYPTED/.test(text))
    refuse("key", "the key has a passphrase; take it off first: openssl pkey -in KEY -out PLAIN");
  try {
    return createPrivateKey(text);
  } catch {
    return refuse("key", "the private key cannot be read"); // OpenSSL's own words could hold parts of it
  }
}

function readChain(text: string): X509Certificate[] {
  if (/BEGIN [A-Z ]*PRIVATE KEY/.test(text)) refuse("chain", "the chain holds a private key; give it as the key only");
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) refuse("chain", "the chain holds no PEM certificate");
  if (blocks.length > CHAIN_MOST)
    refuse("chain", `the chain holds ${blocks.length} certificates, ${CHAIN_MOST} are the most`);
  return blocks.map((block, n) => {
    try {
      return new X509Certificate(block);
    } catch {
      return refuse("chain", `certificate ${n + 1} of the chain cannot be read`);
    }
  });
}

/** By its signature too: anybody may take the issuer's name. */
const isIssuedBy = (certificate: X509Certificate, issuer: X509Certificate): boolean =>
  certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);

/** The chain, if its first is the key's and each is issued by the next. */
function orderOf(chain: X509Certificate[], key: KeyObject): [X509Certificate, ...X509Certificate[]] {
  const own = chain.findIndex((certificate) => certificate.checkPrivateKey(key));
  if (own < 0) refuse("key", "the key does not belong to the certificate");
  if (own > 0)
    refuse(
      "chain",
      `the chain is in the wrong order: the domain's own certificate comes first, here it is number ${own + 1}`,
    );
  for (let n = 0; n + 1 < chain.length; n++) {
    const [certificate, issuer] = [chain[n]!, chain[n + 1]!];
    if (isIssuedBy(certificate, issuer)) continue;
    const at = chain.findIndex((other) => other !== certificate && isIssuedBy(certificate, other));
    refuse(
      "chain",
      at < 0
        ? `certificate ${n + 2} of the chain did not issue certificate ${n + 1}; needed there: ${oneLine(certificate.issuer)}`
        : `the chain is in the wrong order: after certificate ${n + 1} comes its issuer, which is number ${at + 1}`,
    );
  }
  return chain as [X509Certificate, ...X509Certificate[]];
}

/** Clients have the root themselves; sending it only makes the handshake longer. */
function dropRoot(chain: X509Certificate[]): X509Certificate[] {
  const last = chain.at(-1)!;
  return chain.length > 1 && last.checkIssued(last) ? chain.slice(0, -1) : chain;
}

function checkOne(certificate: X509Certificate, n: number, now: Date): void {
  const which = n === 0 ? "the certificate" : `certificate ${n + 1} of the chain`;
  if (Date.parse(certificate.validTo) <= now.getTime())
    refuse("chain", `${which} expired at ${new Date(certificate.validTo).toISOString()}`);
  if (Date.parse(certificate.validFrom) > now.getTime() + SKEW_MS)
    refuse("chain", `${which} is valid only from ${new Date(certificate.validFrom).toISOString()} on`);
  if (n > 0 && !certificate.ca) refuse("chain", `${which} is not one that may issue others`);
  const weak = weakness(certificate);
  if (weak !== undefined) refuse("chain", `${which} ${weak}`);
}

function weakness({ publicKey, signatureAlgorithm }: X509Certificate): string | undefined {
  const { modulusLength, namedCurve } = publicKey.asymmetricKeyDetails ?? {};
  const type = publicKey.asymmetricKeyType;
  if (type === "rsa" && (modulusLength ?? 0) < RSA_LEAST_BITS)
    return `has an RSA key of ${modulusLength} bits, ${RSA_LEAST_BITS} are the least`;
  if (type === "ec" && !CURVES.has(namedCurve ?? ""))
    return `has a key on the curve ${namedCurve}; P-256 and P-384 work everywhere`;
  if (type !== "rsa" && type !== "ec")
    return `has a key of the type ${type}, which browsers do not take; RSA and EC work`;
  if (/md5|sha1(?!\d)|sha-1$/i.test(signatureAlgorithm ?? ""))
    return `is signed with ${signatureAlgorithm}, which clients refuse`;
  return undefined;
}

function namesOf(leaf: X509Certificate): string[] {
  const names = (leaf.subjectAltName ?? "")
    .split(", ")
    .flatMap((entry) => (entry.startsWith("DNS:") ? [entry.slice("DNS:".length).toLowerCase()] : []))
    .filter((name) => DOMAIN.test(name));
  const unique = [...new Set(names)];
  if (unique.length === 0)
    refuse("chain", "the certificate names no domain (subjectAltName); browsers look nowhere else, not at the CN");
  if (unique.length > NAMES_MOST)
    refuse("chain", `the certificate has ${unique.length} names, ${NAMES_MOST} are the most`);
  return unique;
}

function keyType({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  const { modulusLength, namedCurve } = asymmetricKeyDetails ?? {};
  return `${asymmetricKeyType === "ec" ? "EC" : "RSA"} ${namedCurve ?? modulusLength}`;
}

const oneLine = (name: string): string => name.replace(/[^\x20-\x7e]+/g, ", ").slice(0, 300);
