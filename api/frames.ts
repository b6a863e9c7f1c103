// What goes over the connection of an attached, executed or forwarded session: one frame a WebSocket message, the first byte
// its type, the rest its payload. Streams are bytes; nothing is ever text that is not said to be.
import { Fault } from "./fault.ts";

export interface Start {
  /** exec only: argv, as `docker exec` takes it. */
  command?: string[];
  tty?: boolean;
  env?: Record<string, string>;
  columns?: number;
  rows?: number;
}

/** How it ended: `code` as a shell says it (128+n for a signal); `reason` when something other than the command decided. */
export interface Exit {
  code?: number;
  signal?: string;
  reason?: string;
}

export type DataType = "stdin" | "stdout" | "stderr";
export type Frame =
  /** The client's first frame. */
  | { type: "start"; start: Start }
  /** It runs: what is typed from now on reaches it. */
  | { type: "started" }
  /** What it waits for, before it has started. */
  | { type: "state"; text: string }
  | { type: DataType; data: Buffer }
  /** No more of that stream. */
  | { type: "stdin-eof" | "stdout-eof" }
  | { type: "resize"; columns: number; rows: number }
  | { type: "signal"; signal: string }
  /** The receiver has used so many bytes: the sender may send as many more. */
  | { type: "window"; bytes: number }
  /** The last frame from the host. */
  | { type: "exit"; exit: Exit };

export type FrameType = Frame["type"];
const CODES: Record<FrameType, number> = {
  start: 1,
  started: 2,
  state: 3,
  stdin: 4,
  stdout: 5,
  stderr: 6,
  "stdin-eof": 7,
  "stdout-eof": 8,
  resize: 9,
  signal: 10,
  window: 11,
  exit: 12,
};
const TYPES = new Map(Object.entries(CODES).map(([type, code]) => [code, type as FrameType]));

export const SIGNALS = ["HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP", "WINCH"] as const;

/** Data in one frame; a larger message is refused unread. */
export const DATA_MOST_BYTES = 64 << 10;
export const FRAME_MOST_BYTES = DATA_MOST_BYTES + 1;
const TEXT_MOST_BYTES = 60_000;

export function encodeFrame(frame: Frame): Buffer {
  const code = CODES[frame.type];
  switch (frame.type) {
    case "stdin":
    case "stdout":
    case "stderr":
      return Buffer.concat([Buffer.of(code), frame.data]);
    case "start":
      return withText(code, JSON.stringify(frame.start));
    case "exit":
      return withText(code, JSON.stringify(frame.exit));
    case "state":
      return withText(code, frame.text);
    case "signal":
      return withText(code, frame.signal);
    case "resize": {
      const bytes = Buffer.alloc(5, code);
      bytes.writeUInt16BE(frame.columns, 1);
      bytes.writeUInt16BE(frame.rows, 3);
      return bytes;
    }
    case "window": {
      const bytes = Buffer.alloc(5, code);
      bytes.writeUInt32BE(frame.bytes, 1);
      return bytes;
    }
    default:
      return Buffer.of(code);
  }
}

function withText(code: number, text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length > TEXT_MOST_BYTES)
    throw new Fault("too-large", `a frame's text is at most ${TEXT_MOST_BYTES} bytes`);
  return Buffer.concat([Buffer.of(code), bytes]);
}

/** Throws Fault `invalid` for anything that is no frame. `data` shares memory with the message. */
export function decodeFrame(message: Buffer): Frame {
  const type = TYPES.get(message[0] ?? 0);
  const payload = message.subarray(1);
  switch (type) {
    case "stdin":
    case "stdout":
    case "stderr":
      if (payload.length > DATA_MOST_BYTES) throw unsound(type);
      return { type, data: payload };
    case "start":
      return { type, start: readStart(readJson(type, payload)) };
    case "exit":
      return { type, exit: readExit(readJson(type, payload)) };
    case "state":
      return { type, text: payload.toString() };
    case "signal": {
      const signal = payload.toString("latin1");
      if (!(SIGNALS as readonly string[]).includes(signal)) throw unsound(type);
      return { type, signal };
    }
    case "resize": {
      if (payload.length !== 4) throw unsound(type);
      return { type, columns: payload.readUInt16BE(0), rows: payload.readUInt16BE(2) };
    }
    case "window":
      if (payload.length !== 4) throw unsound(type);
      return { type, bytes: payload.readUInt32BE(0) };
    case "started":
    case "stdin-eof":
    case "stdout-eof":
      if (payload.length > 0) throw unsound(type);
      return { type };
    case undefined:
      throw new Fault("invalid", `no frame begins with byte ${message[0]}`);
  }
}

const unsound = (type: string): Fault => new Fault("invalid", `the ${type} frame is not sound`);

function readJson(type: string, payload: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(payload.toString());
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (cause) {
    throw new Fault("invalid", `the ${type} frame is not JSON`, { cause });
  }
  throw unsound(type);
}

const isSize = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) > 0 && Number(value) < 65_536;
const isArgument = (value: unknown): value is string => typeof value === "string" && !value.includes("\0");
const isCommand = (value: unknown): value is string[] =>
  Array.isArray(value) && value.length > 0 && value.length <= 256 && value.every(isArgument) && value[0] !== "";
const isEnv = (value: unknown): value is Record<string, string> =>
  typeof value === "object" &&
  value !== null &&
  Object.entries(value).every(([name, text]) => /^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name) && isArgument(text));

function readStart({ command, tty, env, columns, rows }: Record<string, unknown>): Start {
  const sound =
    (command === undefined || isCommand(command)) &&
    (tty === undefined || typeof tty === "boolean") &&
    (env === undefined || isEnv(env)) &&
    (columns === undefined || isSize(columns)) &&
    (rows === undefined || isSize(rows));
  if (!sound) throw unsound("start");
  return defined({ command, tty, env, columns, rows }) as Start;
}

function readExit({ code, signal, reason }: Record<string, unknown>): Exit {
  const sound =
    (code === undefined || (Number.isInteger(code) && Number(code) >= 0 && Number(code) <= 255)) &&
    (signal === undefined || typeof signal === "string") &&
    (reason === undefined || typeof reason === "string");
  if (!sound) throw unsound("exit");
  return defined({ code, signal, reason }) as Exit;
}

const defined = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
