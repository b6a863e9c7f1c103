// Tickets: each opens one session, once, within its time. Kept as digests and in memory alone, so that none is in a log, a backup
// or a restarted control; bounded, so that asking for many fills nothing.
import { Fault } from "#api/fault.ts";
import { newSecret } from "#lib/ids.ts";
import { sha256Hex } from "../identity/principal.ts";

export const TICKET_TTL_MS = 30_000;

export interface Tickets {
  /** `holder`: digest of the token that asks. `target`: path and query of the session. Fault `rate-limited` when too many are unused. */
  issue(holder: string, target: string): string;
  /** Who asked for it; whatever comes of that, the ticket is spent. Faults: `unauthenticated`, `forbidden` (another session's). */
  redeem(ticket: string, target: string): string;
  /** Unused ones, the expired among them that were not swept yet. */
  readonly size: number;
}

export interface TicketOptions {
  monotonicMs: () => number;
  /** Unused ones of one holder, and of all together. */
  holderMost?: number;
  most?: number;
}

interface Held {
  holder: string;
  target: string;
  untilMs: number;
}

export function sessionTickets({ monotonicMs, holderMost = 200, most = 5_000 }: TicketOptions): Tickets {
  const byDigest = new Map<string, Held>(); // in the order of their ends

  const sweep = (): void => {
    const nowMs = monotonicMs();
    for (const [digest, { untilMs }] of byDigest) {
      if (untilMs > nowMs) return;
      byDigest.delete(digest);
    }
  };
  return {
    get size() {
      return byDigest.size;
    },
    issue(holder, target) {
      sweep();
      let own = 0;
      for (const held of byDigest.values()) if (held.holder === holder) own++;
      if (own >= holderMost || byDigest.size >= most)
        throw new Fault("rate-limited", "too many sessions were asked for and not opened; those go after 30 s");
      const ticket = newSecret();
      byDigest.set(sha256Hex(ticket), { holder, target, untilMs: monotonicMs() + TICKET_TTL_MS });
      return ticket;
    },
    redeem(ticket, target) {
      const digest = sha256Hex(ticket);
      const held = byDigest.get(digest);
      byDigest.delete(digest);
      if (held === undefined || held.untilMs <= monotonicMs())
        throw new Fault("unauthenticated", "the session's ticket was used, or is older than 30 s: ask for another");
      if (held.target !== target) throw new Fault("forbidden", "the ticket is for another session than this");
      return held.holder;
    },
  };
}
