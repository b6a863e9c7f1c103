// time limit: 120 s
// Options of http routes through the real HAProxy: sticky sessions, maintenance, error pages; and PROXY protocol in.
import { connect } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { PAGE_BYTES } from "#api/router-agents.ts";
import { until } from "#lib/time.ts";
import { asciiHtml } from "../../control/routing/ascii-html.ts";
import { freePort } from "../lib/free-port.ts";
import { get, origin, type PoolSketch, type Rig, type RigOptions, startLoad, startRig, target } from "./rig.ts";

const rigs: Rig[] = [];
const origins: Awaited<ReturnType<typeof origin>>[] = [];
const newRig = async (options: RigOptions = {}) => {
  const made = await startRig(options);
  rigs.push(made);
  return made;
};
const newOrigin = async (name: string) => {
  const made = await origin(name);
  origins.push(made);
  return made;
};
test.after.each(async () => {
  for (const rig of rigs.splice(0).reverse()) await rig.end(); // the newest has the HAProxy of a shared directory
  for (const each of origins.splice(0)) await each.close();
});
const sketch = (more: Partial<PoolSketch>): PoolSketch => ({ app: "hello", routes: ["a.test"], jobs: [], ...more });

const cookieOf = (answer: { headers: Record<string, string | string[] | undefined> }) =>
  String(answer.headers["set-cookie"] ?? "").split(";")[0]!;

test("a sticky client stays with the job that answered it first, until that one drains", async () => {
  const jobs = await Promise.all(["a", "b", "c"].map(newOrigin));
  const rig = await newRig();
  const options = { sticky: true };
  await rig.serve(target(1, [sketch({ jobs, options }), { app: "free", routes: ["free.test"], jobs }]));
  assert.is((await get(rig.port, "free.test")).headers["set-cookie"], undefined);
  const homes = new Map<string, string>();
  for (let n = 0; n < 12; n++) {
    const first = await get(rig.port, "a.test");
    assert.match(String(first.headers["set-cookie"]), /^flynn_sticky=[0-9a-f]{16}; Path=\/; HttpOnly; SameSite=Lax$/);
    homes.set(cookieOf(first), first.body);
  }
  assert.is(homes.size, 3, "new clients are spread");
  for (const [cookie, home] of homes)
    for (let n = 0; n < 5; n++) {
      const again = await get(rig.port, "a.test", { headers: { cookie: `x=1; ${cookie}` } });
      assert.is(again.body, home);
      assert.is(again.headers["set-cookie"], undefined, "it is said once");
    }
  const [gone, ...rest] = jobs as [(typeof jobs)[0], ...typeof jobs];
  const cookie = [...homes].find(([, home]) => home === gone.name)![0];
  await rig.serve(target(2, [sketch({ jobs: [{ ...gone, state: "drain" }, ...rest], options })]));
  const before = gone.requests;
  const moved = await get(rig.port, "a.test", { headers: { cookie } });
  assert.is.not(moved.body, gone.name);
  assert.is.not(cookieOf(moved), cookie, "and has a new home");
  for (let n = 0; n < 5; n++) await get(rig.port, "a.test", { headers: { cookie } });
  assert.is(gone.requests, before, "a job that drains gets no request, whatever the cookie says");
  assert.is(rig.converger.state().reloads, 0);
});

test("a cookie that somebody made up leads to any job, and nowhere else", async () => {
  const [a, other] = [await newOrigin("a"), await newOrigin("other")];
  const rig = await newRig();
  const options = { sticky: true };
  await rig.serve(
    target(1, [sketch({ jobs: [a], options }), { app: "other", routes: ["o.test"], jobs: [other], options }]),
  );
  const foreign = cookieOf(await get(rig.port, "o.test"));
  for (const value of [foreign, "flynn_sticky=s1", "flynn_sticky=../be_0002/s1", `flynn_sticky=${"x".repeat(4_000)}`])
    assert.is((await get(rig.port, "a.test", { headers: { cookie: value } })).body, "a");
});

test("a sticky job that dies takes no client along", async () => {
  const jobs = await Promise.all(["a", "b"].map(newOrigin));
  const rig = await newRig();
  await rig.serve(target(1, [sketch({ jobs, options: { sticky: true } })]));
  const first = await get(rig.port, "a.test");
  const cookie = cookieOf(first);
  await jobs.find(({ name }) => name === first.body)!.close();
  origins.splice(
    origins.findIndex(({ name }) => name === first.body),
    1,
  );
  const answers = async () => {
    const answer = await get(rig.port, "a.test", { headers: { cookie } });
    return answer.status === 200 && answer.body !== first.body;
  };
  await until(answers, { what: "answer of the other job", timeoutMs: 30_000, everyMs: 20 });
});

