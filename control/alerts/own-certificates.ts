// How long control's own certificates last.
import { X509Certificate } from "node:crypto";
import type { CertificateLife } from "./rule.ts";

export function controlCertificates(certificatePem: string, caPem: string): CertificateLife[] {
  return [lifeOf("control", "the API", certificatePem), lifeOf("ca", "the cluster's certificate authority", caPem)];
}

function lifeOf(id: string, name: string, pem: string): CertificateLife {
  const { validFromDate, validToDate } = new X509Certificate(pem);
  return { id, name, of: "control", notBefore: validFromDate.toISOString(), notAfter: validToDate.toISOString() };
}
