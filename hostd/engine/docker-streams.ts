// Docker's hijacked connections: the streams of a container or of a command in it, over HTTP that becomes a plain two-way socket
// (API 1.41, POST .../attach and /exec/:id/start with `Upgrade: tcp`). Closing the write side is an end of stdin.
import { request } from "node:http";
import type { Socket } from "node:net";
import { text } from "node:stream/consumers";
import { Fault } from "#api/fault.ts";
import { engineFault } from "./docker.ts";
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
  const post = (path: string, body?: unknown) => call(socketPath, "POST", path, body);
  return {
    async attach(name, { tty }) {
      const query = `stream=1&stdin=1&stdout=1&stderr=1&detachKeys=${encodeURIComponent(DETACH_KEYS)}`;
      return streamsOf(await hijack(socketPath, `/containers/${name}/attach?${query}`, undefined), tty);
    },
    async resize(name, { columns, rows }) {
      await post(`/containers/${name}/resize?h=${rows}&w=${columns}`);
    },
    async exec(name, { command, env, tty }) {
      const { Id } = (await post(`/containers/${name}/exec`, {
        AttachStdin: true,
        AttachStdout: true,
        AttachStderr: true,
        DetachKeys: DETACH_KEYS,
        Tty: tty,
        Cmd: command,
        Env: Object.entries(env).map(([key, value]) => `${key}=${value}`),
      })) as { Id: string };
      const body = { Detach: false, Tty: tty };
      return { id: Id, streams: streamsOf(await hijack(socketPath, `/exec/${Id}/start`, body), tty) };
    },
    async execResize(id, { columns, rows }) {
      await post(`/exec/${id}/resize?h=${rows}&w=${columns}`);
    },
    async execState(id) {
      const found = await call(socketPath, "GET", `/exec/${id}/json`);
      const { Running, ExitCode, Pid } = found as { Running: boolean; ExitCode: number | null; Pid: number };
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

interface Hijacked {
  socket: Socket;
  head: Buffer;
}

function hijack(socketPath: string, path: string, body: unknown): Promise<Hijacked> {
  const payload = JSON.stringify(body ?? {});
  return new Promise((resolve, reject) => {
    const req = request({
      socketPath,
      method: "POST",
      path: `/v1.41${path}`,
      headers: {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(payload),
        connection: "Upgrade",
        upgrade: "tcp",
      },
    });
    const fail = (cause: unknown) => reject(engineFault("open the process's streams", cause));
    req.setTimeout(TIMEOUT_MS, () => req.destroy(new Error("no answer in time")));
    req.on("upgrade", (_reply, socket: Socket, head: Buffer) => {
      socket.setTimeout(0);
      socket.setNoDelay?.(true);
      resolve({ socket, head });
    });
    req.on("response", (reply) => void refusal(reply.statusCode ?? 500, text(reply)).then(fail, fail));
    req.on("error", fail);
    req.end(payload);
  });
}

function call(socketPath: string, method: string, path: string, body?: unknown): Promise<unknown> {
  const payload = body === undefined ? "" : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(payload) };
    const req = request({ socketPath, method, path: `/v1.41${path}`, headers }, (reply) => {
      const received = text(reply);
      const status = reply.statusCode ?? 500;
      if (status >= 300) return void refusal(status, received).then(fail, fail);
      received.then((json) => resolve(json === "" ? undefined : JSON.parse(json))).catch(fail);
    });
    const fail = (cause: unknown) => reject(cause instanceof Fault ? cause : engineFault("ask the engine", cause));
    req.setTimeout(TIMEOUT_MS, () => req.destroy(new Error("no answer in time")));
    req.on("error", fail);
    req.end(payload);
  });
}

/** Docker's own words with its status, as the adapter of the other calls gets them. */
async function refusal(statusCode: number, body: Promise<string>): Promise<Error> {
  const received = await body;
  const message = /"message":"((?:[^"\\]|\\.)*)"/.exec(received)?.[1] ?? received;
  return Object.assign(new Error(message.slice(0, 300)), { statusCode });
}
