import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import WebSocket, { WebSocketServer } from "ws";
import { type FrameSocket, frameSocket, WINDOW_BYTES } from "#api/frame-socket.ts";
import { DATA_MOST_BYTES, encodeFrame } from "#api/frames.ts";
import { until } from "#lib/time.ts";

interface Pair {
  near: FrameSocket;
  far: FrameSocket;
  nearSocket: WebSocket;
  farSocket: WebSocket;
}

async function withPair(body: (pair: Pair) => Promise<void>, pingEveryMs = 15_000): Promise<void> {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
  await once(server, "listening");
  const nearSocket = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`, {
    perMessageDeflate: false,
  });
  const [[farSocket]] = (await Promise.all([once(server, "connection"), once(nearSocket, "open")])) as [
    [WebSocket],
    unknown,
  ];
  try {
    await body({ near: frameSocket(nearSocket), far: frameSocket(farSocket, { pingEveryMs }), nearSocket, farSocket });
  } finally {
    nearSocket.terminate();
    farSocket.terminate();
    await new Promise((resolve) => server.close(resolve));
  }
}

test("a slow reader holds its writer up at one window, and every byte arrives", () =>
  withPair(async ({ near, far }) => {
    const { promise: go, resolve: release } = Promise.withResolvers<void>();
    let received = 0;
    far.receive(async (frame) => {
      await go;
      if (frame.type === "stdin") received += frame.data.length;
    });
    const total = WINDOW_BYTES * 8;
    let sent = 0;
    const sending = (async () => {
      for (const part = Buffer.alloc(10_000); sent < total; sent += part.length) await near.sendData("stdin", part);
    })();
    await until(() => sent > WINDOW_BYTES / 2, { what: "the window being used", timeoutMs: 30_000 });
    let before = -1;
    const standsStill = () => {
      const still = sent === before;
      before = sent;
      return still;
    };
    await until(standsStill, { what: "the writer standing still", timeoutMs: 30_000 });
    assert.ok(sent <= WINDOW_BYTES + DATA_MOST_BYTES, `${sent} bytes were sent to a reader that read none`);
    release();
    await sending;
    await until(() => received === sent, { what: "all of it arriving", timeoutMs: 10_000 });
  }));

test("signals pass data that waits", () =>
  withPair(async ({ near, far }) => {
    const seen: string[] = [];
    far.receive(async (frame) => {
      if (frame.type === "stdin") await new Promise(() => undefined);
      seen.push(frame.type);
    });
    await near.sendData("stdin", Buffer.alloc(10));
    near.send({ type: "signal", signal: "INT" });
    near.send({ type: "stdin-eof" });
    await until(() => seen.length > 0, { what: "the signal", timeoutMs: 30_000 });
    assert.equal(seen, ["signal"]);
  }));

test("the end of a stream comes after its data, however slowly that is taken", () =>
  withPair(async ({ near, far }) => {
    const seen: string[] = [];
    far.receive(async (frame) => {
      await new Promise((resolve) => setImmediate(resolve));
      seen.push(frame.type);
    });
    for (let n = 0; n < 5; n++) await near.sendData("stdout", Buffer.from("x"));
    near.send({ type: "exit", exit: { code: 0 } });
    await until(() => seen.length === 6, { what: "all frames", timeoutMs: 30_000 });
    assert.equal(seen, [...Array(5).fill("stdout"), "exit"]);
  }));

test("who sends more than its window is cut off", () =>
  withPair(async ({ far, nearSocket }) => {
    far.receive(() => new Promise(() => undefined));
    const frame = encodeFrame({ type: "stdin", data: Buffer.alloc(60_000) });
    for (let n = 0; n < 20; n++) nearSocket.send(frame);
    await until(() => far.closed.aborted, { what: "the end of the connection", timeoutMs: 30_000 });
    assert.match(String(far.closed.reason), "more was sent than was asked for");
  }));

test("text, and bytes that are no frame, end the connection", async () => {
  for (const garbage of ["hello", Buffer.of(99, 1, 2), Buffer.alloc(0)])
    await withPair(async ({ far, nearSocket }) => {
      far.receive(() => undefined);
      nearSocket.send(garbage);
      await until(() => far.closed.aborted, { what: "the end of the connection", timeoutMs: 30_000 });
    });
});

test("a peer that fell silent is noticed; one that is only slow is not", () =>
  withPair(async ({ far, farSocket, nearSocket }) => {
    far.receive(() => new Promise(() => undefined));
    let pings = 0;
    nearSocket.on("ping", () => pings++);
    await until(() => pings > 4, { what: "pings", timeoutMs: 30_000 });
    assert.not.ok(far.closed.aborted);
    nearSocket.pause(); // as a machine without power: nothing is answered any more
    await until(() => far.closed.aborted, { what: "the silence being noticed", timeoutMs: 30_000 });
    assert.match(String(far.closed.reason), "fell silent");
    await until(() => farSocket.readyState === farSocket.CLOSED, {
      what: "the socket being closed",
      timeoutMs: 30_000,
    });
  }, 50));

test("a writer that waits hears of the end", () =>
  withPair(async ({ near, far, farSocket }) => {
    far.receive(() => new Promise(() => undefined));
    const all = near.sendData("stdin", Buffer.alloc(WINDOW_BYTES * 2));
    farSocket.terminate();
    assert.is(await all, false);
  }));

test.run();
