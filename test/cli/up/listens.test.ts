// `flynn up` says that it is up when machines can be switched on, and not before.
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { listens } from "../../../cli/up/listens.ts";

test("what takes connections listens, what refuses them does not until it takes them", async () => {
  const server = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const of = (timeoutMs: number) =>
    listens({ address: "127.0.0.1", port, what: "it", timeoutMs, signal: AbortSignal.timeout(30_000) });
  await of(10_000);
  server.close();
  await once(server, "close");
  await of(1).then(
    () => assert.unreachable("nobody listens"),
    (error: Error) => assert.match(error.message, "it"),
  );
  const later = of(20_000);
  server.listen(port, "127.0.0.1");
  await later;
  server.close();
  await once(server, "close");
});

test.run();
