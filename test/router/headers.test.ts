// time limit: 120 s
// Headers through the real HAProxy: large ones and many, both ways and in both protocols; what Connection names; and what a client
// and the log are told when a job gives no answer.
import { once } from "node:events";
import { createServer, request } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { copyAccessLog } from "../../router/access-log.ts";
import { freePort } from "../lib/free-port.ts";
import { get, type Rig, startRig, target } from "./rig.ts";

const ROOM = 1 << 20;
/** Header lines as the job got them, and an answer with as many bytes or headers as asked. */
const app = createServer({ maxHeaderSize: ROOM }, (req, res) => {
  req.resume();
  const { searchParams } = new URL(req.url ?? "/", "http://a.test");
  const headers = Number(searchParams.get("headers") ?? 0);
  for (let n = 0; n < headers; n++) res.setHeader(`x-n${n}`, "v");
  const bytes = Number(searchParams.get("bytes") ?? 0);
  if (bytes > 0) res.setHeader("x-large", "y".repeat(bytes));
  res.end(JSON.stringify({ raw: req.rawHeaders, count: req.rawHeaders.length / 2 }));
});
app.maxHeadersCount = 0;
const sockets = new Set<Socket>();
/** What a job does wrong, by the first letter of the path. */
const wrong = createTcpServer((socket) => {
  sockets.add(socket);
  socket.on("error", () => undefined);
  socket.once("data", (bytes: Buffer) => {
    const [, path = ""] = String(bytes).split(" ");
    if (path === "/closes") socket.destroy();
    else if (path === "/no-http") socket.end("HTTP/1.1 200 OK\r\nno header\r\n\r\n");
    else if (path === "/too-large") socket.end(`HTTP/1.1 200 OK\r\nx: ${"y".repeat(60_000)}\r\n\r\n`);
  });
});

let rig: Rig;
let refusedPort: number;
const logged: string[] = [];
const stopLog = new AbortController();
let copying: Promise<void>;
test.before(async () => {
  for (const server of [app, wrong]) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  const port = (server: typeof wrong) => (server.address() as AddressInfo).port;
  rig = await startRig({ accessLog: true, timeouts: { serverMs: 500 } });
  copying = copyAccessLog({
    pipe: rig.haproxy.accessPipe,
    file: `${rig.directory}/access.log`,
    jobOf: rig.converger.jobOf,
    onLine: ({ line }) => logged.push(line),
    log: silentLog(),
    signal: stopLog.signal,
  });
  refusedPort = await freePort();
  await rig.serve(
    target(1, [
      { app: "echo", routes: ["a.test"], jobs: [{ port: port(app) }] },
      { app: "wrong", routes: ["wrong.test"], jobs: [{ port: port(wrong) }] },
      { app: "none", routes: ["none.test"], jobs: [] },
    ]),
  );
});
test.after(async () => {
  stopLog.abort();
  await copying;
  await rig.end();
  app.closeAllConnections();
  app.close();
  for (const socket of sockets) socket.destroy();
  wrong.close();
});

interface Echo {
  status: number;
  text: string;
  headers: NodeJS.Dict<string | string[]>;
}
function ask(headers: Record<string, string>, path = "/"): Promise<Echo> {
  return new Promise((resolve, reject) => {
    const req = request(
      {
        host: "127.0.0.1",
        port: rig.port,
        path,
        agent: false,
        maxHeaderSize: ROOM,
        headers: { host: "a.test", ...headers },
      },
      (res) => {
        let text = "";
        res.on("data", (chunk) => (text += chunk));
        res.on("end", () => resolve({ status: res.statusCode ?? 0, text, headers: res.headers }));
      },
    );
    req.setTimeout(10_000, () => req.destroy(new Error("no answer within 10 s")));
    req.on("error", reject);
    req.end();
  });
}
const many = (count: number, value = "v") =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [`x-h${n}`, value]));

test("32 KiB of headers reach the job, one large one or 400 small ones, and its answer's reach the client", async () => {
  const cookie = "c".repeat(32_000);
  const large = await ask({ cookie });
  assert.is(large.status, 200, large.text.slice(0, 200));
  const raw = (JSON.parse(large.text) as { raw: string[] }).raw;
  assert.is(raw[raw.findIndex((name) => name.toLowerCase() === "cookie") + 1], cookie);
  const small = await ask(many(400, "v".repeat(60)));
  assert.is(small.status, 200, small.text.slice(0, 200));
  assert.ok((JSON.parse(small.text) as { count: number }).count >= 400);
  assert.is(String((await ask({}, `/?bytes=${32_000}`)).headers["x-large"]).length, 32_000);
  const answer = await ask({}, "/?headers=400");
  assert.is(Object.keys(answer.headers).filter((name) => name.startsWith("x-n")).length, 400);
});

test("over http/2 as well", async () => {
  const session = connectHttp2(`http://127.0.0.1:${rig.port}`, {
    maxHeaderListPairs: 2_000,
    settings: { maxHeaderListSize: ROOM },
  });
  const status = async (headers: Record<string, string>, path = "/") => {
    const stream = session.request({ ":authority": "a.test", ":path": path, ...headers });
    const [answer] = (await once(stream, "response")) as [Record<string, string>];
    stream.resume();
    await once(stream, "end");
    return answer;
  };
  try {
    assert.is((await status({ cookie: "c".repeat(31_000) }))[":status"], 200);
    assert.is((await status(many(300)))[":status"], 200);
    assert.is(String((await status({}, `/?bytes=${31_000}`))["x-large"]).length, 31_000);
    assert.is((await status({ cookie: "c".repeat(36_000) }))[":status"], 431);
  } finally {
    session.destroy();
  }
});

