import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { dockerHttp } from "../../../hostd/builds/docker-http.ts";

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

test.run();
