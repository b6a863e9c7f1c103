import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { dockerHttp } from "#api/docker-http.ts";
import { isFault } from "#api/fault.ts";
import { causeChain } from "#lib/run.ts";

test("an answer of the engine that has no end is refused at a bound, answers and refusals alike", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-docker-"));
  const socketPath = join(directory, "socket");
  const server = createServer((asked, reply) => {
    reply.writeHead(asked.url?.includes("refused") ? 500 : 200, { "content-type": "application/json" });
    if (asked.url?.includes("small")) return void reply.end('{"a":1}');
    const more = (): void => {
      if (!reply.destroyed) reply.write("x".repeat(64 << 10), more);
    };
    more();
  }).listen(socketPath);
  try {
    await once(server, "listening");
    const { call } = dockerHttp(socketPath, { answerMostBytes: 1 << 20 });
    for (const path of ["/endless", "/refused"]) {
      const error = await call({ method: "GET", path, doing: "list images" }).catch((cause: unknown) => cause);
      assert.match(String(error), /list images: the engine's answer is larger than 1 MiB/);
    }
    assert.equal(await call({ method: "GET", path: "/small", doing: "inspect" }), { a: 1 });
  } finally {
    server.closeAllConnections();
    server.close();
    await rm(directory, { recursive: true, force: true });
  }
});

test("a hijacked connection is both ways, with what came beside the answer; a refusal has Docker's own words", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-docker-"));
  const socketPath = join(directory, "socket");
  const server = createServer((asked, reply) => {
    reply.writeHead(asked.url?.includes("/none/") ? 404 : 409, { "content-type": "application/json" });
    reply.end('{"message":"No such exec instance: none"}');
  });
  server.on("upgrade", (asked, socket) => {
    socket.write(`HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n${asked.url}:`);
    socket.pipe(socket);
  });
  server.listen(socketPath);
  try {
    await once(server, "listening");
    const { hijack, call } = dockerHttp(socketPath);
    const asked = { method: "POST", body: {}, doing: "open the streams", timeoutMs: 10_000 } as const;
    const { socket, head } = await hijack({ ...asked, path: "/exec/e/start", query: { detachKeys: "ctrl-^,ctrl-_" } });
    const echoed = text(socket);
    socket.end("typed");
    assert.is(head.toString() + (await echoed), "/v1.41/exec/e/start?detachKeys=ctrl-%5E%2Cctrl-_:typed");
    server.removeAllListeners("upgrade");
    const error = await hijack({ ...asked, path: "/exec/none/start" }).catch((cause: unknown) => cause);
    assert.ok(isFault(error, "not-found"), String(error));
    assert.equal(causeChain(error), ["open the streams", "No such exec instance: none"]);
    assert.ok(isFault(await call({ ...asked, path: "/taken" }).catch((cause: unknown) => cause), "conflict"));
  } finally {
    server.closeAllConnections();
    server.close();
    await rm(directory, { recursive: true, force: true });
  }
});

test.run();
