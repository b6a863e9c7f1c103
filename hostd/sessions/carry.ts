// Carries bytes between a client's frames and a process's streams until the process's output has ended or the client is gone.
import type { FrameSocket } from "#api/frame-socket.ts";
import type { Log } from "#lib/log.ts";
import type { Agent } from "../agent.ts";
import type { EngineStreams, ProcessStreams } from "../engine/docker-streams.ts";
import type { Engine } from "../engine/engine.ts";

export interface SessionContext {
  agent: Agent;
  engine: Engine;
  streams: EngineStreams;
  hostId: string;
  log: Log;
  /** Jobs whose streams a client holds; the plan looks here. */
  attached: Set<string>;
  /** Resolves when the claim holds, looked at after each change of any job, or when the signal aborts. */
  changed(claim: () => boolean, signal: AbortSignal): Promise<void>;
}

export interface Size {
  columns: number;
  rows: number;
}

export interface CarryOptions {
  resize: (size: Size) => Promise<void>;
  /** Without SIG. */
  signal: (signal: string) => Promise<void>;
  size?: Size;
}

export async function carry(socket: FrameSocket, process: ProcessStreams, options: CarryOptions): Promise<void> {
  // A terminal dragged to another size says so many times; only the last one counts.
  let wanted: Size | undefined = options.size;
  let resizing = false;
  const resize = async (): Promise<void> => {
    if (resizing) return;
    resizing = true;
    while (wanted !== undefined) {
      const size = wanted;
      wanted = undefined;
      await options.resize(size).catch(() => undefined); // ended meanwhile
    }
    resizing = false;
  };
  let signalling = false;
  socket.receive(async (frame) => {
    if (frame.type === "stdin") return process.write(frame.data);
    if (frame.type === "stdin-eof") return process.endInput();
    if (frame.type === "start" && frame.start.columns && frame.start.rows)
      wanted = { columns: frame.start.columns, rows: frame.start.rows };
    if (frame.type === "resize") wanted = { columns: frame.columns, rows: frame.rows };
    if (wanted !== undefined) return resize();
    if (frame.type !== "signal" || signalling) return;
    signalling = true;
    await options.signal(frame.signal).catch(() => undefined); // ended meanwhile
    signalling = false;
  });
  const stop = () => process.destroy();
  socket.closed.addEventListener("abort", stop, { once: true });
  socket.send({ type: "started" });
  if (wanted !== undefined) void resize();
  try {
    for await (const { stream, data } of process.output) if (!(await socket.sendData(stream, data))) break;
  } finally {
    socket.closed.removeEventListener("abort", stop);
  }
}
