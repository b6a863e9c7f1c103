// An app's lines as they come, over breaks of the connection. The stream has no sequence numbers: after a break it is asked for
// lines since the newest one seen, and those already given are passed over.
import type { Client } from "#api/client.ts";
import type { Query } from "#api/endpoint.ts";
import { isFault } from "#api/fault.ts";
import { appLog, type LogLine } from "#api/logs.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";

const REMEMBERED_MOST = 5_000;
const LINES_MOST = 10_000;

export interface FollowLogOptions {
  client: Client;
  app: string;
  query: Query<typeof appLog>;
  signal: AbortSignal;
  /** Told when the connection broke and will be made again. */
  onBreak: (error: unknown) => void;
}

export async function* followLog({ client, app, query, signal, onBreak }: FollowLogOptions): AsyncGenerator<LogLine> {
  const given = new Set<string>();
  let newest = "";
  for (let failures = 0; !signal.aborted; ) {
    const wish = newest === "" ? query : { ...query, lines: LINES_MOST, since: newest };
    try {
      const input = { params: { app }, query: { ...wish, follow: true }, signal };
      for await (const { event, data } of client.stream(appLog, input)) {
        if (event !== "item" || data === undefined) continue;
        failures = 0;
        const identity = `${data.at} ${data.jobId} ${data.stream} ${data.line}`;
        if (given.has(identity)) continue;
        given.add(identity);
        if (given.size > REMEMBERED_MOST) given.delete(given.values().next().value!);
        if (data.at > newest) newest = data.at;
        yield data;
      }
      if (!signal.aborted) onBreak(new Error("the server ended the stream"));
    } catch (error) {
      if (signal.aborted) return;
      // Nothing was ever received: a wrong name or a dead cluster, not a break.
      if (newest === "" || (isFault(error) && !error.retry)) throw error;
      onBreak(error);
    }
    await sleep(backoffMs(++failures, 300, 3_000), signal);
  }
}
