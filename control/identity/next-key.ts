// The moment a renewed certificate is first used: its key becomes the member's one key, and the one before is refused.
import type { HostRecord, MemberRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Store } from "../store/store.ts";

/** A boot server's grants are good for half an hour; those signed just before a renewal are kept good. */
const FORMER_KEY_MS = 3_600_000;

/** From this turn on the next key is the only one: that it was used proves that the member has it. */
export function useNextKey(
  store: Store,
  { key, value, version }: Entry<HostRecord | MemberRecord>,
  issuedMs: number,
): void {
  const { next, ...former } = value;
  if (next === undefined) return;
  const record = { ...former, keyIssuedAt: new Date(issuedMs).toISOString() };
  const until = new Date(Date.now() + FORMER_KEY_MS).toISOString();
  const changed =
    "publicKeyPem" in record
      ? { ...record, ...next, former: { publicKeyPem: record.publicKeyPem, until } }
      : { ...record, keySha256: next.keySha256 };
  // Nobody waits for the disk: should a crash lose this, both keys are good until the next use.
  store
    .commit({ actor: `renewal of ${value.id}`, expect: [{ key, version }], mutations: [{ key, value: changed }] })
    .catch(() => undefined);
}

/** Public keys that a boot server's grants may be signed with: its own, the next one, and for a while the one before. */
export function grantKeys({ publicKeyPem, next, former }: MemberRecord, now: Date): string[] {
  const before = former && Date.parse(former.until) > now.getTime() ? [former.publicKeyPem] : [];
  return [publicKeyPem, ...(next ? [next.publicKeyPem] : []), ...before];
}
