// Certificates: added, replaced and removed by people; read by anyone with the right, without the key.
import * as certificates from "#api/certificates.ts";
import { newId } from "#lib/ids.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { keys } from "../keys.ts";
import type { Mount } from "../mount.ts";
import { page } from "../paging.ts";
import { type Checked, checkCertificate } from "../routing/certificate.ts";
import {
  allCertificates,
  type CertificateRecord,
  certificateChanges,
  certificateOwner,
  findCertificate,
  shown,
} from "../routing/certificates.ts";

export function mountCertificates(mount: Mount, { store, now, secrets }: Context): void {
  const recordOf = (id: string, createdAt: string, { facts, keyPem }: Checked): CertificateRecord => ({
    id,
    ...facts,
    createdAt,
    updatedAt: now().toISOString(),
    sealedKey: secrets.seal(keyPem, certificateOwner(id)),
  });
  const event = (type: string, { id, names }: CertificateRecord, actor: string, words: string) =>
    eventChanges(store, now(), {
      type,
      subject: id,
      actor,
      message: `the certificate for ${names.slice(0, 5).join(", ")}${names.length > 5 ? ", …" : ""} ${words}`,
    });

  mount(certificates.listCertificates, ({ query }) => page(allCertificates(store), query, ({ value }) => shown(value)));
  mount(certificates.createCertificate, async ({ body, principal, idempotent, earlier }) => {
    const made = await earlier<certificates.Certificate>();
    if (made !== undefined) return made;
    const record = recordOf(newId("crt"), now().toISOString(), checkCertificate(body.chain, body.key, now()));
    const { mutations, expect } = certificateChanges(store, record);
    const { result } = await store.commit({
      actor: principal.name,
      ...idempotent,
      expect,
      mutations: [...mutations, ...event("certificate.created", record, principal.name, "was added")],
      result: shown(record),
    });
    return result;
  });
  mount(certificates.getCertificate, ({ params, etag }) => {
    const { value, version } = findCertificate(store, params.id);
    etag(version);
    return shown(value);
  });
  mount(certificates.updateCertificate, async ({ params, body, principal, ifMatch, etag }) => {
    const entry = findCertificate(store, params.id);
    const before = { ...entry, version: ifMatch ?? entry.version };
    const record = recordOf(before.value.id, before.value.createdAt, checkCertificate(body.chain, body.key, now()));
    const { mutations, expect } = certificateChanges(store, record, before);
    const events = event("certificate.replaced", record, principal.name, "was replaced");
    const { seq } = await store.commit({ actor: principal.name, expect, mutations: [...mutations, ...events] });
    etag(seq);
    return shown(record);
  });
  mount(certificates.deleteCertificate, async ({ params, principal, ifMatch }) => {
    const { key, value, version } = findCertificate(store, params.id);
    await store.commit({
      actor: principal.name,
      expect: [{ key, version: ifMatch ?? version }],
      mutations: [
        { key, value: null },
        ...value.names.map((name) => ({ key: keys.certificateName(name), value: null })),
        ...event("certificate.removed", value, principal.name, "was removed"),
      ],
    });
    return {};
  });
}
