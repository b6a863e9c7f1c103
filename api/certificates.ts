// Certificates that people bring for their domains. The private key goes in and never comes out again: no reply has it.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { Domain } from "./routes.ts";
import { Id, listOf, Nothing, object, PageQuery, Time } from "./schema.ts";

/** Chain and key together, so that a router can hand them to HAProxy through one buffer. */
export const CERTIFICATE_BYTES = 14_336;
const Pem = (description: string) => Type.String({ minLength: 1, maxLength: CERTIFICATE_BYTES, description });

export const Certificate = object({
  id: Id,
  names: Type.Array(Domain, { description: "Its DNS names; TLS clients that ask for one of them are shown it." }),
  issuer: Type.String(),
  keyType: Type.String({ description: "Such as RSA 2048 or EC prime256v1." }),
  notBefore: Time,
  notAfter: Time,
  sha256: Type.String({ description: "Fingerprint of the first certificate, hex." }),
  chainLength: Type.Integer({ description: "Certificates sent to clients, the first included." }),
  chain: Type.String({ description: "PEM as it is sent to clients." }),
  createdAt: Time,
  updatedAt: Time,
});
export type Certificate = Static<typeof Certificate>;

const Upload = object({
  chain: Pem("PEM: the domain's own certificate first, then each issuer; the root may be left out."),
  key: Pem("PEM private key without a passphrase. Sealed at rest, given to routers only, never shown again."),
});

/** By its id, or by a name it is for. */
const CertificateParams = object({ id: Type.String({ maxLength: 253, pattern: "^[a-zA-Z0-9*._-]+$" }) });
export const listCertificates = endpoint({
  id: "listCertificates",
  method: "GET",
  path: "/v1/certificates",
  summary: "List certificates",
  permission: "app:read",
  query: object(PageQuery),
  reply: listOf(Certificate),
});
export const createCertificate = endpoint({
  id: "createCertificate",
  method: "POST",
  idempotent: true,
  path: "/v1/certificates",
  location: "/v1/certificates/{id}",
  summary: "Add a certificate and its key; routers show it for its names at once. A name another one has is a conflict",
  permission: "app:write",
  status: 201,
  body: Upload,
  reply: Certificate,
});
export const getCertificate = endpoint({
  id: "getCertificate",
  method: "GET",
  path: "/v1/certificates/:id",
  summary: "Show a certificate, by its id or one of its names; never its key",
  permission: "app:read",
  versioned: true,
  params: CertificateParams,
  reply: Certificate,
});
export const updateCertificate = endpoint({
  id: "updateCertificate",
  method: "PATCH",
  path: "/v1/certificates/:id",
  summary: "Replace a certificate and its key, as at a renewal; no connection is interrupted",
  permission: "app:write",
  versioned: true,
  conditional: true,
  params: CertificateParams,
  body: Upload,
  reply: Certificate,
});
export const deleteCertificate = endpoint({
  id: "deleteCertificate",
  method: "DELETE",
  path: "/v1/certificates/:id",
  summary: "Remove a certificate and its key; its names get the routers' own certificate, which no browser trusts",
  permission: "app:write",
  conditional: true,
  params: CertificateParams,
  reply: Nothing,
});
