// As little of HTTP/1.1 over TLS as a simulated member needs: one request at a time on a kept connection, answers by length or in
// chunks. The simulator shares two processors with control, so it must cost little.
import { connect, type TLSSocket } from "node:tls";
import { CONTROL_NAME } from "#api/client.ts";

export interface Identity {
  ca: string;
  key: string;
  cert: string;
}

export interface Connection {
  /** Resolves with status and body; rejects when the connection ends first. */
  post(path: string, body: string): Promise<{ status: number; body: string }>;
  /** Calls `onEvent` with the data of each event until the connection ends. */
  stream(path: string, onEvent: (event: string, data: string) => void): void;
  destroy(): void;
}

export function openConnection(port: number, identity: Identity, hello: string): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect({ host: "127.0.0.1", port, servername: CONTROL_NAME, ...identity });
    socket.setNoDelay(true);
    let rest: Buffer = Buffer.alloc(0);
    /** Arrived and not yet joined to the rest: a long answer is put together once, when all of it is there. */
    let arrived: Buffer[] = [];
    let arrivedBytes = 0;
    let neededBytes = 0;
    let answered: ((answer: { status: number; body: string }) => void) | undefined;
    let failed: (error: Error) => void = reject;
    let read = (): void => {
      const end = rest.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = rest.subarray(0, end).toString("latin1");
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (rest.length < end + 4 + length) return;
      const body = rest.subarray(end + 4, end + 4 + length).toString();
      rest = rest.subarray(end + 4 + length);
      const done = answered;
      answered = undefined;
      done?.({ status: Number(head.slice(9, 12)), body });
    };
    socket.on("data", (chunk: Buffer) => {
      arrived.push(chunk);
      arrivedBytes += chunk.length;
      if (rest.length + arrivedBytes < neededBytes) return;
      rest = rest.length === 0 && arrived.length === 1 ? chunk : Buffer.concat([rest, ...arrived]);
      arrived = [];
      arrivedBytes = 0;
      read();
    });
    const onEnd = (error?: Error) => failed(error ?? new Error("the connection ended"));
    socket.on("error", onEnd);
    socket.on("close", () => onEnd());
    const host = `host: 127.0.0.1:${port}\r\nflynn-hello: ${hello}\r\n`;
    socket.once("secureConnect", () => {
      failed = () => undefined;
      resolve({
        post: (path, body) =>
          new Promise((done, refuse) => {
            answered = done;
            failed = refuse;
            const length = Buffer.byteLength(body);
            socket.write(
              `POST ${path} HTTP/1.1\r\n${host}content-type: application/json\r\ncontent-length: ${length}\r\n\r\n${body}`,
            );
          }),
        stream(path, onEvent) {
          read = eventReader(
            () => rest,
            (next, bytes) => {
              rest = next;
              neededBytes = bytes;
            },
            onEvent,
          );
          socket.write(`GET ${path} HTTP/1.1\r\n${host}accept: text/event-stream\r\n\r\n`);
        },
        destroy: () => void socket.destroy(),
      });
    });
  });
}

const NOTHING = Buffer.alloc(0);

/** Takes the chunks off and hands on what is whole. */
function eventReader(
  get: () => Buffer,
  put: (rest: Buffer, neededBytes: number) => void,
  onEvent: (event: string, data: string) => void,
): () => void {
  let started = false;
  let pieces: Buffer[] = [];
  return () => {
    let rest = get();
    let neededBytes = 0;
    if (!started) {
      const end = rest.indexOf("\r\n\r\n");
      if (end < 0) return;
      const status = rest.subarray(9, 12).toString();
      if (status !== "200") throw new Error(`a stream was answered with ${rest.toString()}`);
      started = true;
      rest = rest.subarray(end + 4);
    }
    for (;;) {
      const line = rest.indexOf("\r\n");
      if (line < 0) break;
      const size = Number.parseInt(rest.subarray(0, line).toString("latin1"), 16);
      neededBytes = line + 2 + size + 2;
      if (rest.length < neededBytes) break;
      neededBytes = 0;
      pieces.push(rest.subarray(line + 2, line + 2 + size));
      rest = rest.subarray(line + 2 + size + 2);
      const last = pieces.at(-1)!;
      if (last.length >= 2 && last.at(-1) === 10 && last.at(-2) === 10) {
        const text = pieces.length === 1 ? last.toString() : Buffer.concat(pieces).toString();
        pieces = [];
        for (const block of text.split("\n\n")) {
          const event = /^event: (\w+)$/m.exec(block)?.[1];
          const at = block.indexOf("data: ");
          if (event !== undefined && at >= 0) onEvent(event, block.slice(at + 6));
        }
      }
    }
    put(rest.length === 0 ? NOTHING : Buffer.from(rest), neededBytes);
  };
}
