// What the client sends again, and what never twice: a server that took a request may have done it, answer or none.
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from "node:net";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { Type } from "typebox";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type CallInput, type Client, type ClientOptions, CONTROL_NAME, createClient } from "#api/client.ts";
import { type Endpoint, endpoint } from "#api/endpoint.ts";
import { isFault } from "#api/fault.ts";
import { object } from "#api/schema.ts";
import { causeChain } from "#lib/run.ts";
import { deadline } from "#lib/time.ts";
import { testCa } from "../hostd/fake-control.ts";
import { freePort } from "../lib/free-port.ts";

const ca = await testCa();
const identity = await ca.issue({ subject: "CN=control", names: [CONTROL_NAME] });

const common = { path: "/v1/things", summary: "", permission: "public", reply: object({}) } as const;
const read = endpoint({ ...common, id: "getThing", method: "GET" });
const make = endpoint({ ...common, id: "createThing", method: "POST", body: object({ name: Type.String() }) });
const put = endpoint({ ...common, id: "putThing", method: "PUT", body: object({ name: Type.String() }) });
const send = endpoint({ ...common, id: "sendThing", method: "POST", upload: "application/x-tar" });
const feed = endpoint({ ...common, id: "followThings", method: "GET", item: object({}) });
const attach = endpoint({ ...common, id: "attachThing", method: "GET", socket: true });
const body = { name: "a" };

type Handle = (req: IncomingMessage, res: ServerResponse) => void;
/** Takes the whole request, and no answer ever comes. */
const breaks: Handle = (req) => void req.socket.destroy();
const away: Handle = (_, res) =>
  void res.writeHead(503).end(JSON.stringify({ code: "unavailable", message: "control starts", requestId: "r" }));
const cut: Handle = (_, res) => void res.writeHead(200, { "content-length": "9" }).write("{", () => res.destroy());
const works: Handle = (req, res) =>
  void res.writeHead(200).end(req.headers.accept === "text/event-stream" ? "event: item\ndata: {}\n\n" : "{}");

/** Takes connections and says nothing: an address whose packets go nowhere, or whose program is stopped. */
async function silentServer(): Promise<Server> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => void sockets.add(socket.on("error", () => undefined)));
  const close = server.close.bind(server);
  server.close = (done) => {
    for (const socket of sockets) socket.destroy();
    return close(done);
  };
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

interface Taken {
  key: string | undefined;
  body: string;
}

