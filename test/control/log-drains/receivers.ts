// Targets of drains on loopback: syslog over TCP or TLS that takes octet-counted frames apart, and HTTPS that answers as it is told.
import type { IncomingMessage } from "node:http";
import { createServer as createHttps } from "node:https";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createServer as createTls } from "node:tls";
import { gunzipSync } from "node:zlib";
import type { LogLine } from "#api/logs.ts";

export interface Pair {
  certificate: string;
  key: string;
}

export interface SyslogReceiver {
  port: number;
  messages: string[];
  /** Connections there were. */
  connections: number;
  /** Reads nothing more until `resume`. */
  pause(): void;
  resume(): void;
  /** Ends every connection. */
  cut(): void;
  close(): Promise<void>;
}

export async function syslogReceiver(tls?: Pair, port = 0): Promise<SyslogReceiver> {
  const sockets = new Set<Socket>();
  let paused = false;
  const it = { port: 0, messages: [] as string[], connections: 0 } as SyslogReceiver;
  const onConnection = (socket: Socket): void => {
    it.connections++;
    sockets.add(socket);
    let rest = Buffer.alloc(0);
    socket.on("error", () => undefined);
    socket.once("close", () => sockets.delete(socket));
    socket.on("data", (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      for (;;) {
        const match = /^(\d+) /.exec(rest.toString("latin1", 0, 12));
        if (match === null) return;
        const [from, length] = [match[0].length, Number(match[1])];
        if (rest.length < from + length) return;
        it.messages.push(rest.toString("utf8", from, from + length));
        rest = rest.subarray(from + length);
      }
    });
    if (paused) socket.pause();
  };
  const server: Server = tls
    ? createTls({ cert: tls.certificate, key: tls.key }, onConnection)
    : createServer(onConnection);
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  it.port = (server.address() as AddressInfo).port;
  return Object.assign(it, {
    pause() {
      paused = true;
      for (const socket of sockets) socket.pause();
    },
    resume() {
      paused = false;
      for (const socket of sockets) socket.resume();
    },
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  });
}

export interface HttpsReceiver {
  port: number;
  lines: LogLine[];
  requests: { at: number; authorization: string | undefined; encoding: string | undefined; path: string | undefined }[];
  /** Answer of the requests to come. */
  answer: { status: number; headers?: Record<string, string> };
  close(): Promise<void>;
}

export async function httpsReceiver({ certificate, key }: Pair): Promise<HttpsReceiver> {
  const it: HttpsReceiver = { port: 0, lines: [], requests: [], answer: { status: 204 }, close: async () => undefined };
  const server = createHttps({ cert: certificate, key }, async (req: IncomingMessage, res) => {
    const { authorization, "content-encoding": encoding } = req.headers;
    it.requests.push({ at: performance.now(), authorization, encoding, path: req.url });
    const { status, headers = {} } = it.answer;
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    if (status < 300)
      it.lines.push(...(JSON.parse(String(encoding === "gzip" ? gunzipSync(body) : body)) as LogLine[]));
    res.writeHead(status, headers);
    res.end();
  });
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  it.port = (server.address() as AddressInfo).port;
  it.close = () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return it;
}
