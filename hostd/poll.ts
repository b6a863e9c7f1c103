// Follows the host's target at control for as long as hostd lives; with control away it only tries again.
import type { Client } from "#api/client.ts";
import { type HostTarget, hostTarget } from "#api/hosts.ts";
import type { Log } from "#lib/log.ts";
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
}

export async function pollTarget(options: PollOptions): Promise<void> {
  const { client, hostId, stateDir, onTarget, log, signal } = options;
  let { seen } = options;
  let broken = false;
  /** As the stream gave it last: the next part is what has changed since. */
  let received: HostTarget | undefined;
  const onBreak = (error: unknown) => {
    if (!broken) log.warn({ err: error }, "control is away; the kept target goes on");
    broken = true;
  };
  for await (const { data: part } of client.follow(hostTarget, { params: { id: hostId }, signal, onBreak })) {
    if (broken) log.info("control is back");
    broken = false;
    if (part === undefined || part === null) continue;
    const data = wholeTarget(part, received);
    if (data === undefined) {
      log.warn({ term: part.term, seq: part.seq }, "target refused: it is a part of one that was not received");
      continue;
    }
    received = data;
    const refusal = refuseTarget(data, seen, hostId);
    if (refusal !== undefined) {
      log.warn({ term: data.term, seq: data.seq, seen, refusal }, "target refused");
      continue;
    }
    await saveTarget(stateDir, data).catch((error: unknown) => {
      // A full disk must not keep the host from following; the next target is tried anew.
      log.error({ err: error }, "target not kept on disk");
    });
    seen = { term: data.term, seq: data.seq };
    onTarget(data);
  }
}
