// Boot tokens: one per boot, bound to one machine and to the card and address its script went to. cloud-init may fetch its seed as
// often as it needs to while the token lives; the boot's join uses it up, a later boot of the machine ends it.
// Kept on disk by hash, so a restart of the boot server neither breaks a running boot nor forgets an ended token.
import { createHash } from "node:crypto";
import type { BootCode } from "#api/boot-codes.ts";
import { newId, newSecret } from "#lib/ids.ts";
import { steadyNow } from "#lib/time.ts";
import type { Source } from "./sight.ts";

export interface BootRecord {
  bootId: string;
  machineId: string;
  imageId: string;
  mac: string;
  /** Where the script was fetched from: the neighbour's card on our own wire, or the relay of the machine's network. */
  address: string;
  hardware?: string;
  relay?: string;
  tokenHash: string;
  mintedAtMs: number;
  /** Path to when it was first fetched. */
  uses: Record<string, { firstAtMs: number }>;
  revoked?: boolean;
  /** Its host joined: no seed any more. */
  joined?: boolean;
}

export type Use =
  | { ok: true; boot: BootRecord; first: boolean }
  | { ok: false; status: 403 | 410; reason: string; code?: BootCode; boot?: BootRecord };

export interface Tokens {
  /** A new boot of this machine; its older tokens end here. The token is returned once and kept only as a hash. */
  mint(of: {
    machineId: string;
    imageId: string;
    mac: string;
    source: Source;
  }): Promise<{ token: string; boot: BootRecord }>;
  /** One fetch of `path`, until the join; a first one is durable before it resolves. */
  use(token: string, path: string, source: Source): Promise<Use>;
  /** A sign of life with this token: any number, while it lives, after the join too. */
  check(token: string, source: Source): Use;
  /** The newest live boot of this source, for what carries no token (kernel, initrd, squashfs). */
  bootAt(source: Source): BootRecord | undefined;
  /** These boots have joined. */
  joined(bootIds: readonly string[]): void;
  boots(): BootRecord[];
  replay(record: BootRecord): void;
}

export interface TokensOptions {
  save: (record: BootRecord) => Promise<void>;
  ttlMs?: number;
  /** Goes on whoever sets the clock; over a restart it is the time of day. */
  nowMs?: () => number;
}

export const TOKEN_PATTERN = /^[A-Za-z0-9_-]{43}$/;
const KEPT_AFTER_END_MS = 3_600_000; // a replay is recognised as one for so long

export function createTokens({ save, ttlMs = 15 * 60_000, nowMs = steadyNow }: TokensOptions): Tokens {
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
    if (!isBoundTo(boot, source)) {
      const from = `${source.address} (card ${source.card ?? "unknown"})`;
      const to = `${boot.address} (card ${boot.hardware ?? "behind a relay"})`;
      return { ok: false, status: 403, reason: `used from ${from}, given to ${to}`, code: "token-other-card", boot };
    }
    const ended = (code: BootCode, reason: string): Use => ({ ok: false, status: 410, reason, code, boot });
    if (boot.revoked) return ended("token-superseded", "a later boot of this machine ended it");
    if (nowMs() > boot.mintedAtMs + ttlMs) return ended("token-expired", "too old");
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
        ...(source.card === undefined ? {} : { hardware: source.card }),
        ...(source.relay === undefined ? {} : { relay: source.relay }),
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
      if (boot.joined) return { ok: false, status: 410, reason: "its host has joined", code: "token-joined", boot };
      const first = boot.uses[path] === undefined;
      if (first) {
        boot.uses[path] = { firstAtMs: nowMs() };
        await save(boot);
      }
      return { ok: true, boot, first };
    },
    check,
    bootAt(source) {
      let newest: BootRecord | undefined;
      for (const boot of currentOf.values()) {
        if (isBoundTo(boot, source) && (newest === undefined || boot.mintedAtMs > newest.mintedAtMs)) newest = boot;
      }
      return newest && nowMs() <= newest.mintedAtMs + ttlMs ? newest : undefined;
    },
    joined(bootIds) {
      const over = new Set(bootIds);
      for (const boot of byHash.values()) {
        if (boot.joined || !over.has(boot.bootId)) continue;
        boot.joined = true;
        void save(boot).catch(() => undefined); // the next target says it again
      }
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
 * On our own wire the card decides, with the address it had or another that is not lent to somebody else (initramfs and system may
 * get another one than the ROM); behind a relay, relay and address do. Nothing seen is nobody.
 */
function isBoundTo(boot: BootRecord, source: Source): boolean {
  if (boot.hardware === undefined)
    return boot.relay !== undefined && source.relay === boot.relay && source.address === boot.address;
  if (source.card !== boot.hardware) return false;
  return source.address === boot.address || source.leasedTo === undefined || source.leasedTo === boot.mac;
}

function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}