const PAGE = `<!doctype html><html><head><meta charset="utf-8"><style>h1::before{content:"→"}</style></head>
<body><h1>Wartung: "gleich" zurück {{ }} %[src] ${"#".repeat(3)}</h1>
<pre>one
two</pre><!-- 你好 --></body></html>`;

test("maintenance answers 503 with the page in a sandbox, and turning it off brings the app back; nothing is reloaded", async () => {
  const a = await newOrigin("a");
  const rig = await newRig();
  const other = { app: "other", routes: ["o.test"], jobs: [a] };
  await rig.serve(target(1, [sketch({ jobs: [a] }), other]));
  await rig.serve(target(2, [sketch({ jobs: [a], maintenance: asciiHtml(PAGE) }), other]));
  const { status, headers, body } = await get(rig.port, "a.test");
  assert.is(status, 503);
  assert.is(headers["retry-after"], "300");
  assert.is(headers["content-type"], "text/html; charset=utf-8");
  assert.match(String(headers["content-security-policy"]), /default-src 'none'.*sandbox/);
  assert.is(headers["x-content-type-options"], "nosniff");
  assert.is(headers["cache-control"], "no-store");
  assert.match(String(headers["x-request-id"]), /^[0-9a-f-]{36}$/);
  assert.is(body, `${asciiHtml(PAGE)}\n`);
  assert.match(body, 'Wartung: "gleich" zur&#252;ck {{ }} %[src] ###');
  assert.match(body, "one&#10;two");
  assert.match(body, 'content:"\\2192 "');
  assert.is((await get(rig.port, "o.test")).body, "a", "other apps answer");
  await rig.serve(target(3, [sketch({ jobs: [a] }), other]));
  assert.is((await get(rig.port, "a.test")).body, "a");
  assert.is(rig.converger.state().reloads, 0);
});

test("maintenance lets open requests end", async () => {
  const a = await newOrigin("a");
  const rig = await newRig();
  await rig.serve(target(1, [sketch({ jobs: [a] })]));
  const slow = get(rig.port, "a.test", { path: "/slow" });
  slow.catch(() => undefined); // awaited below, unless something before fails
  await until(() => a.open === 1, { what: "open request", timeoutMs: 30_000, everyMs: 5 });
  await rig.serve(target(2, [sketch({ jobs: [a], maintenance: "away" })]));
  assert.is((await get(rig.port, "a.test")).status, 503);
  a.release();
  assert.is((await slow).body, "a");
});

test("an app's error page stands for 502, 503 and 504 of the router, not for what the app answers itself", async () => {
  const closed = await freePort();
  const a = await newOrigin("a");
  a.server.removeAllListeners("request");
  a.server.on("request", (req, res) => {
    if (req.url === "/own") res.writeHead(503, { "content-type": "text/plain" }).end("mine");
    else if (req.url === "/reset") req.socket.destroy();
    else if (req.url !== "/silent") res.end("a");
  });
  const rig = await newRig({ timeouts: { serverMs: 400 } });
  const errorPage = asciiHtml(PAGE);
  await rig.serve(
    target(1, [
      sketch({ jobs: [a], errorPage }),
      { app: "down", routes: ["down.test"], jobs: [{ port: closed }], errorPage },
      { app: "plain", routes: ["plain.test"], jobs: [] },
    ]),
  );
  for (const [status, host, path, method] of [
    [502, "a.test", "/reset", "POST"],
    [504, "a.test", "/silent", "GET"],
    [503, "down.test", "/", "GET"],
  ] as const) {
    const answer = await get(rig.port, host, { path, method });
    assert.is(answer.status, status);
    assert.is(answer.headers["content-type"], "text/html; charset=utf-8");
    assert.match(String(answer.headers["content-security-policy"]), "sandbox");
    assert.is(answer.body, `${errorPage}\n`);
  }
  const own = await get(rig.port, "a.test", { path: "/own" });
  assert.equal([own.status, own.body, own.headers["content-security-policy"]], [503, "mine", undefined]);
  const plain = await get(rig.port, "plain.test");
  assert.equal([plain.body, plain.headers["content-type"]], ["no job of plain is up\n", "text/plain"]);
  await rig.serve(target(2, [sketch({ jobs: [a] })]));
  assert.match((await get(rig.port, "a.test", { path: "/reset", method: "POST" })).body, "closed the connection");
  assert.is(rig.converger.state().reloads, 0);
});

