// One drain at work: its own stream of lines into its own buffer, and batches out of it to the target, tried until they are taken.
// Nothing here waits for another drain, and no reader of logs waits for this.

import type { LogDrain } from "#api/drains.ts";
import { isFault } from "#api/fault.ts";
import type { LogLine } from "#api/logs.ts";
import type { StreamEvent } from "#api/stream.ts";
import { backoffMs } from "#lib/retry.ts";
import { causeChain } from "#lib/run.ts";
import { microsecondsNow, sleep } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import { lineBuffer } from "./buffer.ts";
import { SendError, type Sender } from "./sender.ts";

/** What survives a restart of control. */
export interface Progress {
  place?: string;
  sent: number;
  dropped: number;
}

export interface PumpOptions {
  app: string;
  follow: (signal: AbortSignal, place: string | undefined) => AsyncIterable<StreamEvent<LogLine>>;
  sender: Sender;
  progress: Progress;
  signal: AbortSignal;
  bounds?: { linesMost: number; bytesMost: number };
  retry?: { baseMs: number; maxMs: number };
}

export interface Pump {
  progress(): Progress;
  report(): Pick<LogDrain, "state" | "lagSeconds" | "buffered" | "sent" | "dropped" | "lastError">;
  /** Resolves when the signal has ended it. */
  ended: Promise<unknown>;
}

const BOUNDS = { linesMost: 10_000, bytesMost: 8 << 20 };
const BATCH_LINES = 500;
const BATCH_BYTES = 512 << 10;
const GATHER_MS = 200;
const RETRY = { baseMs: 500, maxMs: 60_000 };

export function startPump(options: PumpOptions): Pump {
  const { sender, signal, bounds = BOUNDS, retry = RETRY } = options;
  const buffer = lineBuffer(bounds);
  let { place } = options.progress;
  let { sent } = options.progress;
  let refusedLines = 0;
  let state: LogDrain["state"] = "idle";
  let lastError: string | undefined;
  const bell = createWake();

  const fill = async (): Promise<void> => {
    let reached = place;
    for (let failures = 0; !signal.aborted; await sleep(backoffMs(++failures, 500, 5_000), signal)) {
      try {
        for await (const { event, id, data } of options.follow(signal, reached)) {
          failures = 0;
          reached = id ?? reached;
          if (event === "item" && data) buffer.push(data, id);
          else if (buffer.length === 0) place = reached ?? place;
          bell.ring();
        }
      } catch (error) {
        lastError = causeChain(error).join(": ").slice(0, 500);
      }
    }
  };

  const empty = async (): Promise<void> => {
    for (let failures = 0; !signal.aborted; ) {
      const batch = buffer.take(BATCH_LINES, BATCH_BYTES);
      if (batch === undefined) {
        state = "idle";
        await bell.wait(Number.POSITIVE_INFINITY, signal);
        await sleep(GATHER_MS, signal);
        continue;
      }
      try {
        if (failures === 0) state = "sending";
        await sender.send([...lostLine(options.app, batch.lost), ...batch.lines], signal);
        sent += batch.lines.length;
        place = batch.place ?? place;
        buffer.done();
        failures = 0;
        lastError = undefined;
      } catch (error) {
        if (signal.aborted) return;
        lastError = causeChain(error).join(": ").slice(0, 500);
        state = isFault(error, "forbidden") ? "refused" : "retrying";
        if (error instanceof SendError && error.giveUp) {
          refusedLines += batch.lines.length;
          place = batch.place ?? place;
          buffer.done();
        }
        const waitMs = error instanceof SendError ? error.retryAfterMs : undefined;
        await sleep(waitMs ?? backoffMs(++failures, retry.baseMs, retry.maxMs), signal);
      }
    }
  };

  const dropped = () => options.progress.dropped + buffer.dropped + refusedLines;
  return {
    progress: () => ({ sent, dropped: dropped(), ...(place === undefined ? {} : { place }) }),
    report() {
      const oldest = buffer.oldestAt();
      const lagMs = oldest === undefined ? 0 : Math.max(0, Date.now() - Date.parse(oldest));
      const error = lastError === undefined ? {} : { lastError };
      return {
        state,
        lagSeconds: Math.round(lagMs / 100) / 10,
        buffered: buffer.length,
        sent,
        dropped: dropped(),
        ...error,
      };
    },
    ended: Promise.all([fill(), empty()]).finally(() => sender.close()),
  };
}

function lostLine(app: string, count: number): LogLine[] {
  if (count === 0) return [];
  const line = `... ${count} lines dropped: the drain's target takes them too slowly`;
  return [{ at: microsecondsNow(), app, stream: "stderr", source: "system", line }];
}
