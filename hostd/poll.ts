// Follows the host's target at control for as long as hostd lives; with control away it only tries again. A stream whose parts do not
// fit together is left for a new one, which begins with the whole.
import type { Client } from "#api/client.ts";
import { type HostTarget, hostTarget } from "#api/host-agents.ts";
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import { refuseTarget, type Seen, saveTarget } from "./target.ts";
import { wholeTarget } from "./target-parts.ts";

export interface PollOptions {
  client: Pick<Client, "follow">;
  hostId: string;
  stateDir: string;
  seen: Seen | undefined;
  onTarget: (target: HostTarget) => void;
  log: Log;
  signal: AbortSignal;
  /** Pauses between streams that were left, growing while none brings a target. */
  retry?: { baseMs: number; maxMs: number };
}

export async function pollTarget(options: PollOptions): Promise<void> {
  const { client, hostId, stateDir, onTarget, log, signal, retry = { baseMs: 500, maxMs: 30_000 } } = options;
  let { seen } = options;
  let broken = false;
  const onBreak = (error: unknown) => {
    if (!broken) log.warn({ err: error }, "control is away; the kept target goes on");
    broken = true;
  };
  for (let left = 0; !signal.aborted; ) {
    /** As the stream gave it last: the next part is what has changed since. */
    let received: HostTarget | undefined;
    for await (const { data: part } of client.follow(hostTarget, { params: { id: hostId }, signal, onBreak })) {
      if (broken) log.info("control is back");
      broken = false;
      if (part === undefined || part === null) continue;
      received = wholeTarget(part, received);
      if (received === undefined) {
        log.warn({ term: part.term, seq: part.seq }, "target refused: it is a part of one that was not received");
        break;
      }
      left = 0;
      const refusal = refuseTarget(received, seen, hostId);
      if (refusal !== undefined) {
        log.warn({ term: received.term, seq: received.seq, seen, refusal }, "target refused");
        continue;
      }
      await saveTarget(stateDir, received).catch((error: unknown) => {
        // A full disk must not keep the host from following; the next target is tried anew.
        log.error({ err: error }, "target not kept on disk");
      });
      seen = { term: received.term, seq: received.seq };
      onTarget(received);
    }
    await sleep(backoffMs(++left, retry.baseMs, retry.maxMs), signal);
  }
}
