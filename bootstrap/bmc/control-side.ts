// How control is told what came of its work. Each throws while control is away.
import type { WebSocket } from "ws";
import type { ConsoleWork, OrderReport } from "#api/bmc-work.ts";
import type { BmcCode, PowerState } from "#api/power.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";

export interface AskAnswer {
  ok: boolean;
  message: string;
  code?: BmcCode;
  power?: PowerState;
  pinSha256?: string;
  text?: string;
  since?: string;
}

export interface ControlSide {
  report(order: string, report: OrderReport, signal: AbortSignal): Promise<void>;
  /** The same of one that is about to switch something; false when control says that the order is over. */
  begins(order: string, report: OrderReport, signal: AbortSignal): Promise<boolean>;
  answer(ask: string, answer: AskAnswer, signal: AbortSignal): Promise<void>;
  /** The boot server's end of a console session. */
  dial(work: ConsoleWork, signal: AbortSignal): Promise<WebSocket>;
}

export interface Reporter {
  tell(report: OrderReport): void;
  /** Resolves when nothing waits any more, or the signal aborted. */
  settled(): Promise<void>;
}

/** Steps one after the other; of those that wait while control is away only what is newest, and nothing that was seen is lost of it. */
export function reporter(
  send: (report: OrderReport) => Promise<void>,
  { signal, onAway }: { signal: AbortSignal; onAway: (error: unknown) => void },
): Reporter {
  let waiting: OrderReport | undefined;
  let running: Promise<void> | undefined;
  const run = async (): Promise<void> => {
    for (let failures = 0; waiting !== undefined && !signal.aborted; ) {
      const report: OrderReport = waiting;
      waiting = undefined;
      try {
        await send(report);
        failures = 0;
      } catch (error) {
        waiting = { ...report, ...(waiting ?? {}) };
        if (signal.aborted) break;
        if (failures++ === 0) onAway(error);
        await sleep(backoffMs(failures, 500, 10_000), signal);
      }
    }
    running = undefined;
  };
  return {
    tell(report) {
      waiting = { ...(waiting ?? {}), ...report };
      running ??= run();
    },
    settled: async () => running,
  };
}
