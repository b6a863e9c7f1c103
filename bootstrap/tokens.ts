// Boot tokens: one per boot, bound to one machine and one network card, each path good once. A second request for the same
// path within 60 s from the same address is a retry; anything later is a replay, anything from elsewhere is foreign.
// Kept on disk by hash, so a restart of the boot server neither breaks a running boot nor forgets a used token.
import { createHash } from "node:crypto";
import { newId, newSecret } from "#lib/ids.ts";

export interface BootRecord {
  bootId: string;
  machineId: string;
  imageId: string;
  mac: string;
  /** Where the script was fetched from; `hardware` is the neighbour's MAC when it is on our own wire. */
  address: string;
  hardware?: string;
  tokenHash: string;
  mintedAtMs: number;
  /** Path to when and how often it was fetched. */
  uses: Record<string, { firstAtMs: number; count: number }>;
  revoked?: boolean;
}

export interface Source {
  address: string;
  hardware?: string | undefined;
}

export type Use =
  | { ok: true; boot: BootRecord; first: boolean }
  | { ok: false; status: 403 | 410; reason: string; boot?: BootRecord };

export interface Tokens {
  /** A new boot of this machine; its older tokens end here. The token is returned once and kept only as a hash. */
  mint(of: {
    machineId: string;
    imageId: string;
    mac: string;
    source: Source;
  }): Promise<{ token: string; boot: BootRecord }>;
  /** One fetch of `path`; durable before it resolves. */
  use(token: string, path: string, source: Source): Promise<Use>;
  /** A sign of life with this token: any number, while it lives. */
  check(token: string, source: Source): Use;
  /** The newest live boot of this source, for what carries no token (kernel, initrd, squashfs). */
  bootAt(source: Source): BootRecord | undefined;
  boots(): BootRecord[];
  replay(record: BootRecord): void;
}

export interface TokensOptions {
  save: (record: BootRecord) => Promise<void>;
  ttlMs?: number;
  retryMs?: number;
  nowMs?: () => number;
}

export const TOKEN_PATTERN = /^[A-Za-z0-9_-]{43}$/;
const KEPT_AFTER_END_MS = 3_600_000; // a replay is recognised as one for so long

export function createTokens({ save, ttlMs = 15 * 60_000, retryMs = 60_000, nowMs = Date.now }: TokensOptions): Tokens {
  const byHash = new Map<string, BootRecord>();
  const currentOf = new Map<string, BootRecord>();

  function keep(record: BootRecord): void {
    byHash.set(record.tokenHash, record);
    if (!record.revoked) currentOf.set(record.machineId, record);
  }

  function sweep(): void {
    const before = nowMs() - ttlMs - KEPT_AFTER_END_MS;
    for (const [hash, record] of byHash) {
      if (record.mintedAtMs >= before) break; // oldest first
      byHash.delete(hash);
      if (currentOf.get(record.machineId) === record) currentOf.delete(record.machineId);
    }
  }

  function check(token: string, source: Source): Use {
    const boot = TOKEN_PATTERN.test(token) ? byHash.get(hashOf(token)) : undefined;
    if (boot === undefined) return { ok: false, status: 403, reason: "no such token" };
    if (!isBoundTo(boot, source))
      return { ok: false, status: 403, reason: `used from ${source.address}, given to ${boot.address}`, boot };
    if (boot.revoked) return { ok: false, status: 410, reason: "a later boot of this machine ended it", boot };
    if (nowMs() > boot.mintedAtMs + ttlMs) return { ok: false, status: 410, reason: "too old", boot };
    return { ok: true, boot, first: false };
  }

  return {
    async mint({ machineId, imageId, mac, source }) {
      sweep();
      const token = newSecret();
      const older = currentOf.get(machineId);
      const boot: BootRecord = {
        bootId: newId("boot", nowMs()),
        machineId,
        imageId,
        mac,
        address: source.address,
        ...(source.hardware === undefined ? {} : { hardware: source.hardware }),
        tokenHash: hashOf(token),
        mintedAtMs: nowMs(),
        uses: {},
      };
      const ended = older && !older.revoked ? { ...older, revoked: true } : undefined;
      if (ended) keep(ended);
      keep(boot);
      await Promise.all([ended && save(ended), save(boot)]);
      return { token, boot };
    },
    async use(token, path, source) {
      const checked = check(token, source);
      if (!checked.ok) return checked;
      const { boot } = checked;
      const used = boot.uses[path];
      const now = nowMs();
      if (used && now > used.firstAtMs + retryMs) return { ok: false, status: 410, reason: "used before", boot };
      if (used && used.count >= 2) return { ok: false, status: 410, reason: "used and retried before", boot };
      boot.uses[path] = { firstAtMs: used?.firstAtMs ?? now, count: (used?.count ?? 0) + 1 };
      await save(boot);
      return { ok: true, boot, first: used === undefined };
    },
    check,
    bootAt(source) {
      let newest: BootRecord | undefined;
      for (const boot of currentOf.values()) {
        if (isBoundTo(boot, source) && (newest === undefined || boot.mintedAtMs > newest.mintedAtMs)) newest = boot;
      }
      return newest && nowMs() <= newest.mintedAtMs + ttlMs ? newest : undefined;
    },
    boots: () => [...byHash.values()],
    replay(record) {
      const before = byHash.get(record.tokenHash);
      if (before && currentOf.get(record.machineId) === before && record.revoked) currentOf.delete(record.machineId);
      keep(record);
    },
  };
}

/**
 * On our own wire the card decides, whatever address it has now (initramfs and system may get another one than the ROM);
 * behind a relay or without a neighbour entry the address does.
 */
function isBoundTo(boot: BootRecord, source: Source): boolean {
  if (boot.hardware !== undefined && source.hardware !== undefined) {
    if (boot.hardware !== source.hardware) return false;
    return source.hardware === boot.mac || source.address === boot.address;
  }
  return source.address === boot.address;
}

function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}
