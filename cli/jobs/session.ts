// A session with a job on the streams of this process: bytes both ways and, on a terminal, raw, with its size and TERM; the terminal
// is as it was on every way out.
import { constants } from "node:os";
import type { WebSocket } from "ws";
import { Fault } from "#api/fault.ts";
import { frameSocket } from "#api/frame-socket.ts";
import type { Exit, Start } from "#api/frames.ts";
import { progress } from "../output/progress.ts";
import type { Cli, SessionStreams } from "../parse/command.ts";

export interface SessionOptions {
  /** The connection's first frame; the terminal's size is added. */
  start?: Start;
  tty: boolean;
  /** What it does, for the line shown until it has started. */
  doing: string;
}

/** After Ctrl-C, or a signal to this process, a job without a terminal has so long to end in its own way. */
const INTERRUPT_GRACE_MS = 10_000;

/** On both streams: a terminal session has no use for a pipe at either end. */
export const wantsTerminal = ({ terminal }: Cli): boolean => terminal.in && terminal.out;

/** Runs the session to its end and gives the exit code of its command; what ended otherwise is a Fault. */
export async function runSession(cli: Cli, connection: WebSocket, options: SessionOptions): Promise<number> {
  const { tty, start = {}, doing } = options;
  const { streams } = cli;
  const socket = frameSocket(connection);
  const shown = cli.terminal.err ? progress(cli) : undefined;
  const { promise: ended, resolve: end } = Promise.withResolvers<Exit | undefined>();
  const undo: (() => void)[] = [() => shown?.end()];
  shown?.step(doing);

  const begin = (): void => {
    shown?.end();
    if (tty) {
      streams.setRaw(true);
      undo.push(() => streams.setRaw(false));
      const resize = () => {
        const size = streams.size();
        if (size) socket.send({ type: "resize", ...size });
      };
      undo.push(streams.onResize(resize));
      resize();
    }
    undo.push(
      readInput(streams, {
        send: (data) => socket.sendData("stdin", data),
        eof: () => !tty && socket.send({ type: "stdin-eof" }),
      }),
    );
  };
  socket.receive(async (frame) => {
    if (frame.type === "stdout") return written(streams.output, frame.data);
    if (frame.type === "stderr") return written(streams.error, frame.data);
    if (frame.type === "state") shown?.step(frame.text === "" ? doing : `${doing}: ${frame.text}`);
    if (frame.type === "started") begin();
    if (frame.type === "exit") end(frame.exit);
  });
  socket.closed.addEventListener("abort", () => end(undefined), { once: true });
  if (socket.closed.aborted) end(undefined);
  const interrupt = () => {
    if (!tty) socket.send({ type: "signal", signal: "INT" });
    setTimeout(() => end({ reason: "interrupted" }), tty ? 0 : INTERRUPT_GRACE_MS).unref();
  };
  cli.signal.addEventListener("abort", interrupt, { once: true });
  undo.push(() => cli.signal.removeEventListener("abort", interrupt));

  socket.send({ type: "start", start: { ...start, tty, ...(tty ? streams.size() : {}) } });
  try {
    return exitCode(await ended, String((socket.closed.reason as Error | undefined)?.message ?? ""));
  } finally {
    for (const step of undo.reverse()) step();
    await socket.close();
  }
}

function exitCode(exit: Exit | undefined, closedBy: string): number {
  if (exit === undefined) throw new Fault("unavailable", `the connection to the cluster broke: ${closedBy}`);
  if (exit.code !== undefined) return exit.code;
  if (exit.signal !== undefined)
    return 128 + (constants.signals[`SIG${exit.signal}` as keyof typeof constants.signals] ?? 0);
  throw new Fault("unavailable", exit.reason ?? "it ended, and nobody said how", { retry: false });
}

/** Reads no further than what was sent: a slow job slows the reading, not this process's memory. Returns the way to stop. */
function readInput(
  { input }: SessionStreams,
  to: { send: (data: Buffer) => Promise<boolean>; eof: () => void },
): () => void {
  const onData = (data: Buffer) => {
    input.pause();
    void to.send(data).then((more) => more && input.resume());
  };
  input.on("data", onData);
  input.on("end", to.eof);
  input.on("error", to.eof);
  input.resume();
  return () => {
    input.off("data", onData).off("end", to.eof).off("error", to.eof);
    input.pause();
  };
}

function written(output: NodeJS.WritableStream, data: Buffer): Promise<void> {
  return new Promise((resolve) => output.write(data, () => resolve()));
}
