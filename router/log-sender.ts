// Lines of requests on their way to control: kept in memory until they are there, within a bound in which each app has its part, so
// that a flood of one app's requests costs no other a line. What did not fit is counted and told.
import type { Client } from "#api/client.ts";
import { type RouterLogLine, routerLog } from "#api/logs.ts";
import { randomText } from "#lib/ids.ts";
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";

export interface LogSender {
  push(line: RouterLogLine): void;
  /** Sends until the signal aborts; what is left then gets one try. */
  run(client: Pick<Client, "call">, id: string, signal: AbortSignal): Promise<void>;
  readonly waiting: number;
}

export interface LogSenderOptions {
  log: Log;
  linesMost?: number;
  everyMs?: number;
}

const BATCH_LINES = 1_000;
const BATCH_CHARACTERS = 400_000;
const LAST_TRY_MS = 2_000;

export function logSender({ log, linesMost = 20_000, everyMs = 250 }: LogSenderOptions): LogSender {
  /** By app id. */
  const queues = new Map<string, RouterLogLine[]>();
  const dropped = new Map<string, number>();
  // Control passes over a batch that it has had: an answer that was lost doubles nothing.
  const session = randomText(16);
  let seq = 0;
  let waiting = 0;

  const giveUp = (): void => {
    const [app, queue] = [...queues].reduce((most, each) => (each[1].length > most[1].length ? each : most));
    const count = Math.ceil(queue.length / 10);
    queue.splice(0, count);
    waiting -= count;
    dropped.set(app, (dropped.get(app) ?? 0) + count);
  };
  /** Of each app in turn, so that none waits for another's flood. */
  const take = (): RouterLogLine[] => {
    const batch: RouterLogLine[] = [];
    let characters = 0;
    const share = Math.max(1, Math.floor(BATCH_LINES / Math.max(1, queues.size)));
    for (const [app, queue] of queues) {
      let count = 0;
      while (count < Math.min(share, queue.length) && batch.length < BATCH_LINES && characters < BATCH_CHARACTERS) {
        const line = queue[count++]!;
        batch.push(line);
        characters += line.line.length + 150;
      }
      queue.splice(0, count);
      if (queue.length === 0) queues.delete(app);
    }
    waiting -= batch.length;
    return batch;
  };

  return {
    push(line) {
      const app = line.appId ?? line.app;
      const queue = queues.get(app) ?? [];
      queues.set(app, queue);
      queue.push(line);
      if (++waiting > linesMost) giveUp();
    },
    async run(client, id, signal) {
      let body: { session: string; seq: number; lines: RouterLogLine[]; dropped: Record<string, number> } | undefined;
      const next = () => {
        if (body !== undefined || (waiting === 0 && dropped.size === 0)) return;
        body = { session, seq: ++seq, lines: take(), dropped: Object.fromEntries([...dropped].slice(0, 1_000)) };
        for (const app of Object.keys(body.dropped)) dropped.delete(app);
      };
      for (let failures = 0; !signal.aborted; ) {
        next();
        if (body === undefined) {
          await sleep(everyMs, signal);
          continue;
        }
        try {
          await client.call(routerLog, { params: { id }, body, signal, timeoutMs: 10_000 });
          body = undefined;
          failures = 0;
          if (waiting < BATCH_LINES) await sleep(everyMs, signal);
        } catch (error) {
          if (signal.aborted) break;
          if (failures === 0) log.warn({ err: error }, "log lines of requests wait for control");
          await sleep(backoffMs(++failures, 500, 10_000), signal);
        }
      }
      next();
      if (body !== undefined)
        await client.call(routerLog, { params: { id }, body, timeoutMs: LAST_TRY_MS }).catch(() => undefined);
    },
    get waiting() {
      return waiting;
    },
  };
}