test("a page of the largest size is answered whole; a larger one, or one that is not ASCII, is refused and the app serves on", async () => {
  const a = await newOrigin("a");
  const rig = await newRig();
  const largest = `<p>${"x".repeat(PAGE_BYTES - 7)}</p>`;
  assert.is(largest.length, PAGE_BYTES);
  await rig.serve(target(1, [sketch({ jobs: [a], maintenance: largest, errorPage: largest })]));
  assert.is((await get(rig.port, "a.test")).body, `${largest}\n`);
  await rig.serve(target(2, [sketch({ jobs: [a], errorPage: `${largest}x` })]));
  assert.is((await get(rig.port, "a.test")).body, "a");
  assert.match(rig.converger.state().refused[0]!.what, "errorPage of hello");
  await rig.serve(target(3, [sketch({ jobs: [a], errorPage: "é\n" })]));
  assert.is(rig.converger.state().refused.length, 1);
  await rig.serve(target(4, [sketch({ jobs: [], errorPage: largest })]));
  assert.is((await get(rig.port, "a.test")).body, `${largest}\n`, "503");
  await rig.abandon();
  await rig.haproxy.stop(0);
  const again = await newRig({ directory: rig.directory });
  assert.is((await get(again.port, "a.test")).body, `${largest}\n`, "and from disk");
});

/** Sends bytes as they are and gives all that comes back. */
async function raw(port: number, bytes: string | Buffer, localAddress = "127.0.0.1"): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port, localAddress });
  socket.setTimeout(3_000, () => socket.destroy());
  socket.on("error", () => undefined);
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.write(bytes);
  await new Promise((resolve) => socket.on("close", resolve)); // a reset is an answer too
  return text;
}
const REQUEST = "GET /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
const V2 = Buffer.concat([
  Buffer.from("0d0a0d0a000d0a515549540a2111000c", "hex"),
  Buffer.from([203, 0, 113, 7, 127, 0, 0, 1, 0x30, 0x39, 0x00, 0x50]),
]);

test("the PROXY protocol is taken from listed sources only, v1 and v2; a header from anybody else is an error", async () => {
  const a = await newOrigin("a");
  const rig = await newRig({ proxySources: ["127.0.0.9", "127.0.1.0/24"] });
  await rig.serve(target(1, [sketch({ jobs: [a] })]));
  const forwarded = (answer: string) => /"x-forwarded-for":"([^"]*)"/.exec(answer)?.[1];
  const v1 = "PROXY TCP4 203.0.113.7 127.0.0.1 12345 80\r\n";
  assert.is(forwarded(await raw(rig.port, v1 + REQUEST, "127.0.0.9")), "203.0.113.7");
  assert.is(forwarded(await raw(rig.port, Buffer.concat([V2, Buffer.from(REQUEST)]), "127.0.1.77")), "203.0.113.7");
  assert.is(forwarded(await raw(rig.port, REQUEST)), "127.0.0.1", "all others speak plainly");
  assert.match(await raw(rig.port, v1 + REQUEST), /^HTTP\/1\.[01] 400 /);
  assert.is(forwarded(await raw(rig.port, Buffer.concat([V2, Buffer.from(REQUEST)]))), undefined);
  assert.is(forwarded(await raw(rig.port, REQUEST, "127.0.0.9")), undefined, "a listed source must say it");
});

test("under load nothing fails while options, pages and maintenance of another app change", async () => {
  const [a, b] = [await newOrigin("a"), await newOrigin("b")];
  const rig = await newRig();
  const steady = { app: "steady", routes: ["s.test"], jobs: [a] };
  await rig.serve(target(1, [steady, sketch({ jobs: [b] })]));
  const load = startLoad(rig.port, "s.test", 4);
  for (let n = 2; n < 22; n++) {
    const change: Partial<PoolSketch>[] = [
      { maintenance: "m" },
      { options: { sticky: true, hstsSeconds: n } },
      { errorPage: `e${n}` },
      { routes: ["a.test", "a.test/api"] },
    ];
    await rig.serve(target(n, [steady, sketch({ jobs: [b], ...change[n % 4] })]));
    const from = load.count();
    await until(() => load.count() > from + 5, { what: "traffic", timeoutMs: 30_000, everyMs: 2 });
  }
  await load.stop();
  assert.equal(load.failures, []);
  assert.is(rig.converger.state().reloads, 0);
});

test.run();
