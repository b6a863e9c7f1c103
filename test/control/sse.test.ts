// A stream's events arrive whole and in order whatever their size, and a long one is never in the process's buffers as a whole.
import { createServer, get, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseEvents, type StreamEvent } from "#api/stream.ts";
import { silentLog } from "#lib/log.ts";
import { deadline } from "#lib/time.ts";
import { sendStream } from "../../control/sse.ts";

const LONG = { text: "\u00fc".repeat(300_000), more: "x".repeat(200_000) };

async function streaming(
  items: () => AsyncIterable<StreamEvent>,
  body: (answer: IncomingMessage, seen: { most: number; ended: Promise<void>; stop: AbortController }) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  let most = 0;
  let over: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    over = resolve;
  });
  const server = createServer((_, raw: ServerResponse) => {
    const write = raw.write.bind(raw);
    raw.write = ((...input: Parameters<typeof write>) => {
      const took = write(...input);
      most = Math.max(most, raw.writableLength);
      return took;
    }) as typeof raw.write;
    raw.once("close", () => stop.abort());
    void sendStream(raw, stop.signal, {
      items,
      admit: () => undefined,
      requestId: "r",
      hello: "h",
      log: silentLog(),
    }).then(over);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    const answer = await new Promise<IncomingMessage>((resolve, reject) =>
      get({ host: "127.0.0.1", port }, resolve).once("error", reject),
    );
    const seen = {
      get most() {
        return most;
      },
      ended,
      stop,
    };
    await deadline(body(answer, seen), 20_000, "the stream");
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

async function* three(): AsyncGenerator<StreamEvent> {
  yield { event: "item", id: "1", data: { n: 1 } };
  yield { event: "item", id: "2", data: LONG };
  yield { event: "current", id: "2" };
}

test("an event of 800 KB arrives as it was, between others, and is handed over in pieces", () =>
  streaming(three, async (answer, seen) => {
    const heard: (StreamEvent | undefined)[] = [];
    for await (const event of parseEvents(answer)) heard.push(event);
    assert.equal(
      heard.map((event) => event?.id),
      ["1", "2", "2"],
    );
    assert.equal(heard[1]?.data, LONG);
    assert.ok(seen.most < 32_000, `${seen.most} bytes waited at once`);
  }));

test("a reader that goes away in the middle of a long event ends its stream", () =>
  streaming(three, async (answer, { ended }) => {
    await new Promise((resolve) => answer.once("data", resolve));
    answer.destroy();
    await ended;
  }));

test.run();
