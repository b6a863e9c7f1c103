// One SSE reply: each item once the caller may still have it, a comment while it is quiet, a fault as the last event.
import type { ServerResponse } from "node:http";
import { Fault, toFault } from "#api/fault.ts";
import { formatEvent, KEEP_ALIVE, KEEP_ALIVE_MS, type StreamEvent } from "#api/stream.ts";
import { HELLO_HEADER } from "#api/version.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";

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
  let writing = false;
  const keepAlive = setInterval(() => {
    try {
      admit();
      if (!writing) raw.write(KEEP_ALIVE); // nothing comes between the pieces of an event
    } catch {
      raw.destroy(); // a quiet stream ends too; the next request says why
    }
  }, KEEP_ALIVE_MS);
  try {
    for await (const item of items()) {
      if (signal.aborted) break;
      admit();
      writing = true;
      await write(raw, formatEvent(item), signal);
      writing = false;
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

/**
 * A long event goes in pieces of less than a TLS record, each when the one before has left: what a connection holds at once, its TLS layer
 * never gives back (measured with Node 24: an event of 500 KB kept 490 KB for each of 2,000 connections, in pieces 5 to 70).
 */
const PIECE_BYTES = 15_000;

async function write(raw: ServerResponse, text: string, signal: AbortSignal): Promise<void> {
  if (text.length <= PIECE_BYTES / 3) {
    if (!raw.write(text)) await taken(raw, signal, (done) => raw.once("drain", done));
    return;
  }
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length && !signal.aborted; at += PIECE_BYTES)
    await taken(raw, signal, (done) => raw.write(bytes.subarray(at, at + PIECE_BYTES), done));
}

/** A reader that takes nothing for a minute is dropped: the reader is bounded, not the server's memory. */
function taken(raw: ServerResponse, signal: AbortSignal, wait: (done: () => void) => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      clearTimeout(late);
      signal.removeEventListener("abort", refuse);
      settle();
    };
    const refuse = () =>
      end(() => reject(new Fault("unavailable", "the stream's reader does not read", { cause: signal.reason })));
    const late = setTimeout(() => {
      raw.destroy();
      refuse();
    }, 60_000);
    signal.addEventListener("abort", refuse, { once: true });
    if (signal.aborted) refuse();
    else wait(() => end(resolve));
  });
}
