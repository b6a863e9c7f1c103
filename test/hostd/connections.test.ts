// Silent connections in numbers against a host's server: control is served all the same.
import { connect, type Socket } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createClient, hostServerName } from "#api/client.ts";
import { hostLog } from "#api/logs.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { CONNECTION_LIMITS, type ConnectionLimits, connections, tooMany } from "../../hostd/connections.ts";
import { startHostServer } from "../../hostd/server.ts";
import { testCa } from "./fake-control.ts";

const ca = await testCa();
const serverName = hostServerName("host-1");
const identity = await ca.issue({ subject: "O=flynn:host,CN=host-1", names: [serverName] });
const control = await ca.issue({ subject: "O=flynn:control,CN=control", names: ["client"] });
const member = await ca.issue({ subject: "O=flynn:host,CN=host-2", names: ["client"] });

const TRIALS: [claim: string, addresses: string, proved: string, goes: number | undefined][] = [
  ["nobody goes while there is room", "aab", "", undefined],
  ["of an address with too many its oldest goes", "baaaa", "", 1],
  ["whoever came between", "aaaba", "", 0],
  ["of too many in all the oldest of the address with most goes", "cabbbd", "", 2],
  ["with one of each the oldest goes", "abcdef", "", 0],
  ["an address that control came from goes last", "abcdef", "a", 1],
  ["unless there is no other", "aabbcc", "abc", 0],
];

for (const [claim, addresses, proved, goes] of TRIALS)
  test(`on trial: ${claim}`, () => {
    const trial = [...addresses].map((address, n) => ({ address, n }));
    const limits = { trialMost: 5, trialPerAddress: 3, proved: new Set(proved) };
    assert.is(tooMany(trial, limits)?.n, goes);
  });

/** A connection that tells what became of it. */
function wire(remoteAddress: string | undefined, remotePort: number) {
  const on: (() => void)[] = [];
  const it = {
    remoteAddress,
    remotePort,
    destroyed: 0,
    destroy() {
      it.destroyed++;
      for (const listener of on.splice(0)) listener();
    },
    once: (_: "close", listener: () => void) => on.push(listener),
  };
  return it;
}
function kept(over: Partial<ConnectionLimits> = {}) {
  const all = connections({ trialMost: 3, trialPerAddress: 2, controlMost: 2, trialMs: 60_000, ...over });
  const arrive = (address: string, port: number) => {
    const connection = wire(address, port);
    all.arrived(connection);
    return connection;
  };
  return { all, arrive, counts: () => [all.counts().trial, all.counts().control] };
}

test("limits are 256 on trial, 16 of an address, 1,024 of control's, and ten seconds to show who one is", () => {
  assert.equal(CONNECTION_LIMITS, { trialMost: 256, trialPerAddress: 16, controlMost: 1_024, trialMs: 10_000 });
});

test("who arrives is on trial until it shows control's certificate or goes; who is gone already is let go", () => {
  const { all, arrive, counts } = kept();
  const [one, other] = [arrive("a", 1), arrive("a", 2)];
  assert.equal(counts(), [2, 0]);
  all.proved({ remoteAddress: "a", remotePort: 1 });
  all.proved({ remoteAddress: "a", remotePort: 1 });
  all.proved({ remoteAddress: "a", remotePort: 9 });
  assert.equal(counts(), [1, 1]);
  other.destroy();
  assert.equal(counts(), [0, 1]);
  const gone = wire(undefined, 3);
  all.arrived(gone);
  assert.equal([gone.destroyed, counts()], [1, [0, 1]]);
  arrive("b", 1);
  all.closeAll();
  assert.equal([one.destroyed, counts()], [1, [0, 0]]);
});

test("the oldest of an address with too many goes, and control's connections take no place on trial", () => {
  const { all, arrive, counts } = kept();
  const [first, second, third] = [arrive("a", 1), arrive("a", 2), arrive("a", 3)];
  assert.equal([first.destroyed, second.destroyed, third.destroyed], [1, 0, 0]);
  for (const remotePort of [2, 3]) all.proved({ remoteAddress: "a", remotePort });
  assert.equal([arrive("a", 4).destroyed, arrive("a", 5).destroyed, counts()], [0, 0, [2, 2]]);
  all.closeAll();
});

test("of too many of control's the one that came last goes", () => {
  const { all, arrive, counts } = kept();
  const held = [1, 2, 3].map((port) => {
    const connection = arrive("c", port);
    all.proved(connection);
    return connection.destroyed;
  });
  assert.equal(
    [held, counts()],
    [
      [0, 0, 1],
      [0, 2],
    ],
  );
  all.closeAll();
});