/** A client of two addresses, the first of which answers as `first` does, the second as it should. */
async function withTwo(
  first: Handle | "nobody listens" | "silent",
  use: (it: { client: Client; urls: [string, string]; taken: [Taken[], Taken[]] }) => Promise<void>,
  limits: Pick<ClientOptions, "timeoutMs" | "connectTimeoutMs"> = { timeoutMs: 10_000, connectTimeoutMs: 300 },
): Promise<void> {
  const taken: [Taken[], Taken[]] = [[], []];
  const servers = await Promise.all(
    [first, works].map(async (handle, n) => {
      if (handle === "nobody listens") return undefined;
      if (handle === "silent") return silentServer();
      const server = createServer({ key: identity.key, cert: `${identity.certificate}\n${ca.caPem}` }, (req, res) => {
        const key = req.headers["idempotency-key"] as string | undefined;
        text(req).then(
          (received) => {
            taken[n]!.push({ key, body: received });
            handle(req, res);
          },
          () => res.destroy(),
        );
      }).listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const ports = await Promise.all(
    servers.map((server) => (server ? (server.address() as AddressInfo).port : freePort())),
  );
  const urls = ports.map((port) => `https://127.0.0.1:${port}`);
  const client = createClient({ urls, caPem: ca.caPem, ...limits });
  try {
    await use({ client, urls: urls as [string, string], taken });
  } finally {
    client.close();
    for (const server of servers) {
      if (server && "closeAllConnections" in server) server.closeAllConnections();
      if (server) await new Promise((resolve) => server.close(resolve));
    }
  }
}
const counts = ([one, two]: [Taken[], Taken[]]) => [one.length, two.length];
const outcome = (call: Promise<unknown>) =>
  call.then(
    () => "done",
    (error: unknown) => (isFault(error) ? error.code : String(error)),
  );

const SENT: [
  claim: string,
  first: Handle | "nobody listens" | "silent",
  what: Endpoint,
  input: () => CallInput<Endpoint>,
  wanted: string,
  counts: number[],
][] = [
  ["a POST without a key whose answer never came is sent once", breaks, make, () => ({ body }), "unavailable", [1, 0]],
  ["a POST without a key that was refused for now is sent once", away, make, () => ({ body }), "unavailable", [1, 0]],
  ["a POST without a key whose answer broke off is sent once", cut, make, () => ({ body }), "unavailable", [1, 0]],
  [
    "a POST without a key that reached nobody goes to the next",
    "nobody listens",
    make,
    () => ({ body }),
    "done",
    [0, 1],
  ],
  ["a silent address is left for the next when something is read", "silent", read, () => ({}), "done", [0, 1]],
  [
    "a POST without a key goes to the next: a silent address took nothing",
    "silent",
    make,
    () => ({ body }),
    "done",
    [0, 1],
  ],
  [
    "an upload goes to the next: a silent address took none of its bytes",
    "silent",
    send,
    () => ({ upload: Readable.from([Buffer.from("bytes")]) }),
    "done",
    [0, 1],
  ],
  [
    "what is read is asked for at the next address when the first takes the request and never answers",
    () => undefined,
    read,
    () => ({ timeoutMs: 300 }),
    "done",
    [1, 1],
  ],
  [
    "a POST without a key that was taken and never answered is sent once",
    () => undefined,
    make,
    () => ({ body, timeoutMs: 300 }),
    "timeout",
    [1, 0],
  ],
  [
    "a POST with a key goes to the next address when no answer came",
    breaks,
    make,
    () => ({ body, idempotencyKey: "once" }),
    "done",
    [1, 1],
  ],
  ["what is read is asked for at the next address", breaks, read, () => ({}), "done", [1, 1]],
  ["what is put is put at the next address", away, put, () => ({ body }), "done", [1, 1]],
  [
    "an upload is sent once, also with a key: its bytes are gone",
    away,
    send,
    () => ({ upload: Readable.from([Buffer.from("bytes")]), idempotencyKey: "once" }),
    "unavailable",
    [1, 0],
  ],
];

for (const [claim, first, what, input, wanted, sent] of SENT)
  test(claim, () =>
    withTwo(first, async ({ client, taken }) => {
      assert.is(await outcome(client.call(what, input())), wanted);
      assert.equal(counts(taken), sent);
    }),
  );

/** Nobody who asks would wait so long for a whole call. */
const HOUR_MS = 3_600_000;
const upload = () => ({ upload: Readable.from([Buffer.from("bytes")]) });
const WAYS: [way: string, ask: (client: Client, signal: AbortSignal) => Promise<unknown>][] = [
  ["a call", (client) => client.call(read)],
  ["an upload", (client) => client.call(send, upload())],
  ["a stream", (client, signal) => client.stream(feed, { signal }).next()],
  ["a followed stream", (client, signal) => client.follow(feed, { signal }).next()],
  ["a session", (client) => client.connect(attach).catch(() => undefined)], // the other address takes no sessions
];
for (const [way, ask] of WAYS)
  test(`${way} leaves a silent address after the time of a connection, not of the whole call`, async () => {
    const ended = new AbortController();
    const limits = { timeoutMs: HOUR_MS, connectTimeoutMs: 50 };
    const asking = async ({ client, taken }: { client: Client; taken: [Taken[], Taken[]] }) => {
      await deadline(ask(client, ended.signal), 30_000, way);
      assert.is(taken[1].length, 1, "the other was asked");
    };
    await withTwo("silent", asking, limits).finally(() => ended.abort());
  });

test("a connection has three seconds while there is another address to try", () =>
  withTwo(
    "silent",
    async ({ client }) => {
      const startedMs = performance.now();
      await deadline(client.call(read), 30_000, "a call with one silent address");
      const tookMs = performance.now() - startedMs;
      assert.ok(tookMs > 2_900, `a slow address was given up after ${tookMs} ms`);
    },
    { timeoutMs: HOUR_MS },
  ));

test("what is sent again is the same request, under the same key", () =>
  withTwo(breaks, async ({ client, taken: [one, two] }) => {
    await client.call(make, { body, idempotencyKey: "once" });
    assert.equal(one, [{ key: "once", body: '{"name":"a"}' }]);
    assert.equal(two, one);
  }));

test("a POST without a key is sent once on a connection that served others before", () =>
  withTwo(
    (req, res) => (req.method === "GET" ? works(req, res) : breaks(req, res)),
    async ({ client, taken }) => {
      await client.call(read);
      assert.is(await outcome(client.call(make, { body })), "unavailable");
      assert.equal(counts(taken), [2, 0]);
    },
  ));

test("an address that fell silent is left: the next call goes to the other one, of whatever kind it is", () =>
  withTwo(
    () => undefined,
    async ({ client, taken }) => {
      assert.is(await outcome(client.call(make, { body, timeoutMs: 300 })), "timeout");
      assert.is(await outcome(client.call(make, { body })), "done");
      assert.is(await outcome(client.call(read)), "done");
      assert.equal(counts(taken), [1, 2]);
    },
  ));

test("a followed stream leaves a silent address, and goes on at the other", () =>
  withTwo("silent", async ({ client, taken }) => {
    const ended = new AbortController();
    const events = client.follow(feed, { signal: ended.signal, timeoutMs: 2_000 });
    assert.equal((await events.next()).value?.data, {});
    ended.abort();
    await events.return(undefined);
    assert.equal(counts(taken), [0, 1]);
  }));

test("new addresses are used from the next call on, and one in use stays while it is among them", () =>
  withTwo(works, async ({ client, urls, taken }) => {
    client.useUrls([urls[1]]);
    await client.call(read);
    client.useUrls(urls);
    await client.call(read);
    client.useUrls([]);
    await client.call(read);
    assert.equal(counts(taken), [0, 3]);
  }));

test("a refusal is an answer: no other address is asked", () =>
  withTwo(
    (_, res) => void res.writeHead(409).end(JSON.stringify({ code: "conflict", message: "exists", requestId: "r" })),
    async ({ client, taken }) => {
      for (const [what, input] of [
        [make, { body, idempotencyKey: "k" }],
        [put, { body }],
        [read, {}],
      ] as [Endpoint, CallInput<Endpoint>][])
        assert.is(await outcome(client.call(what, input)), "conflict");
      assert.equal(counts(taken), [3, 0]);
    },
  ));

test("a certificate outside its time is said in words, with this machine's clock and what to do", async () => {
  const hour = 3_600_000;
  for (const [fromMs, untilMs, words] of [
    [hour, 2 * hour, /is not valid yet/],
    [-2 * hour, -hour, /has ended/],
  ] as const) {
    const notBefore = new Date(Date.now() + fromMs);
    const own = await ca.issue({
      subject: "CN=c",
      names: [CONTROL_NAME],
      notBefore,
      notAfter: new Date(Date.now() + untilMs),
    });
    const server = createServer({ key: own.key, cert: `${own.certificate}\n${ca.caPem}` }, works).listen(
      0,
      "127.0.0.1",
    );
    await once(server, "listening");
    const client = createClient({
      urls: [`https://127.0.0.1:${(server.address() as AddressInfo).port}`],
      caPem: ca.caPem,
      timeoutMs: 5_000,
    });
    try {
      const error = await client.call(read).catch((caught: unknown) => caught);
      const text = causeChain(error).join(": ");
      assert.match(text, words);
      assert.match(text, /by this machine's clock \(20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\).*set it, for example/);
      assert.ok(isFault(error, "unavailable"), "so it is tried again: clocks are set");
    } finally {
      client.close();
      server.closeAllConnections();
      server.close();
    }
  }
});

test.run();
