// Renewal: a member asks for a certificate of its next key. Both keys are good until the next one is first used, which proves
// that the member has it; there is no time limit on that, since a control or member that was off meanwhile would make it a lock-out.
import { Fault } from "#api/fault.ts";
import type { RenewReply } from "#api/members.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import type { HostRecord, MemberRecord } from "../records.ts";
import { MEMBER_KEY, type Principal } from "./principal.ts";

export async function renewMember(context: Context, principal: Principal, csrPem: string): Promise<RenewReply> {
  const { store, authority, config, now, log } = context;
  if (principal.kind !== "member") throw new Error("only members renew");
  const { role, id, keySha256 } = principal;
  const issued = await authority.issueMember({ role, id, csrPem, days: config.memberCertificateDays });
  const { certificate, expiresAt, publicKeyPem } = issued;

  // In one turn with the commit: it may have been removed, or have joined anew, while the certificate was made.
  const entry = store.get<HostRecord | MemberRecord>(MEMBER_KEY[role](id));
  if (entry === undefined || entry.value.keySha256 !== keySha256)
    throw new Fault("unauthenticated", `the certificate of ${role} ${id} is not good any more; join again`);
  const renewed = {
    type: `${role}.renewed`,
    subject: id,
    actor: role,
    message: `${principal.name} got a new certificate, good until ${expiresAt}`,
  };
  if (issued.keySha256 !== keySha256) {
    const isRepeated = issued.keySha256 === entry.value.next?.keySha256;
    await store.commit({
      actor: principal.name,
      expect: [{ key: entry.key, version: entry.version }],
      mutations: [
        // Written again when repeated, so that the answer waits until it is on disk.
        { key: entry.key, value: { ...entry.value, next: { keySha256: issued.keySha256, publicKeyPem } } },
        ...(isRepeated ? [] : eventChanges(store, now(), renewed)),
      ],
    });
    log.info({ id, role, expiresAt }, "member certificate renewed");
  }
  return { certificate, expiresAt, caPem: authority.caPem };
}