test("the sixteen addresses that control came from last are the last to go for others' sake", () => {
  const { all, arrive } = kept({ controlMost: 100, trialMost: 1 });
  for (let n = 0; n <= 16; n++) {
    const connection = arrive(`c${n}`, 1);
    all.proved(connection);
    connection.destroy();
  }
  const [kept1, stranger] = [arrive("c1", 2), arrive("x", 1)];
  assert.equal([kept1.destroyed, stranger.destroyed], [0, 1]);
  kept1.destroy();
  const [oldest, next] = [arrive("c0", 2), arrive("x", 2)];
  assert.equal([oldest.destroyed, next.destroyed], [1, 0], "control was there too long ago");
  all.closeAll();
});

test("who shows nothing in time is let go, and who has shown it stays", async () => {
  const { all, arrive } = kept({ trialMs: 10 });
  const control = arrive("c", 1);
  all.proved(control);
  const silent = arrive("a", 1);
  await until(() => silent.destroyed === 1, { what: "the end of a trial", timeoutMs: 20_000, everyMs: 5 });
  assert.is(control.destroyed, 0);
  all.closeAll();
});

test("a connection that took over an address and port is not forgotten with the one before", () => {
  const { all, arrive, counts } = kept();
  const before = arrive("a", 1);
  arrive("a", 1);
  before.destroy();
  assert.equal(counts(), [1, 0]);
  all.closeAll();
});

async function withServer(
  limits: Partial<ConnectionLimits>,
  body: (served: {
    server: Awaited<ReturnType<typeof startHostServer>>;
    silent: (count: number, address: (n: number) => string) => Promise<Socket[]>;
    read: (identity?: typeof control) => Promise<unknown>;
  }) => Promise<void>,
): Promise<void> {
  const server = await startHostServer({
    routes: [
      {
        method: "GET",
        path: new RegExp(`^${hostLog.path}$`),
        async answer(_req, res) {
          res.writeHead(200, { "content-type": "application/json" });
          res.end('{"items":[]}');
        },
      },
    ],
    identity: { ...identity, caPem: ca.caPem },
    host: "127.0.0.1",
    port: 0,
    log: silentLog(),
    limits: { ...CONNECTION_LIMITS, ...limits },
  });
  const sockets: Socket[] = [];
  const silent = async (count: number, address: (n: number) => string): Promise<Socket[]> => {
    const made = Array.from({ length: count }, (_, n) =>
      connect({ host: "127.0.0.1", port: server.port, localAddress: address(n) }).on("error", () => undefined),
    );
    sockets.push(...made);
    await until(() => made.every(({ connecting }) => !connecting), { what: "connections", timeoutMs: 20_000 });
    return made;
  };
  const read = async (shown = control) => {
    const urls = [`https://127.0.0.1:${server.port}`];
    const client = createClient({ urls, caPem: ca.caPem, serverName, identity: shown, timeoutMs: 10_000 });
    try {
      return await client.call(hostLog, { query: { app: "hello" } });
    } finally {
      client.close();
    }
  };
  try {
    await body({ server, silent, read });
  } finally {
    for (const socket of sockets) socket.destroy();
    await server.close();
  }
}

test("2,000 silent connections of one address leave it the few it may have, and control is served", () =>
  withServer({ trialMs: 60_000 }, async ({ server, silent, read }) => {
    await silent(2_000, () => "127.0.0.9");
    assert.equal(await read(), { items: [] });
    await until(() => server.connections().trial <= CONNECTION_LIMITS.trialPerAddress, {
      what: "the rest to go",
      timeoutMs: 60_000,
    });
  }));

test("600 addresses with a silent connection each keep control from nothing", () =>
  withServer({ trialMs: 60_000 }, async ({ server, silent, read }) => {
    await silent(600, (n) => `127.1.${n >> 8}.${n & 255}`);
    assert.equal(await read(), { items: [] });
    await until(() => server.connections().trial <= CONNECTION_LIMITS.trialMost, {
      what: "the rest to go",
      timeoutMs: 10_000,
    });
  }));

test("who says nothing is let go, and who shows another member's certificate is refused and takes no place of control's", () =>
  withServer({ trialMs: 300 }, async ({ server, silent, read }) => {
    const [one] = await silent(1, () => "127.0.0.9");
    await until(() => one!.destroyed || one!.readableEnded || server.connections().trial === 0, {
      what: "its end",
      timeoutMs: 10_000,
    });
    await read(member).then(
      () => assert.unreachable(),
      (error: Error) => assert.match(error.message, /only control/),
    );
    assert.is(server.connections().control, 0);
  }));

test.run();
