// A member whose certificate control does not know any more (it was removed, or control's state is an older one) joins again when it has
// a join token that may be good, such as the fresh one of each start on the appliance's own machine. Until it has joined, everything goes
// on as the former one: what it serves ends for no refusal.
import type { Log } from "#lib/log.ts";
import { joined } from "#lib/time.ts";
import { isFault } from "./fault.ts";
import { ensureIdentity, type Identity, type JoinOptions } from "./join.ts";

export interface MembershipOptions extends Omit<JoinOptions, "token" | "anew"> {
  /** Read anew for each attempt. */
  token: () => Promise<string | undefined>;
  log: Log;
}

export interface Member {
  identity: Identity;
  /** Of this membership: also ends when there is another identity. */
  signal: AbortSignal;
  /** To be told what control answered; heeds that the certificate is refused. */
  onBreak: (error: unknown) => void;
}

/** Runs `work` as a member for as long as the signal lets it; again, as a new one, after each time it had to join anew. */
export async function asMember(options: MembershipOptions, work: (member: Member) => Promise<void>): Promise<void> {
  const { token, log, signal } = options;
  const refusedTokens = new Set<string>();
  let identity = await ensureIdentity({ ...options, token: await token() });
  while (!signal.aborted) {
    const replaced = new AbortController();
    const { signal: during, release } = joined(signal, replaced.signal);
    let next: Identity | undefined;
    let joining: Promise<void> | undefined;
    const join = async (): Promise<void> => {
      const fresh = await token();
      if (fresh === undefined || refusedTokens.has(fresh)) return;
      log.warn({ id: identity.id }, "control refuses this certificate, joining again");
      try {
        next = await ensureIdentity({ ...options, token: fresh, anew: true, signal: during });
        log.info({ id: next.id, before: identity.id }, "joined again");
        replaced.abort();
      } catch (error) {
        if (during.aborted) return;
        refusedTokens.add(fresh);
        log.error({ err: error }, "not joined again: it needs a new join token, or `flynn up` to be started again");
      }
    };
    const onBreak = (error: unknown): void => {
      if (!isFault(error, "unauthenticated") || joining !== undefined || during.aborted) return;
      joining = join()
        .catch((cause: unknown) => log.error({ err: cause }, "no join token can be read"))
        .finally(() => {
          joining = undefined;
        });
    };
    try {
      await work({ identity, signal: during, onBreak });
    } finally {
      replaced.abort();
      await joining;
      release();
    }
    if (next === undefined) return;
    identity = next;
  }
}
