// After a restore the state names keys as old as the backup: whoever has renewed since then shows a certificate that it does not know. One
// that this cluster's authority issued after the one on record and before the restore is taken again, the newest only, so that a restore
// locks nobody out, nor does a second one. What was issued earlier was replaced or refused before, and stays refused.
import type { Quarantine } from "#api/quarantine.ts";
import { quarantineOf } from "../quarantine.ts";
import type { HostRecord, MemberRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Store } from "../store/store.ts";

export interface Shown {
  keySha256: string;
  /** SPKI PEM. */
  publicKeyPem: string;
  /** When the authority issued the certificate. */
  issuedMs: number;
}

/**
 * `keyIssuedAt`: when the certificate of the key on record was issued. Where that is not known it is by the time of the state, and a state
 * whose time is not known either lets nobody in. Pure.
 */
export function isRecovered(
  restored: Pick<Quarantine, "restoredAt" | "at"> | undefined,
  keyIssuedAt: string | undefined,
  issuedMs: number,
): boolean {
  const after = keyIssuedAt ?? restored?.at;
  if (restored === undefined || after === undefined) return false;
  return issuedMs > Date.parse(after) && issuedMs <= Date.parse(restored.restoredAt);
}

/** True when it is this member's key from now on. */
export function recoverKey(store: Store, entry: Entry<HostRecord | MemberRecord>, shown: Shown): boolean {
  const { key, value, version } = entry;
  const restored = quarantineOf(store);
  if (!isRecovered(restored, value.keyIssuedAt, shown.issuedMs)) return false;
  const { next: _, ...record } = value;
  const recovered = { keySha256: shown.keySha256, keyIssuedAt: new Date(shown.issuedMs).toISOString() };
  const changed =
    "publicKeyPem" in record
      ? { ...record, ...recovered, publicKeyPem: shown.publicKeyPem }
      : { ...record, ...recovered };
  // Nobody waits for the disk: should a crash lose this, it is found again at the next use.
  store
    .commit({ actor: `recovery of ${value.id}`, expect: [{ key, version }], mutations: [{ key, value: changed }] })
    .catch(() => undefined);
  return true;
}
