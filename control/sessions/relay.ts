// Passes the frames of a session on between a client and a host. What they may have under way is bounded by their windows, so
// nothing is gathered here; a side that does not keep to that is cut off.
import type { WebSocket } from "ws";
import { Fault } from "#api/fault.ts";
import { keepAlive, PING_EVERY_MS, WINDOW_BYTES } from "#api/frame-socket.ts";
import { decodeFrame, type Exit, encodeFrame, type Frame } from "#api/frames.ts";
import { joined } from "#lib/time.ts";
import { plainText } from "../events.ts";

/** Both windows of one direction and what is no data. */
const BUFFERED_MOST_BYTES = 4 * WINDOW_BYTES;
const EARLY_MOST_BYTES = 2 * WINDOW_BYTES;

/** The client's frames from now on; they wait here until there is a host to send them to. */
export interface Inlet {
  /** The first frame; undefined when the client went or said nothing in time. */
  first(withinMs: number, signal: AbortSignal): Promise<Frame | undefined>;
  /** Everything so far and from now on, in order. */
  passTo(take: (message: Buffer) => void): void;
}

export function inlet(client: WebSocket): Inlet {
  const early: Buffer[] = [];
  let earlyBytes = 0;
  let take: ((message: Buffer) => void) | undefined;
  let onEarly = (): void => undefined;
  client.on("message", (message: Buffer, isBinary) => {
    if (!isBinary) return client.close(1003, "frames are binary");
    if (take) return take(message);
    early.push(message);
    earlyBytes += message.length + 64;
    if (earlyBytes > EARLY_MOST_BYTES) return client.terminate();
    onEarly();
  });
  return {
    async first(withinMs, signal) {
      const limit = joined(signal, AbortSignal.timeout(withinMs));
      if (early.length === 0 && !limit.signal.aborted)
        await new Promise<void>((resolve) => {
          onEarly = resolve;
          limit.signal.addEventListener("abort", () => resolve(), { once: true });
        });
      limit.release();
      return early[0] && decodeFrame(early[0]);
    },
    passTo(next) {
      take = next;
      for (const message of early.splice(0)) next(message);
    },
  };
}

export function sendFrame(socket: WebSocket, frame: Frame): void {
  if (socket.readyState === socket.OPEN) socket.send(encodeFrame(frame));
}

/** Until the host has said how it ended, or either side is gone: then undefined. */
export async function relay(
  client: WebSocket,
  from: Inlet,
  host: WebSocket,
  { hostName, signal }: { hostName: string; signal: AbortSignal },
): Promise<Exit | undefined> {
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  let exit: Exit | undefined;
  const pass = (to: WebSocket, message: Buffer): void => {
    if (to.readyState !== to.OPEN) return;
    to.send(message);
    if (to.bufferedAmount > BUFFERED_MOST_BYTES) to.terminate();
  };
  host.on("message", (message: Buffer) => {
    pass(client, message);
    const ended = exitOf(message);
    if (ended === undefined) return;
    exit = ended;
    end();
  });
  host.once("close", () => end());
  host.on("error", () => end());
  const stopPings = keepAlive(host, PING_EVERY_MS, () => host.terminate());
  from.passTo((message) => pass(host, message));
  signal.addEventListener("abort", () => end(), { once: true });
  if (signal.aborted || host.readyState !== host.OPEN) end();
  await over;
  stopPings();
  if (host.readyState === host.OPEN) host.close(1000);
  else host.terminate();
  // Said by a member, shown to people, and kept in events.
  if (exit !== undefined) return exit.reason === undefined ? exit : { ...exit, reason: plainText(exit.reason) };
  if (signal.aborted) {
    const reason = signal.reason instanceof Fault ? signal.reason.message : "the session was ended";
    sendFrame(client, { type: "exit", exit: { reason } });
  } else sendFrame(client, { type: "exit", exit: { reason: `the connection to host ${hostName} broke` } });
  return undefined;
}

function exitOf(message: Buffer): Exit | undefined {
  if (message[0] !== EXIT_BYTE) return undefined;
  try {
    const frame = decodeFrame(message);
    return frame.type === "exit" ? frame.exit : undefined;
  } catch {
    return { reason: "the host's last word was not sound" };
  }
}

const EXIT_BYTE = encodeFrame({ type: "exit", exit: {} })[0];
