// time limit: 120 s
// What stays open: WebSocket, server-sent events and other streams, through the real HAProxy, with timeouts scaled down: a
// silence is 600 ms here where it is 60 s in service, a tunnel's 3 s where it is an hour.
import { once } from "node:events";
import { createServer, get as httpGet, type IncomingMessage, type ServerResponse } from "node:http";
import { connect as connectH2 } from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { WebSocket, WebSocketServer } from "ws";
import { until } from "#lib/time.ts";
import { type Rig, startRig, target } from "./rig.ts";
import { certificateFor } from "./secure.ts";

const SILENCE_MS = 600;
const TUNNEL_MS = 3_000;

interface Streams {
  port: number;
  /** Open event streams. */
  open: ServerResponse[];
  close(): Promise<void>;
}

/** `/ws` echoes, `/events` is a stream that is silent until told, all else answers at once. */
async function streamServer(): Promise<Streams> {
  const open: ServerResponse[] = [];
  const server = createServer((req, res) => {
    res.writeHead(200, { "content-type": req.url?.startsWith("/plain") ? "text/plain" : "text/event-stream" });
    res.write(": open\n\n");
    open.push(res);
  });
  const sockets = new WebSocketServer({ server, path: "/ws" });
  sockets.on("connection", (socket) =>
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary })),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    open,
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      sockets.close();
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

let rig: Rig | undefined;
let streams: Streams | undefined;
test.before.each(async () => {
  streams = await streamServer();
  rig = await startRig({
    https: true,
    timeouts: { clientMs: SILENCE_MS, serverMs: SILENCE_MS, tunnelMs: TUNNEL_MS },
  });
  const certificates = [await certificateFor("crt-1", ["a.test"])];
  await rig.serve({ ...target(1, [{ app: "chat", routes: ["a.test"], jobs: [streams] }]), certificates });
});
test.after.each(async () => {
  await streams!.close();
  await rig!.end();
});

for (const scheme of ["ws", "wss"] as const)
  test(`a WebSocket (${scheme}) passes text and binary both ways, and lives through silences longer than a request's`, async () => {
    const port = scheme === "ws" ? rig!.port : rig!.httpsPort;
    const options = { headers: { host: "a.test" }, servername: "a.test", rejectUnauthorized: false };
    const socket = new WebSocket(`${scheme}://127.0.0.1:${port}/ws`, options);
    try {
      await once(socket, "open");
      const echo = async (message: string | Buffer): Promise<Buffer> => {
        socket.send(message);
        const [data] = (await once(socket, "message")) as [Buffer];
        return data;
      };
      assert.is((await echo("hello")).toString(), "hello");
      const binary = Buffer.from(Array.from({ length: 100_000 }, (_, n) => n & 255));
      assert.ok((await echo(binary)).equals(binary));
      await silence();
      await silence();
      assert.is((await echo("still there")).toString(), "still there");
      const [code] = (await once(socket, "close")) as [number];
      assert.is(code, 1006, "the tunnel's own limit ends it");
    } finally {
      socket.terminate();
    }
  });

/** Opens `/events` and keeps what came, piece by piece. */
async function follow(headers: Record<string, string>, path = "/events") {
  const req = httpGet({ host: "127.0.0.1", port: rig!.port, path, headers: { host: "a.test", ...headers } });
  const [res] = (await once(req, "response")) as [IncomingMessage];
  const pieces: { text: string }[] = [];
  let ended = false;
  res.on("data", (chunk: Buffer) => pieces.push({ text: chunk.toString() }));
  res.on("error", () => undefined);
  res.on("close", () => (ended = true));
  return { pieces, isEnded: () => ended, end: () => req.destroy() };
}

/** As long as the router lets a plain answer be silent: one is opened, and the router itself ends it. */
async function silence(): Promise<void> {
  const plain = await follow({ accept: "*/*" }, "/plain");
  await until(plain.isEnded, { what: "end of a plain stream", timeoutMs: SILENCE_MS * 20, everyMs: 20 });
}