for (const [what, headers] of [
  ["33 KiB", { cookie: "c".repeat(33 << 10) }],
  ["44 KiB", { cookie: "c".repeat(44 << 10) }],
  ["501", many(501)],
  ["900", many(900)],
] as const)
  test(`${what} of request headers are answered 431 in words, and are logged`, async () => {
    const { status, text, headers: answered } = await ask(headers);
    assert.is(status, 431);
    assert.match(text, /^the headers of this request are over 32 KiB, or more than 500: often too many cookies/);
    assert.ok(answered["x-request-id"]);
  });

test("more than HAProxy reads at all is refused too, and the connection after it is served", async () => {
  const { status } = await ask({ cookie: "c".repeat(200_000) });
  assert.ok([400, 431].includes(status), String(status));
  assert.is((await ask({})).status, 200);
});

/** As it was sent: Node's client would not. */
async function sent(head: string): Promise<string[]> {
  const socket = connect({ host: "127.0.0.1", port: rig.port });
  socket.setTimeout(10_000, () => socket.destroy());
  let text = "";
  socket.on("data", (chunk) => (text += String(chunk)));
  socket.write(`${head}\r\n\r\n`);
  await once(socket, "close");
  assert.match(text, /^HTTP\/1\.1 200 /, text.slice(0, 200));
  return (JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1)) as { raw: string[] }).raw;
}
const valuesOf = (raw: string[], name: string) =>
  raw.flatMap((each, n) => (n % 2 === 0 && each.toLowerCase() === name ? [raw[n + 1]!] : []));

for (const name of [
  "x-forwarded-for",
  "x-forwarded-proto",
  "x-forwarded-host",
  "x-forwarded-port",
  "x-real-ip",
  "x-request-id",
  "x-request-start",
  "host",
])
  test(`naming ${name} in Connection hides nothing of ours, and no job reads that it was named`, async () => {
    // An id of a client's is kept, named or not.
    const sentValue = name === "x-request-id" ? "is no id" : "6.6.6.6";
    for (const connection of [name, `close, ${name.toUpperCase()}`, `keep-alive,${name}`]) {
      const raw = await sent(
        `GET / HTTP/1.1\r\nHost: a.test\r\nConnection: ${connection}\r\nConnection: close\r\n${name === "host" ? "X-A: b" : `${name}: ${sentValue}`}`,
      );
      const [value, ...more] = valuesOf(raw, name);
      assert.ok(value !== undefined && value !== sentValue, `${connection}: ${value}`);
      assert.equal(more, []);
      for (const said of valuesOf(raw, "connection")) assert.not.match(said.toLowerCase(), name);
    }
  });

test("what else Connection names was for this hop: it is taken off, and nothing beside it", async () => {
  const raw = await sent(
    "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: X-Hop ,x-other\r\nConnection: close, cookie\r\nX-Hop: 1\r\nx-other: 2\r\nCookie: a=b\r\nx-stays: 3\r\nKeep-Alive: 5\r\nProxy-Connection: x",
  );
  for (const name of ["x-hop", "x-other", "cookie", "keep-alive", "proxy-connection"])
    assert.equal(valuesOf(raw, name), [], name);
  assert.equal(valuesOf(raw, "x-stays"), ["3"]);
});

test("a request whose Connection names more than anybody means is refused", async () => {
  const names = Array.from({ length: 2_000 }, (_, n) => `n${n}`).join(",");
  assert.is((await ask({ connection: `close, ${names}` })).status, 400);
});

for (const [path, status, words, code] of [
  [
    "/closes",
    502,
    /^the job of wrong closed the connection without an answer, or the headers .* the app's log says which\n$/,
    "H13",
  ],
  ["/no-http", 502, /are no HTTP or over 32 KiB/, "H17"],
  ["/too-large", 502, /are no HTTP or over 32 KiB/, "H17"],
  ["/silent", 504, /^the job of wrong did not answer in time\n$/, "H12"],
] as const)
  test(`a job that answers ${path} is told of as ${code}`, async () => {
    const answer = await get(rig.port, "wrong.test", { path, method: "POST" });
    assert.is(answer.status, status);
    assert.match(answer.body, words);
    const line = () => logged.find((each) => each.includes(`path="${path}"`));
    await until(() => line() !== undefined, { what: `line of ${path}`, timeoutMs: 10_000 });
    assert.match(line()!, `code=${code}`);
  });

test("a job that takes no connection is another thing than no job at all", async () => {
  await rig.serve(
    target(2, [
      { app: "none", routes: ["none.test"], jobs: [] },
      { app: "dead", routes: ["dead.test"], jobs: [{ port: refusedPort }] },
    ]),
  );
  assert.equal((await get(rig.port, "none.test")).body, "no job of none is up\n");
  // Until its check has failed HAProxy would try it; the check begins with its being down.
  assert.match(
    (await get(rig.port, "dead.test")).body,
    /^(no job of dead is up|the job of dead takes no connection)\n$/,
  );
});

test.run();
