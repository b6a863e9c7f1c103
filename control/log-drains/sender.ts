// What a drain's two kinds of sender share: they resolve when the target has the lines, or throw with what to do next.
import type { LogLine } from "#api/logs.ts";

export interface Sender {
  send(lines: readonly LogLine[], signal: AbortSignal): Promise<void>;
  close(): void;
}

/** `giveUp`: the target will never take these lines. `retryAfterMs`: it said when to come back. */
export class SendError extends Error {
  readonly giveUp: boolean;
  readonly retryAfterMs: number | undefined;
  constructor(message: string, options: { giveUp?: boolean; retryAfterMs?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = "SendError";
    this.giveUp = options.giveUp ?? false;
    this.retryAfterMs = options.retryAfterMs;
  }
}

export interface SenderOptions {
  /** Looked up and checked anew for each connection. */
  address: () => Promise<string>;
  caPem?: string;
  timeoutMs?: number;
}

export const SEND_TIMEOUT_MS = 15_000;
