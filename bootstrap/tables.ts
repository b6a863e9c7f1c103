// The boot server's tables that outlive it, each with its journal: leases, boot tokens, what was learnt of firmware, what was given once.
import { join } from "node:path";
import type { Log } from "#lib/log.ts";
import type { BootConfig } from "./config.ts";
import { createLearnt, type Learnt, type Lesson } from "./dhcp/learnt.ts";
import { createLeases, type Lease, type Leases } from "./dhcp/leases.ts";
import { createOnce, type Once, type OnceRecord } from "./identity/once.ts";
import { type BootRecord, createTokens, type Tokens } from "./identity/tokens.ts";
import { openJournal } from "./journal.ts";

export interface Tables {
  leases: Leases;
  /** Resolves when the lease is on disk. */
  saveLease: (lease: Lease) => Promise<void>;
  learnt: Learnt;
  tokens: Tokens;
  once: Once;
}

/** As they were left; their journals are closed with `stack`. */
export async function openTables(
  { stateDir, range, reservations, address, router }: BootConfig,
  { log, stack }: { log: Log; stack: AsyncDisposableStack },
): Promise<Tables> {
  const open = async <T extends object>(name: string, replay: (entry: T) => void, live: () => Iterable<T>) => {
    const journal = await openJournal<T>({ path: join(stateDir, `${name}.journal`), replay, live, log });
    stack.defer(() => journal.close());
    return journal;
  };
  const leases = createLeases({
    ...range,
    reservations: new Map(Object.entries(reservations)),
    exclude: [address, router],
  });
  const leaseJournal = await open<Lease>("leases", leases.apply, leases.durable);
  const learnt = createLearnt({
    save: (lesson) => void learntJournal.append(lesson).catch((error) => log.error({ err: error }, "lesson not kept")),
  });
  const learntJournal = await open<Lesson>("learnt", learnt.replay, learnt.lessons);
  const tokens = createTokens({ save: (boot) => tokenJournal.append(boot) });
  const tokenJournal = await open<BootRecord>("boots", tokens.replay, tokens.boots);
  const once = createOnce({ save: (record) => onceJournal.append(record) });
  const onceJournal = await open<OnceRecord>("once", once.replay, once.given);
  return { leases, saveLease: leaseJournal.append, learnt, tokens, once };
}
