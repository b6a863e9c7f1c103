// Control's unix socket for the relays that git and sshd start: the pre-receive hook, a key's forced command, and the question
// whose key it is. Each connection opens with one line of JSON; control answers in frames.
import { chmod, chown, mkdir, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { dirname } from "node:path";
import { Fault } from "#api/fault.ts";
import type { Log } from "#lib/log.ts";
import { deadline } from "#lib/time.ts";
import { exitFrame, frame, KIND } from "./relay/frames.ts";

export interface Opening {
  ask: string;
  [name: string]: unknown;
}

export interface Caller {
  opening: Opening;
  /** What it sends after its opening. */
  input: Socket;
  /** Bytes for its stdout or stderr; false when it should be waited for. Quietly nothing once it has gone. */
  write(kind: "stdout" | "stderr", bytes: Buffer): boolean;
  drained(): Promise<void>;
  /** Its exit code; the connection is over then. */
  exit(code: number): void;
  /** Aborts when the caller has gone. */
  gone: AbortSignal;
}

export interface Door {
  close(): Promise<void>;
}

export interface DoorOptions {
  path: string;
  /** Account whose relays may connect besides control's own: sshd's sessions. */
  ownerUid?: number;
  serve: (caller: Caller) => Promise<void>;
  log: Log;
}

const OPENING_MS = 10_000;
const OPENING_MOST_BYTES = 16_384;
const CHUNK_MOST_BYTES = 1 << 16;
/** What a caller that reads nothing is held for; git's own output must never wait for it. */
const UNREAD_MOST_BYTES = 16 << 20;
/** sun_path of unix(7), with its NUL. */
const PATH_MOST_BYTES = 107;

export async function openDoor({ path, ownerUid, serve, log }: DoorOptions): Promise<Door> {
  if (Buffer.byteLength(path) > PATH_MOST_BYTES)
    throw new Fault(
      "invalid",
      `the state directory's path is too long for the socket ${path}: ${PATH_MOST_BYTES} bytes at most`,
    );
  // To be passed through by sshd's sessions, which see this directory alone; the one above is closed to all others.
  await mkdir(dirname(path), { recursive: true });
  await chmod(dirname(path), 0o711);
  await rm(path, { force: true });
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => undefined); // the close that follows says it to whoever serves it
    deadline(readOpening(socket), OPENING_MS, "a relay's opening line")
      .then((opening) => serve(callerOf(socket, opening)))
      .catch((error: unknown) => {
        log.error({ err: error }, "a relay could not be served");
        socket.destroy();
      });
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(path, resolve));
  // The directory is closed to others, so nobody gets in between.
  await chmod(path, 0o600);
  if (ownerUid !== undefined) await chown(path, ownerUid, 0);
  return {
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function readOpening(socket: Socket): Promise<Opening> {
  let kept = Buffer.alloc(0);
  const line = await new Promise<string>((resolve, reject) => {
    const onData = (chunk: Buffer) => {
      kept = Buffer.concat([kept, chunk]);
      const end = kept.indexOf(0x0a);
      if (end < 0 && kept.length <= OPENING_MOST_BYTES) return;
      socket.pause();
      socket.off("data", onData);
      if (end < 0) return reject(new Error("a relay's opening line is too long"));
      if (end + 1 < kept.length) socket.unshift(kept.subarray(end + 1));
      resolve(kept.toString("utf8", 0, end));
    };
    socket.on("data", onData);
    socket.once("close", () => reject(new Error("a relay went before it said why it came")));
  });
  const opening: unknown = JSON.parse(line);
  if (typeof opening !== "object" || opening === null || typeof (opening as Opening).ask !== "string")
    throw new Error("a relay's opening line is not sound");
  return opening as Opening;
}

function callerOf(socket: Socket, opening: Opening): Caller {
  const gone = new AbortController();
  const leave = () => gone.abort(new Error("the caller has gone"));
  if (socket.destroyed) leave();
  socket.once("close", leave);
  return {
    opening,
    input: socket,
    gone: gone.signal,
    write(kind, bytes) {
      if (!socket.writable) return true;
      let room = true;
      for (let at = 0; at < bytes.length; at += CHUNK_MOST_BYTES)
        room = socket.write(frame(KIND[kind], bytes.subarray(at, at + CHUNK_MOST_BYTES)));
      if (socket.writableLength > UNREAD_MOST_BYTES) socket.destroy();
      return room;
    },
    drained: () =>
      new Promise((resolve) => {
        if (!socket.writable || !socket.writableNeedDrain) return resolve();
        socket.once("drain", resolve).once("close", () => resolve());
      }),
    exit(code) {
      if (socket.writable) socket.end(exitFrame(code));
      socket.resume(); // what it still sends is passed over, so that its end is seen
    },
  };
}
