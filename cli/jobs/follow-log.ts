// An app's lines as they come, over breaks of the connection. After a break the stream goes on at the last place it told; lines that
// came after that place was told, come again and are passed over.
import type { Client } from "#api/client.ts";
import type { Query } from "#api/endpoint.ts";
import { isFault } from "#api/fault.ts";
import { appLog, type LogLine } from "#api/logs.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";

export interface FollowLogOptions {
  client: Client;
  app: string;
  query: Query<typeof appLog>;
  signal: AbortSignal;
  /** Told when the connection broke and will be made again. */
  onBreak: (error: unknown) => void;
  /** Told the hosts that did not answer, whenever they are others than before. */
  onSilent: (hosts: readonly string[]) => void;
}

const UNPLACED_MOST = 50_000;

export async function* followLog(options: FollowLogOptions): AsyncGenerator<LogLine> {
  const { client, app, query, signal, onBreak, onSilent } = options;
  let lastEventId: string | undefined;
  let heard = false;
  let silentBefore = "";
  /** Lines since the last place, each with how often it came: an app may well print the same line twice. */
  let given = new Map<string, number>();
  for (let failures = 0; !signal.aborted; ) {
    let again = new Map(given);
    try {
      const input = {
        params: { app },
        query: { ...query, follow: true },
        signal,
        ...(lastEventId ? { lastEventId } : {}),
      };
      for await (const { event, id, data } of client.stream(appLog, input)) {
        failures = 0;
        heard = true;
        if (event === "current") {
          const { silent = [] } = (data ?? {}) as { silent?: string[] };
          if (silent.join() !== silentBefore) onSilent(silent);
          silentBefore = silent.join();
          again = new Map(); // the past is over: what comes now is new
        }
        if (event === "item" && data !== undefined) {
          const identity = `${data.at} ${data.jobId} ${data.stream} ${data.source} ${data.line}`;
          const repeats = again.get(identity) ?? 0;
          if (repeats > 0) again.set(identity, repeats - 1);
          else {
            if (given.size < UNPLACED_MOST) given.set(identity, (given.get(identity) ?? 0) + 1);
            yield data;
          }
        }
        if (id === undefined) continue;
        lastEventId = id;
        given = new Map();
      }
      if (!signal.aborted) onBreak(new Error("the server ended the stream"));
    } catch (error) {
      if (signal.aborted) return;
      // Nothing was ever received: a wrong name or a dead cluster, not a break.
      if (!heard || (isFault(error) && !error.retry)) throw error;
      onBreak(error);
    }
    await sleep(backoffMs(++failures, 300, 3_000), signal);
  }
}
