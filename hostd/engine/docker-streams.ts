// Docker's hijacked connections: the streams of a container or of a command in it, over HTTP that becomes a plain two-way socket
// (API 1.41, POST .../attach and /exec/:id/start with `Upgrade: tcp`). Closing the write side is an end of stdin.
import { dockerHttp, type Hijacked } from "#api/docker-http.ts";
import { type OutputChunk, rawFrames } from "./raw-frames.ts";

export interface ProcessStreams {
  /** Both output streams as they come; with a terminal all of it is stdout. Ends with the process. */
  output: AsyncIterable<OutputChunk>;
  /** Resolves when more may be written. What an ended process no longer reads is dropped. */
  write(data: Buffer): Promise<void>;
  endInput(): void;
  destroy(): void;
}

export interface ExecSpec {
  command: string[];
  env: Record<string, string>;
  tty: boolean;
}

export interface ExecState {
  running: boolean;
  exitCode?: number;
  /** Of its first process, as the engine's own machine numbers it. */
  pid?: number;
}

export interface EngineStreams {
  /** The streams of a container that was made `interactive`, started or not. */
  attach(name: string, options: { tty: boolean }): Promise<ProcessStreams>;
  resize(name: string, size: { columns: number; rows: number }): Promise<void>;
  exec(name: string, spec: ExecSpec): Promise<{ id: string; streams: ProcessStreams }>;
  execResize(id: string, size: { columns: number; rows: number }): Promise<void>;
  execState(id: string): Promise<ExecState>;
}

const TIMEOUT_MS = 20_000;
/** Docker takes ctrl-p ctrl-q from a terminal's input unless told other keys; nobody types these. */
const DETACH_KEYS = "ctrl-^,ctrl-_,ctrl-^,ctrl-_,ctrl-^,ctrl-_";

export function dockerStreams({ socketPath }: { socketPath: string }): EngineStreams {
  const http = dockerHttp(socketPath);
  const bounds = { timeoutMs: TIMEOUT_MS, silenceMs: TIMEOUT_MS };
  const post = <T>(path: string, body?: object, query?: Record<string, string>) =>
    http.call<T>({
      method: "POST",
      path,
      doing: "ask the engine",
      ...bounds,
      ...(body && { body }),
      ...(query && { query }),
    });
  const hijack = (path: string, body: object, query?: Record<string, string>) =>
    http.hijack({
      method: "POST",
      path,
      body,
      doing: "open the process's streams",
      ...bounds,
      ...(query && { query }),
    });
  return {
    async attach(name, { tty }) {
      const query = { stream: "1", stdin: "1", stdout: "1", stderr: "1", detachKeys: DETACH_KEYS };
      return streamsOf(await hijack(`/containers/${name}/attach`, {}, query), tty);
    },
    async resize(name, { columns, rows }) {
      await post(`/containers/${name}/resize`, undefined, { h: String(rows), w: String(columns) });
    },
    async exec(name, { command, env, tty }) {
      const { Id } = await post<{ Id: string }>(`/containers/${name}/exec`, {
        AttachStdin: true,
        AttachStdout: true,
        AttachStderr: true,
        DetachKeys: DETACH_KEYS,
        Tty: tty,
        Cmd: command,
        Env: Object.entries(env).map(([key, value]) => `${key}=${value}`),
      });
      const body = { Detach: false, Tty: tty };
      return { id: Id, streams: streamsOf(await hijack(`/exec/${Id}/start`, body), tty) };
    },
    async execResize(id, { columns, rows }) {
      await post(`/exec/${id}/resize`, undefined, { h: String(rows), w: String(columns) });
    },
    async execState(id) {
      const path = `/exec/${id}/json`;
      const { Running, ExitCode, Pid } = await http.call<{ Running: boolean; ExitCode: number | null; Pid: number }>({
        ...{ method: "GET", path, doing: "ask the engine", ...bounds },
      });
      return {
        running: Running,
        ...(ExitCode === null || Running ? {} : { exitCode: ExitCode }),
        ...(Pid > 0 ? { pid: Pid } : {}),
      };
    },
  };
}

function streamsOf({ socket, head }: Hijacked, tty: boolean): ProcessStreams {
  socket.on("error", () => undefined); // the reader hears of it; a write to an ended process is no error
  const chunks = async function* (): AsyncGenerator<Buffer> {
    if (head.length > 0) yield head;
    try {
      yield* socket as AsyncIterable<Buffer>;
    } catch {
      // broken off: what came is all there is, and how it ended is asked elsewhere
    }
  };
  const terminal = async function* (): AsyncGenerator<OutputChunk> {
    for await (const data of chunks()) yield { stream: "stdout", data };
  };
  return {
    output: tty ? terminal() : rawFrames(chunks()),
    async write(data) {
      if (!socket.writable || socket.write(data)) return;
      await new Promise<void>((resolve) => {
        const done = () => {
          socket.off("drain", done).off("close", done);
          resolve();
        };
        socket.on("drain", done).on("close", done);
      });
    },
    endInput: () => void socket.end(),
    destroy: () => void socket.destroy(),
  };
}
