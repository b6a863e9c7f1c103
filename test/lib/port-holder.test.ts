import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { portHolder, portTaken, socketInodes } from "#lib/port-holder.ts";

test("a listening TCP port names the process that holds it, and a free one nobody", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const holder = await portHolder("tcp", port);
  assert.is(holder?.pid, process.pid);
  assert.is(holder?.command, "node", "a program's name, not a thread's");
  assert.match(await portTaken("tcp", port), new RegExp(`^tcp port ${port} is taken by .+ \\(pid ${process.pid}\\)$`));
  server.close();
  await once(server, "close");
  assert.is(await portHolder("tcp", port), undefined);
});

test("a bound UDP port names the process that holds it", async () => {
  const socket = createSocket("udp4").bind(0, "127.0.0.1");
  await once(socket, "listening");
  assert.is((await portHolder("udp", socket.address().port))?.pid, process.pid);
  socket.close();
});

test("a connection to a port is not a holder of it", () => {
  const row = (state: string) =>
    `  sl  local_address rem_address st tx rx tr tm retrnsmt uid timeout inode\n   0: 0100007F:0050 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0\n`;
  assert.equal(socketInodes(row("0A"), "tcp", 80), ["4242"]);
  assert.equal(socketInodes(row("01"), "tcp", 80), []);
  assert.equal(socketInodes(row("0A"), "tcp", 81), []);
});

test.run();