test("an event arrives when it is written, each by itself: nothing is held back", async () => {
  const client = await follow({ accept: "text/event-stream" });
  await until(() => client.pieces.length > 0 && streams!.open.length > 0, { what: "open stream", timeoutMs: 30_000 });
  for (let n = 0; n < 20; n++) {
    const before = client.pieces.length;
    streams!.open[0]!.write(`data: ${n}\n\n`);
    await until(() => client.pieces.length > before, { what: `event ${n}`, timeoutMs: 2_000, everyMs: 1 });
    assert.is(client.pieces.at(-1)!.text, `data: ${n}\n\n`);
  }
  client.end();
});

test("an event stream that the client asked for as one is not cut by silence; another answer is", async () => {
  const events = await follow({ accept: "text/event-stream" });
  const other = await follow({ accept: "*/*" }, "/plain");
  await until(() => streams!.open.length === 2, { what: "both open", timeoutMs: 30_000 });
  await until(() => other.isEnded(), { what: "end of the plain stream", timeoutMs: SILENCE_MS * 5 });
  await silence();
  assert.not(events.isEnded());
  streams!.open[0]!.write("data: late\n\n");
  await until(() => events.pieces.at(-1)!.text === "data: late\n\n", { what: "late event", timeoutMs: 30_000 });
  events.end();
});

test("what was answered as an event stream may be silent from then on, whatever its client accepts; other paths may not", async () => {
  const first = await follow({ accept: "*/*" }, "/quiet");
  await until(() => first.isEnded(), { what: "end of the first", timeoutMs: SILENCE_MS * 5 });
  const again = await follow({ accept: "*/*" }, "/quiet?since=4");
  const other = await follow({ accept: "*/*" }, "/another");
  await until(() => other.isEnded(), { what: "end on another path", timeoutMs: SILENCE_MS * 5 });
  await silence();
  assert.not(again.isEnded());
  again.end();
});

test("a comment more often than the limit keeps any stream open", async () => {
  const client = await follow({ accept: "*/*" }, "/plain");
  await until(() => client.pieces.length > 0, { what: "open stream", timeoutMs: 30_000 });
  let isOver = false;
  const enough = silence()
    .then(silence)
    .then(() => (isOver = true));
  for (let n = 1; !isOver; n++) {
    streams!.open[0]!.write(":\n\n");
    await until(() => client.pieces.length > n, { what: `comment ${n}`, timeoutMs: 2_000, everyMs: 20 });
  }
  await enough;
  assert.not(client.isEnded());
  client.end();
});

test("a WebSocket over HTTP/2 (RFC 8441), as browsers open it on an h2 connection, reaches the job", async () => {
  const session = connectH2(`https://127.0.0.1:${rig!.httpsPort}`, { servername: "a.test", rejectUnauthorized: false });
  try {
    await once(session, "remoteSettings");
    assert.is(session.remoteSettings.enableConnectProtocol, true);
    const stream = session.request({
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":scheme": "https",
      ":path": "/ws",
      ":authority": "a.test",
      "sec-websocket-version": "13",
    });
    stream.on("error", () => undefined);
    const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
    assert.is(headers[":status"], 200);
    const pieces: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => pieces.push(chunk));
    // One masked text frame (RFC 6455 5.2) with the mask 0; the answer comes unmasked.
    stream.write(Buffer.concat([Buffer.from([0x81, 0x85, 0, 0, 0, 0]), Buffer.from("hello")]));
    await until(() => Buffer.concat(pieces).equals(Buffer.concat([Buffer.from([0x81, 5]), Buffer.from("hello")])), {
      what: "echo",
      timeoutMs: 30_000,
    });
  } finally {
    session.destroy();
  }
});

test("an event stream over HTTP/2 lives through silence too", async () => {
  const session = connectH2(`https://127.0.0.1:${rig!.httpsPort}`, { servername: "a.test", rejectUnauthorized: false });
  try {
    const stream = session.request({ ":path": "/events", ":authority": "a.test", accept: "text/event-stream" });
    let text = "";
    stream.setEncoding("utf8");
    stream.on("data", (chunk: string) => (text += chunk));
    stream.on("error", () => undefined);
    await until(() => streams!.open.length === 1, { what: "open stream", timeoutMs: 30_000 });
    await silence();
    await silence();
    streams!.open[0]!.write("data: late\n\n");
    await until(() => text.includes("late"), { what: "late event", timeoutMs: 30_000 });
  } finally {
    session.destroy();
  }
});

test.run();
