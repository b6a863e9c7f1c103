// After a restore the state names keys as old as the backup: whoever has renewed since then shows a certificate that it does not know. One
// that this cluster's authority issued between that state and the restore is taken again, the newest only, so that a restore locks
// nobody out. What was issued earlier and is not on record was replaced or refused before, and stays refused.
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

/** Pure. A state whose time is not known lets nobody in. */
export function isRecovered(
  restored: Pick<Quarantine, "restoredAt" | "at"> | undefined,
  recoveredFrom: string | undefined,
  issuedMs: number,
): boolean {
  if (restored?.at === undefined) return false;
  return issuedMs > Date.parse(recoveredFrom ?? restored.at) && issuedMs <= Date.parse(restored.restoredAt);
}

/** True when it is this member's key from now on. */
export function recoverKey(store: Store, entry: Entry<HostRecord | MemberRecord>, shown: Shown): boolean {
  const { key, value, version } = entry;
  const restored = quarantineOf(store);
  if (!isRecovered(restored, value.recoveredFrom, shown.issuedMs)) return false;
  const { next: _, ...record } = value;
  const recovered = { keySha256: shown.keySha256, recoveredFrom: new Date(shown.issuedMs).toISOString() };
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
