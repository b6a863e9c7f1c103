// Brings a build's output to control: in order, by byte offset, tried again while control is away. What waits is bounded: the
// oldest lines not yet under way give way, and a line says how many there were.

import { hostBuildLog } from "#api/builds.ts";
import type { Client } from "#api/client.ts";
import { type Fault, isFault } from "#api/fault.ts";
import { shownLine } from "#lib/output-text.ts";
import { backoffMs } from "#lib/retry.ts";
import { deadline, joined, sleep } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";

export interface LogSenderOptions {
  client: Pick<Client, "call">;
  hostId: string;
  buildId: string;
  signal: AbortSignal;
  /** Bytes that wait for control at most. */
  pendingBytes?: number;
  /** Bytes sent in all, before only the end is kept. */
  totalBytes?: number;
  gatherMs?: number;
  retryMs?: number;
}

export interface LogSender {
  write(line: string): void;
  /** Resolves when control has all, or has not been there for so long, or wants no more. */
  end(timeoutMs: number): Promise<void>;
}

/** Characters of one request; UTF-8 of it stays under the body limit of control. */
const BATCH_CHARS = 64 << 10;
const TAIL_BYTES = 64 << 10;
const LINE_CHARS = 8_192;

export function sendLog(options: LogSenderOptions): LogSender {
  const { client, hostId, buildId, pendingBytes = 1 << 20, totalBytes = 16 << 20 } = options;
  const { gatherMs = 100, retryMs = 500 } = options;
  const given = new AbortController();
  const until = joined(options.signal, given.signal);
  const signal = until.signal;
  const wake = createWake();
  const last = new AbortController();
  const hurried = joined(signal, last.signal);
  const params = { id: hostId, build: buildId };
  let pending: string[] = [];
  let waiting = 0;
  let dropped = 0;
  let offset = 0;
  let ending = false;
  let refused = false;

  const room = (): number => (offset < totalBytes ? pendingBytes : TAIL_BYTES);

  const take = (): string => {
    const marker = dropped > 0 ? `       ... ${dropped} lines dropped\n` : "";
    dropped = 0;
    let count = 0;
    let chars = marker.length;
    while (count < pending.length && (count === 0 || chars + pending[count]!.length <= BATCH_CHARS))
      chars += pending[count++]!.length;
    const taken = pending.slice(0, count).join("");
    pending = pending.slice(count);
    waiting -= Buffer.byteLength(taken);
    return marker + taken;
  };

  const deliver = async (text: string): Promise<void> => {
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        const had = offset;
        const body = { offset, text };
        ({ offset } = await client.call(hostBuildLog, { params, body, signal, timeoutMs: 10_000 }));
        if (offset >= had) return;
        // Control has lost the end of what it had (a power cut): it goes on from there.
      } catch (error) {
        // A refusal that will stay one: the build is over for control.
        if (isFault(error) && !(error as Fault).retry && !isFault(error, "internal")) {
          refused = true;
          return;
        }
        await sleep(backoffMs(failures, retryMs, 5_000), signal);
      }
    }
  };

  const run = async (): Promise<void> => {
    while (!signal.aborted && !refused) {
      const mayGo = pending.length > 0 && (offset < totalBytes || ending);
      if (mayGo) await deliver(take());
      else if (ending) return;
      else await wake.wait(60_000, signal);
      if (!ending) await sleep(gatherMs, hurried.signal);
    }
  };
  const running = run();

  return {
    write(line) {
      const text = `${shownLine(line, LINE_CHARS)}\n`;
      pending.push(text);
      waiting += Buffer.byteLength(text);
      while (waiting > room() && pending.length > 1) {
        waiting -= Buffer.byteLength(pending.shift()!);
        dropped++;
      }
      wake.ring();
    },
    async end(timeoutMs) {
      ending = true;
      last.abort();
      wake.ring();
      await deadline(running, timeoutMs, "the end of the build's log").catch(() => undefined);
      given.abort();
      hurried.release();
      until.release();
    },
  };
}
