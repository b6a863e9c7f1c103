// One SSE reply: each item once the caller may still have it, a comment while it is quiet, a fault as the last event.
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { Fault, toFault } from "#api/fault.ts";
import { formatEvent, KEEP_ALIVE, KEEP_ALIVE_MS, type StreamEvent } from "#api/stream.ts";
import { HELLO_HEADER } from "#api/version.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { joined } from "#lib/time.ts";

interface Streaming {
  items: () => AsyncIterable<StreamEvent>;
  /** Throws when the caller may not listen any more. */
  admit: () => void;
  requestId: string;
  /** What control says of itself. */
  hello: string;
  log: Log;
}

export async function sendStream(raw: ServerResponse, signal: AbortSignal, streaming: Streaming): Promise<void> {
  const { items, admit, requestId, hello, log } = streaming;
  raw.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
    "x-request-id": requestId,
    [HELLO_HEADER]: hello,
  });
  raw.flushHeaders();
  const keepAlive = setInterval(() => {
    try {
      admit();
      raw.write(KEEP_ALIVE);
    } catch {
      raw.destroy(); // a quiet stream ends too; the next request says why
    }
  }, KEEP_ALIVE_MS);
  try {
    for await (const item of items()) {
      if (signal.aborted) break;
      admit();
      if (!raw.write(formatEvent(item))) await drained(raw, signal);
    }
  } catch (error) {
    if (!signal.aborted) {
      const fault = toFault(error, "stream");
      if (fault.code === "internal") log.error({ requestId, causes: causeChain(error) }, "stream failed");
      raw.write(
        formatEvent({
          event: "fault",
          data: { code: fault.code, message: fault.message, requestId, retry: fault.retry },
        }),
      );
    }
  } finally {
    clearInterval(keepAlive);
    raw.end();
  }
}

/** A reader that takes nothing for a minute is dropped: the reader is bounded, not the server's memory. */
async function drained(raw: ServerResponse, signal: AbortSignal): Promise<void> {
  const late = AbortSignal.timeout(60_000);
  const either = joined(signal, late);
  await once(raw, "drain", { signal: either.signal })
    .catch((cause: unknown) => {
      if (late.aborted) raw.destroy();
      throw new Fault("unavailable", "the stream's reader does not read", { cause });
    })
    .finally(either.release);
}
