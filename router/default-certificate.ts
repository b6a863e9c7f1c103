// The certificate that HTTPS shows for names nobody brought one for: self-signed, so that the port answers and no browser
// takes it for more than it is. Made once, and again before it ends.
import { randomBytes, X509Certificate } from "node:crypto";
import { readText, writeFileAtomic } from "#lib/files.ts";
import { importKeyPair, KEY_ALGORITHM, newKeyPem, x509Writer } from "#lib/x509.ts";

const DAY_MS = 86_400_000;
const LIFE_MS = 3_650 * DAY_MS;
const LEAST_MS = 30 * DAY_MS;

/** Makes sure that `file` holds one, with its key. */
export async function ensureDefaultCertificate(file: string, nowMs = Date.now()): Promise<void> {
  if (isGood(await readText(file), nowMs)) return;
  const x509 = await x509Writer();
  const key = newKeyPem();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: `01${randomBytes(15).toString("hex")}`,
    name: "CN=no certificate for this name",
    keys: (await importKeyPair(key)) as never,
    signingAlgorithm: KEY_ALGORITHM,
    notBefore: new Date(nowMs - DAY_MS),
    notAfter: new Date(nowMs + LIFE_MS),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: "dns", value: "router.invalid" }]),
    ],
  });
  await writeFileAtomic(file, `${certificate.toString("pem")}\n${key}`, { mode: 0o600 });
}

function isGood(pem: string | undefined, nowMs: number): boolean {
  try {
    return pem !== undefined && Date.parse(new X509Certificate(pem).validTo) > nowMs + LEAST_MS;
  } catch {
    return false;
  }
}
