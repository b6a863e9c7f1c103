// Frames over one WebSocket, the same at client, control and host: never more than a window of unread data under way in either
// direction, so that a slow reader slows its writer and fills nobody's memory; and a peer that fell silent is noticed within two
// pings. Windows instead of pausing the socket: a paused socket would answer no ping.
import type { WebSocket } from "ws";
import { sleep } from "#lib/time.ts";
import { Fault } from "./fault.ts";
import { DATA_MOST_BYTES, type DataType, decodeFrame, encodeFrame, type Frame } from "./frames.ts";

export const PING_EVERY_MS = 15_000;
/** Data under way before the receiver has said that it used some. */
export const WINDOW_BYTES = 512 << 10;
/** What a frame costs beside its data, so that empty ones are not free. */
const FRAME_COST = 32;
/** Frames that are no data are few and small; a peer that lets so much of them pile up is gone or hostile. */
const BUFFERED_MOST_BYTES = 8 << 20;
/** Frames that came before anybody took them. */
const EARLY_MOST = 1_000;
const CLOSE_GRACE_MS = 3_000;

export interface FrameSocket {
  send(frame: Frame): void;
  /** Resolves when it is under way: later than now when the receiver is slow. False once the connection is gone. */
  sendData(type: DataType, data: Buffer): Promise<boolean>;
  /** The first frame, before `receive`; the ones behind it wait. Undefined when none comes in time. */
  first(withinMs: number): Promise<Frame | undefined>;
  /**
   * Takes the frames. Data and its ends come one after the other, each when the handler is done with the one before; signals, sizes
   * and states come at once. A handler that throws ends the connection.
   */
  receive(handler: (frame: Frame) => void | Promise<void>): void;
  /** Aborts when the connection has ended, by whomever. */
  readonly closed: AbortSignal;
  /** Resolves once the peer has agreed, or is given up. */
  close(code?: number, reason?: string): Promise<void>;
}

export interface FrameSocketOptions {
  pingEveryMs?: number;
}

export function frameSocket(socket: WebSocket, { pingEveryMs = PING_EVERY_MS }: FrameSocketOptions = {}): FrameSocket {
  const ended = new AbortController();
  const waiting: (() => void)[] = [];
  let mayStill = WINDOW_BYTES;
  let unread = 0;
  let used = 0;
  let line: Promise<void> = Promise.resolve();
  const early: Frame[] = [];
  let take: ((frame: Frame) => void) | undefined;
  let onEarly = (): void => undefined;

  const end = (reason: unknown): void => {
    if (ended.signal.aborted) return;
    ended.abort(reason);
    for (const wake of waiting.splice(0)) wake();
  };
  const fail = (error: unknown): void => {
    end(error);
    socket.terminate();
  };
  const stopPings = keepAlive(socket, pingEveryMs, () => fail(new Fault("timeout", "the other side fell silent")));
  socket.on("close", () => {
    stopPings();
    end(new Fault("unavailable", "the connection ended"));
  });
  socket.on("error", (error) => fail(new Fault("unavailable", "the connection broke", { cause: error })));

  const send = (frame: Frame): void => {
    if (socket.readyState !== socket.OPEN) return;
    socket.send(encodeFrame(frame));
    if (socket.bufferedAmount > BUFFERED_MOST_BYTES) fail(new Fault("unavailable", "the other side does not read"));
  };
  const use = (bytes: number): void => {
    unread -= bytes;
    used += bytes;
    if (used < WINDOW_BYTES / 4) return;
    send({ type: "window", bytes: used });
    used = 0;
  };

  socket.on("message", (message: Buffer, isBinary) => {
    try {
      if (!isBinary) throw new Fault("invalid", "frames are binary");
      const frame = decodeFrame(message);
      if (frame.type === "window") {
        mayStill = Math.min(WINDOW_BYTES, mayStill + frame.bytes);
        for (const wake of waiting.splice(0)) wake();
        return;
      }
      unread += costOf(frame);
      if (unread > WINDOW_BYTES + DATA_MOST_BYTES) throw new Fault("invalid", "more was sent than was asked for");
      if (take) take(frame);
      else if (early.push(frame) > EARLY_MOST) throw new Fault("invalid", "too much was sent too early");
      onEarly();
    } catch (error) {
      fail(error);
    }
  });

  return {
    closed: ended.signal,
    send,
    async sendData(type, data) {
      for (let at = 0; at < data.length; at += DATA_MOST_BYTES) {
        const part = data.subarray(at, at + DATA_MOST_BYTES);
        while (mayStill <= 0 && !ended.signal.aborted) await new Promise<void>((resolve) => waiting.push(resolve));
        if (ended.signal.aborted) return false;
        mayStill -= part.length + FRAME_COST;
        send({ type, data: part } as Frame);
      }
      return !ended.signal.aborted;
    },
    async first(withinMs) {
      if (early.length === 0 && !ended.signal.aborted) {
        const timer = new AbortController();
        const came = new Promise<void>((resolve) => {
          onEarly = resolve;
          ended.signal.addEventListener("abort", () => resolve(), { once: true, signal: timer.signal });
        });
        await Promise.race([came, sleep(withinMs, timer.signal)]);
        timer.abort();
      }
      const frame = early.shift();
      if (frame) use(costOf(frame));
      return frame;
    },
    receive(handler) {
      take = (frame) => {
        const cost = costOf(frame);
        const work = async () => {
          if (!ended.signal.aborted) await handler(frame);
          use(cost);
        };
        if (isOrdered(frame)) line = line.then(work).catch(fail);
        else work().catch(fail);
      };
      for (const frame of early.splice(0)) take(frame);
    },
    async close(code = 1000, reason = "") {
      stopPings();
      if (socket.readyState === socket.CLOSED) return end(reason);
      const gone = new Promise<void>((resolve) => socket.once("close", () => resolve()));
      socket.close(code, reason.slice(0, 100));
      const timer = setTimeout(() => socket.terminate(), CLOSE_GRACE_MS);
      await gone;
      clearTimeout(timer);
    },
  };
}

/** Pings until stopped; calls `onSilent` when a ping was not answered before the next but one. */
export function keepAlive(socket: WebSocket, everyMs: number, onSilent: () => void): () => void {
  let unanswered = 0;
  const timer = setInterval(() => {
    if (unanswered >= 2) onSilent();
    else if (socket.readyState === socket.OPEN) {
      unanswered++;
      socket.ping();
    }
  }, everyMs);
  const heard = () => {
    unanswered = 0;
  };
  socket.on("pong", heard);
  socket.on("ping", heard);
  socket.on("message", heard);
  return () => clearInterval(timer);
}

const isData = (frame: Frame): frame is Extract<Frame, { data: Buffer }> => "data" in frame;
const isOrdered = (frame: Frame): boolean =>
  isData(frame) || frame.type === "stdin-eof" || frame.type === "stdout-eof" || frame.type === "exit";
/** What is no data is not counted by its sender either, but for what its receiver must keep of it. */
const costOf = (frame: Frame): number => (isData(frame) ? frame.data.length + FRAME_COST : 0);
