// Certificates in the store: facts in the clear, the private key sealed. A name belongs to one certificate, so which one a
// client is shown never depends on the order of anything.
import type { Certificate } from "#api/certificates.ts";
import { Fault } from "#api/fault.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Entry } from "../store/entry.ts";
import type { Store } from "../store/store.ts";
import type { Claim } from "./claims.ts";

export interface CertificateRecord extends Certificate {
  sealedKey: string;
}

/** What its key is sealed for (secrets). */
export const certificateOwner = (id: string): string => `certificate ${id}`;

/** What may be shown of it. */
export function shown({ sealedKey: _, ...certificate }: CertificateRecord): Certificate {
  return certificate;
}

/** By id, or by one of its names. */
export function findCertificate(store: Store, idOrName: string): Entry<CertificateRecord> {
  const id = store.get<string>(keys.certificateName(idOrName.toLowerCase()))?.value ?? idOrName;
  const entry = store.get<CertificateRecord>(keys.certificate(id));
  if (entry === undefined) throw new Fault("not-found", `no certificate ${idOrName}`);
  return entry;
}

export function allCertificates(store: Store): Entry<CertificateRecord>[] {
  return store.list<CertificateRecord>(PREFIX.certificates);
}

/** The changes that keep `next`, in the place of `before` if there is one. Fault `conflict` when another one has a name of it. */
export function certificateChanges(store: Store, next: CertificateRecord, before?: Entry<CertificateRecord>): Claim {
  const claims = next.names.map((name) => ({ name, entry: store.get<string>(keys.certificateName(name)) }));
  const taken = claims.find(({ entry }) => entry !== undefined && entry.value !== next.id);
  if (taken)
    throw new Fault(
      "conflict",
      `${taken.name} has a certificate already, ${taken.entry!.value}: replace it (flynn cert update) or remove it first`,
      { details: { certificate: taken.entry!.value } },
    );
  const gone = (before?.value.names ?? []).filter((name) => !next.names.includes(name));
  const fresh = claims.filter(({ entry }) => entry === undefined).map(({ name }) => keys.certificateName(name));
  return {
    mutations: [
      { key: keys.certificate(next.id), value: next },
      ...fresh.map((key) => ({ key, value: next.id })),
      ...gone.map((name) => ({ key: keys.certificateName(name), value: null })),
    ],
    expect: [
      { key: keys.certificate(next.id), version: before?.version ?? 0 },
      ...fresh.map((key) => ({ key, version: 0 })),
    ],
  };
}
