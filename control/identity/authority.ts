// The cluster's certificate authority: made at first start, kept outside the database, signs what control, hosts, routers
// and boot servers show each other. A member's certificate carries its role and id, never an address it asked for.
import "reflect-metadata";
import { createHash, createPublicKey, randomBytes, webcrypto, X509Certificate } from "node:crypto";
import { mkdir, rename, rm } from "node:fs/promises";
import { isIP } from "node:net";
import { dirname, join } from "node:path";
import * as x509 from "@peculiar/x509";
import { CONTROL_NAME, hostServerName } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import type { JoinRole } from "#api/members.ts";
import { readText, syncDirectory, writeFileAtomic } from "#lib/files.ts";
import { certificatePin, importKeyPair, KEY_ALGORITHM, newKeyPem } from "#lib/x509.ts";

const DAY_MS = 86_400_000;
const YEAR_MS = 365 * DAY_MS;
export const SKEW_MS = 3_600_000;

export interface Issued {
  certificate: string;
  expiresAt: string;
  /** sha256 hex of the public key's SPKI DER. */
  keySha256: string;
  publicKeyPem: string;
}

export interface Authority {
  readonly caPem: string;
  /** What `flynn cluster add -p` takes. */
  readonly pin: string;
  /** Signs a member's request; throws Fault `invalid` when it is not a sound request for an ECDSA P-256 key. */
  issueMember(options: { role: JoinRole; id: string; csrPem: string; days: number }): Promise<Issued>;
  /** A key and certificate for a server or client of control itself, good for these addresses. */
  issueControl(addresses: readonly string[]): Promise<{ key: string; certificate: string }>;
}

export async function openAuthority(directory: string): Promise<Authority> {
  const files = { key: join(directory, "ca.key"), certificate: join(directory, "ca.pem") };
  const [keptKey, keptPem] = await Promise.all([readText(files.key), readText(files.certificate)]);
  if ((keptKey === undefined) !== (keptPem === undefined)) {
    throw new Fault(
      "internal",
      `the certificate authority in ${directory} is incomplete: restore ca.key and ca.pem together from a backup`,
    );
  }
  const keyPem = keptKey ?? newKeyPem();
  const caPem = keptPem ?? (await selfSigned(keyPem));
  if (keptKey === undefined) {
    // Both or neither, whenever the power goes: written beside, and the whole directory renamed.
    const beside = `${directory}.new`;
    await rm(beside, { recursive: true, force: true });
    await mkdir(beside, { recursive: true, mode: 0o700 });
    await writeFileAtomic(join(beside, "ca.key"), keyPem, { mode: 0o600 });
    await writeFileAtomic(join(beside, "ca.pem"), caPem);
    await rename(beside, directory);
    await syncDirectory(dirname(directory));
  }
  const caKeys = await importKeyPair(keyPem);
  const issuer = new x509.X509Certificate(caPem).subject;

  const issue = async (
    publicKey: webcrypto.CryptoKey,
    subject: string,
    names: x509.JsonGeneralNames,
    lifeMs: number,
  ): Promise<string> => {
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serialNumber(),
      issuer,
      subject,
      publicKey: publicKey as never,
      signingKey: caKeys.privateKey as never,
      signingAlgorithm: KEY_ALGORITHM,
      notBefore: new Date(Date.now() - SKEW_MS),
      notAfter: new Date(Date.now() + lifeMs),
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        new x509.SubjectAlternativeNameExtension(names),
      ],
    });
    return certificate.toString("pem");
  };

  return {
    caPem,
    pin: certificatePin(caPem),
    async issueMember({ role, id, csrPem, days }) {
      const publicKey = await requestedKey(csrPem);
      const certificate = await issue(
        publicKey,
        `O=flynn:${role}, CN=${id}`,
        [{ type: "dns", value: hostServerName(id) }],
        days * DAY_MS,
      );
      const parsed = new X509Certificate(certificate);
      return {
        certificate,
        expiresAt: new Date(parsed.validTo).toISOString(),
        keySha256: keyDigest(parsed),
        publicKeyPem: parsed.publicKey.export({ type: "spki", format: "pem" }).toString(),
      };
    },
    async issueControl(addresses) {
      const key = newKeyPem();
      const { publicKey } = await importKeyPair(key);
      const names = [...new Set([CONTROL_NAME, "localhost", "127.0.0.1", ...addresses])].map((value) => ({
        type: isIP(value) ? ("ip" as const) : ("dns" as const),
        value,
      }));
      return { key, certificate: await issue(publicKey, "O=flynn:control, CN=control", names, YEAR_MS) };
    },
  };
}

/** sha256 hex of a certificate's public key: what ties an id to the one key that may use it. */
export function keyDigest(certificate: X509Certificate): string {
  return createHash("sha256")
    .update(certificate.publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");
}

async function selfSigned(keyPem: string): Promise<string> {
  const keys = await importKeyPair(keyPem);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `O=Flynn, CN=Flynn cluster CA ${randomBytes(4).toString("hex")}`,
    keys: keys as never,
    signingAlgorithm: KEY_ALGORITHM,
    notBefore: new Date(Date.now() - SKEW_MS),
    notAfter: new Date(Date.now() + 10 * YEAR_MS),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  return certificate.toString("pem");
}

async function requestedKey(csrPem: string): Promise<webcrypto.CryptoKey> {
  try {
    const request = new x509.Pkcs10CertificateRequest(csrPem);
    if (!(await request.verify())) throw new Error("its signature is wrong");
    const spki = Buffer.from(request.publicKey.rawData);
    const details = createPublicKey({ key: spki, format: "der", type: "spki" });
    if (details.asymmetricKeyDetails?.namedCurve !== "prime256v1") throw new Error("its key is not ECDSA P-256");
    return await webcrypto.subtle.importKey("spki", spki, KEY_ALGORITHM, true, ["verify"]);
  } catch (cause) {
    throw new Fault("invalid", "the certificate request is not sound", { cause });
  }
}

/** 127 random bits, positive (RFC 5280, 4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0]! &= 0x7f;
  bytes[0]! |= 0x01;
  return bytes.toString("hex");
}
