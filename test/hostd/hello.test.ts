// A host's own server and control: each beside an older and a newer of the other, over HTTP/1.1, over HTTP/2 and at a session's upgrade.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attachJob } from "#api/attach.ts";
import { createClient, hostServerName } from "#api/client.ts";
import type { Fault } from "#api/fault.ts";
import { hostLog } from "#api/logs.ts";
import { formatEvent } from "#api/stream.ts";
import { type Hello, ownHello, type PartName } from "#api/version.ts";
import { silentLog } from "#lib/log.ts";
import { hostStreams } from "../../control/host-streams.ts";
import { logRoute } from "../../hostd/logs/route.ts";
import { logStore } from "../../hostd/logs/store.ts";
import { startHostServer } from "../../hostd/server.ts";
import { testCa } from "./fake-control.ts";

const ca = await testCa();
const serverName = hostServerName("host-1");
const identity = await ca.issue({ subject: "O=flynn:host,CN=host-1", names: [serverName] });
const control = await ca.issue({ subject: "O=flynn:control,CN=control", names: ["client"] });

const speaks = (part: PartName, version: string, oldestProtocol: number, protocol: number): Hello => ({
  ...ownHello(part),
  version,
  oldestProtocol,
  protocol,
});

/** One answer of each way that control speaks to a host: `fine`, or the words of the refusal. */
async function ways(host: Hello | undefined, asker: Hello | undefined): Promise<string[]> {
  const server = await startHostServer({
    routes: [
      {
        method: "GET",
        path: new RegExp(`^${hostLog.path}$`),
        async answer(req, res) {
          const isStream = req.headers.accept === "text/event-stream";
          res.writeHead(200, { "content-type": isStream ? "text/event-stream" : "application/json" });
          res.end(isStream ? formatEvent({ event: "current" }) : '{"items":[],"weather":"fine"}');
        },
      },
    ],
    open: () => async (socket) => socket.close(),
    identity: { ...identity, caPem: ca.caPem },
    host: "127.0.0.1",
    port: 0,
    log: silentLog(),
    ...(host ? { hello: host } : {}),
  });
  const url = `https://127.0.0.1:${server.port}`;
  const client = createClient({
    urls: [url],
    caPem: ca.caPem,
    serverName,
    identity: control,
    ...(asker ? { hello: asker } : {}),
  });
  const streams = hostStreams(ca.caPem, control, asker ?? ownHello("control"));
  const said = (work: Promise<unknown>) =>
    work.then(
      () => "fine",
      (fault: Fault) => `${fault.code}: ${fault.message}`,
    );
  const read = async () => {
    const input = { query: { app: "hello" }, signal: AbortSignal.timeout(10_000), timeoutMs: 5_000 };
    for await (const _ of streams.stream({ id: "host-1", url }, hostLog, input as never));
  };
  const attach = async () => (await client.connect(attachJob, { params: { id: "j-1" } })).terminate();
  try {
    return [await said(client.call(hostLog, { query: { app: "hello" } })), await said(read()), await said(attach())];
  } finally {
    client.close();
    streams.close();
    await server.close();
  }
}

test("control and a host understand each other when one is newer and still speaks the other's protocol, or says nothing", async () => {
  const fine = ["fine", "fine", "fine"];
  assert.equal(await ways(undefined, ownHello("control")), fine);
  assert.equal(await ways(undefined, speaks("control", "9.0.0", 1, 9)), fine);
  assert.equal(await ways(speaks("hostd", "9.0.0", 1, 9), ownHello("control")), fine);
  assert.equal(await ways(undefined, undefined), fine);
});

test("else each way of speaking ends in the same words of what to do", async () => {
  const old = await ways(undefined, speaks("control", "9.0.0", 9, 9));
  for (const words of old)
    assert.match(
      words,
      /^incompatible: this host's agent \(hostd\) is too old: .* needs 9; boot the host with an image of 9\.0\.0/,
    );
  const young = await ways(speaks("hostd", "9.0.0", 9, 9), ownHello("control"));
  for (const words of young) assert.match(words, /^incompatible: control is too old: .*update the appliance first/);
});

test("a newer control's question with a field that this host does not know is answered", async () => {
  const directory = await mkdtemp(join(tmpdir(), "hostd-hello-"));
  const store = logStore({ directory, onError: () => undefined });
  const server = await startHostServer({
    routes: [logRoute({ store })],
    identity: { ...identity, caPem: ca.caPem },
    host: "127.0.0.1",
    port: 0,
    log: silentLog(),
  });
  const urls = [`https://127.0.0.1:${server.port}`];
  const client = createClient({ urls, caPem: ca.caPem, serverName, identity: control });
  try {
    const query = { app: "hello", lines: 1, colour: "blue" };
    assert.equal(await client.call(hostLog, { query: query as never }), { items: [] });
  } finally {
    client.close();
    await server.close();
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
});

test.run();
