// time limit: 120 s
// What hostile clients and hostile values try: smuggled requests, spoofed headers, confused hosts, injected configuration.
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RouterTarget } from "#api/router-agents.ts";
import { assign } from "../../router/assign.ts";
import { certificateReader } from "../../router/certificates.ts";
import { diff } from "../../router/diff.ts";
import { noMaps } from "../../router/maps.ts";
import { render } from "../../router/render.ts";
import type { RenderOptions } from "../../router/render-options.ts";
import { atOnce } from "../../router/slices.ts";
import { get, origin, type Rig, startRig, target } from "./rig.ts";

interface Recorder {
  port: number;
  /** All that came on each connection. */
  seen: string[];
  close(): void;
}

/** A backend that takes every byte down, and answers each request that a strict reader would see as one. */
async function recorder(): Promise<Recorder> {
  const sockets = new Set<Socket>();
  const seen: string[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    let text = "";
    const at = seen.push("") - 1;
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      seen[at] = text;
      if (/\r\n\r\n/.test(text)) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

let rig: Rig;
let back: Recorder;
let echo: Awaited<ReturnType<typeof origin>>;
test.before(async () => {
  back = await recorder();
  echo = await origin("echo");
  rig = await startRig();
  await rig.serve(
    target(1, [
      { app: "raw", routes: ["raw.test"], jobs: [back] },
      { app: "echo", routes: ["echo.test", "*.w.test"], jobs: [echo] },
      { app: "admin", routes: ["admin.test", "echo.test/.well-known"], jobs: [echo] },
    ]),
  );
});
test.after(async () => {
  await rig.end();
  back.close();
  await echo.close();
});

async function raw(bytes: string): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port: rig.port });
  let text = "";
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    if (/HTTP\/1\.[01] \d+ [\s\S]*\r\n\r\n/.test(text)) socket.end();
  });
  socket.setTimeout(2_000, () => socket.destroy());
  socket.write(bytes, "latin1");
  await new Promise((resolve) => socket.on("close", resolve));
  return text;
}
const statusOf = (answer: string) => Number(/^HTTP\/1\.[01] (\d+)/.exec(answer)?.[1] ?? 0);
const head = (...lines: string[]) => ["POST / HTTP/1.1", "Host: raw.test", ...lines, "", ""].join("\r\n");
const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: admin.test\r\n\r\n";

for (const [name, bytes] of Object.entries({
  "two lengths that differ": head("Content-Length: 0", `Content-Length: ${SMUGGLED.length}`) + SMUGGLED,
  "a list of lengths": head(`Content-Length: 0, ${SMUGGLED.length}`) + SMUGGLED,
  "a negative length": head("Content-Length: -1") + SMUGGLED,
  "a length with a plus": head(`Content-Length: +${SMUGGLED.length}`) + SMUGGLED,
  "a length in hex": head("Content-Length: 0x10") + SMUGGLED,
  "a length and chunked":
    head(`Content-Length: ${SMUGGLED.length + 5}`, "Transfer-Encoding: chunked") + `0\r\n\r\n${SMUGGLED}`,
  "an unknown coding": head("Transfer-Encoding: xchunked", "Content-Length: 0") + SMUGGLED,
  "a coding twice": head("Transfer-Encoding: chunked, chunked") + `0\r\n\r\n${SMUGGLED}`,
  "chunked before another": head("Transfer-Encoding: chunked, identity") + `0\r\n\r\n${SMUGGLED}`,
  "a space before the colon": head("Transfer-Encoding : chunked", "Content-Length: 0") + `0\r\n\r\n${SMUGGLED}`,
  "a tab in the coding": head("Transfer-Encoding:\tchunked\t,\tx", "Content-Length: 0") + `0\r\n\r\n${SMUGGLED}`,
  "a vertical tab before it": head("Transfer-Encoding: \vchunked", "Content-Length: 0") + `0\r\n\r\n${SMUGGLED}`,
  "a folded header": head("X: a", " Transfer-Encoding: chunked", "Content-Length: 0") + `0\r\n\r\n${SMUGGLED}`,
  "a bare CR in a header": head("X: a\rTransfer-Encoding: chunked", "Content-Length: 0") + `0\r\n\r\n${SMUGGLED}`,
  "a NUL in a header": head("X: a\0b", "Content-Length: 0") + SMUGGLED,
  "a name with a space": head("X Y: 1", "Content-Length: 0") + SMUGGLED,
  "a chunk size that overflows": head("Transfer-Encoding: chunked") + `fffffffffffffffff\r\n${SMUGGLED}`,
  "a chunk size with a minus": head("Transfer-Encoding: chunked") + `-1\r\n${SMUGGLED}`,
  "no chunk size": head("Transfer-Encoding: chunked") + `\r\n${SMUGGLED}`,
}))
  test(`smuggling by ${name}: the job never reads a second request`, async () => {
    back.seen.splice(0);
    const answer = await raw(bytes);
    const got = back.seen.join("");
    // Passed on as part of one body is what it is; begun as a request of its own it is smuggled.
    const heads = got.match(/(^|\r\n\r\n|\n)(GET|POST) \S+ HTTP\/1\.1\r\n/g) ?? [];
    assert.ok(heads.length <= 1, `${heads.length} requests: ${JSON.stringify(got)}`);
    assert.not.match(got, "/smuggled HTTP/1.1\r\nhost: admin.test\r\nx-request-id");
    const hasLength = /^content-length:/im.test(got);
    assert.not(hasLength && /^transfer-encoding:/im.test(got), "one length, said one way");
    assert.ok([400, 200, 501, 422, 0].includes(statusOf(answer)), answer.slice(0, 60));
  });

test("what is ambiguous is refused with 400, not guessed", async () => {
  for (const bytes of [
    head("Content-Length: 0", "Content-Length: 5"),
    head("Content-Length: -1"),
    head("Transfer-Encoding : chunked"),
    head("X: a\0b"),
    "GET / HTTP/1.1\r\nHost: raw.test\r\nHost: admin.test\r\n\r\n",
    "GET http://admin.test/ HTTP/1.1\r\nHost: raw.test\r\n\r\n",
  ])
    assert.is(statusOf(await raw(bytes)), 400, JSON.stringify(bytes));
});

test("a request in absolute form is the job's in origin form, of the same host", async () => {
  back.seen.splice(0);
  await raw("GET http://raw.test/x?y HTTP/1.1\r\nHost: raw.test\r\n\r\n");
  assert.match(back.seen.join(""), /^GET \/x\?y HTTP\/1\.1\r\nhost: raw\.test\r\n/);
});

test("CONNECT and TRACE are refused, and an upgrade to h2c is not passed on", async () => {
  assert.is(statusOf(await raw("CONNECT raw.test:80 HTTP/1.1\r\nHost: raw.test:80\r\n\r\n")), 405);
  assert.is(statusOf(await raw("TRACE / HTTP/1.1\r\nHost: raw.test\r\n\r\n")), 405);
  back.seen.splice(0);
  await raw(
    "GET / HTTP/1.1\r\nHost: raw.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
  );
  const got = back.seen.join("").toLowerCase();
  assert.match(got, "get / http/1.1");
  assert.not.match(got, "h2c");
  assert.not.match(got, "http2-settings: ");
});

test("headers that say who the client is are the router's alone, in every spelling", async () => {
  const sent = {
    "x-forwarded-for": "6.6.6.6",
    "X-Forwarded-Proto": "https",
    "x-forwarded-host": "evil",
    "x-forwarded-port": "1",
    "x-forwarded-server": "evil",
    "x-forwarded-ssl": "on",
    x_forwarded_for: "6.6.6.6",
    "x-forwarded_for": "6.6.6.6",
    "x-real-ip": "6.6.6.6",
    forwarded: "for=6.6.6.6",
    proxy: "http://evil",
    "x-request-start": "1",
    "x-request-id": "a\tb",
  };
  const { body, headers } = await get(rig.port, "echo.test", { path: "/echo", headers: sent });
  const got = JSON.parse(body) as Record<string, string>;
  assert.is(got["x-forwarded-for"], "127.0.0.1");
  assert.is(got["x-real-ip"], "127.0.0.1");
  assert.is(got["x-forwarded-proto"], "http");
  assert.is(got["x-forwarded-host"], "echo.test");
  assert.is(got["x-forwarded-port"], String(rig.port));
  for (const name of [
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x_forwarded_for",
    "x-forwarded_for",
    "forwarded",
    "proxy",
  ])
    assert.is(got[name], undefined, name);
  assert.ok(Math.abs(Number(got["x-request-start"]) - Date.now()) < 10_000, got["x-request-start"]);
  assert.match(got["x-request-id"]!, /^[0-9a-f-]{36}$/);
  assert.is(headers["x-request-id"], got["x-request-id"]);
});

test("no client can hide a header of ours by naming it in Connection", async () => {
  const { body } = await get(rig.port, "echo.test", {
    path: "/echo",
    headers: { connection: "close, x-forwarded-for, x-request-id, x-real-ip" },
  });
  const got = JSON.parse(body) as Record<string, string>;
  assert.is(got["x-forwarded-for"], "127.0.0.1");
  assert.ok(got["x-request-id"]);
});

test("a host is one name: whatever else it holds leads nowhere", async () => {
  for (const host of [
    "echo.test@admin.test",
    "admin.test/@echo.test",
    "echo.test%00admin.test",
    "evil?.w.test",
    "x y.w.test",
    "x/.w.test",
    "..w.test",
    "[::1]",
    "echo.test,admin.test",
    "*.w.test",
  ])
    assert.ok([400, 404].includes((await get(rig.port, host)).status), host);
  assert.is((await get(rig.port, "xn--bcher-kva.w.test")).body, "echo");
  assert.is(statusOf(await raw("GET / HTTP/1.1\r\n\r\n")) >= 400, true, "no host at all");
});

test("no route shadows what proves a domain's owner", async () => {
  for (const path of ["/.well-known/acme-challenge/token", "/.well-known/acme-challenge/"]) {
    const { status, body } = await get(rig.port, "echo.test", { path });
    assert.equal([status, body], [404, "reserved for getting certificates\n"]);
  }
  assert.is((await get(rig.port, "echo.test", { path: "/.well-known/other" })).body, "echo");
});

// Rules: whatever control, or who took its place, puts into a target.

const nasty = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.constantFrom(
    "a.test\n  bind :1",
    "a.test be_0001\nb.test",
    "{{x}}",
    "%[src]",
    "`id`",
    "a.test; shutdown sessions",
    "a.test <<",
    ["$", "{PATH}"].join(""),
    "\\",
    '"',
    "#",
    "a.test\r\n\r\nGET / HTTP/1.1",
    "..",
    "*",
    "xn--a.test",
    "a.test",
    "/api",
    "/",
  ),
);
const nastyNumber = fc.oneof(fc.integer(), fc.double(), nasty as fc.Arbitrary<unknown>) as fc.Arbitrary<number>;
const anyTarget = fc.record({
  term: fc.constant(1),
  generation: fc.constant(1),
  clusterRange: fc.constant("100.64.0.0/16"),
  peers: fc.constant([]),
  pools: fc.array(
    fc.record({
      id: fc.constantFrom("p1", "p2", "p\n3"),
      app: nasty,
      process: nasty,
      backends: fc.array(
        fc.record({
          jobId: nasty,
          address: fc.oneof(fc.constant("100.64.1.2"), nasty),
          port: fc.oneof(fc.constant(8080), nastyNumber),
          state: fc.constant("up" as const),
        }),
        { maxLength: 3 },
      ),
      maintenance: nasty,
      errorPage: nasty,
    }),
    { maxLength: 3 },
  ),
  routes: fc.array(
    fc.record({
      domain: fc.oneof(fc.constant("a.test"), nasty),
      path: fc.oneof(fc.constant("/"), nasty),
      poolId: fc.constantFrom("p1", "p2", "p\n3"),
      tls: nasty as fc.Arbitrary<"both">,
      sticky: fc.oneof(fc.boolean(), nasty as fc.Arbitrary<unknown>) as fc.Arbitrary<boolean>,
      hstsSeconds: nastyNumber,
      protocol: fc.oneof(fc.constant("h2c"), nasty) as fc.Arbitrary<"h2c">,
      rate: fc.oneof(fc.constant(undefined), fc.record({ requests: nastyNumber, per: nasty })) as fc.Arbitrary<
        NonNullable<RouterTarget["routes"][number]["rate"]>
      >,
      canary: fc.option(fc.record({ poolId: fc.constantFrom("p1", "p2", "p\n3"), percent: nastyNumber }), {
        nil: undefined,
      }),
    }),
    { maxLength: 5 },
  ),
  tcp: fc.array(
    fc.record({
      port: fc.oneof(fc.constant(3000), nastyNumber),
      poolId: fc.constantFrom("p1", "p2"),
      proxyProtocol: fc.oneof(fc.constant("v1"), nasty) as fc.Arbitrary<"v1">,
    }),
    { maxLength: 3 },
  ),
  certificates: fc.array(fc.record({ id: nasty, names: fc.array(nasty, { maxLength: 2 }), pem: nasty }), {
    maxLength: 2,
  }),
});
const OPTIONS: RenderOptions = {
  directory: "/d",
  bind: "127.0.0.1",
  httpPort: 80,
  httpsPort: 443,
  maxConnections: 10,
  accessLog: true,
};
const LINE =
  /^(backend be_\d{4} from (pool|h2c)| {2}use-server .*| {2}server s\d+ \d+\.\d+\.\d+\.\d+:\d+( send-proxy| send-proxy-v2)?( check-send-proxy)?( disabled)?|listen tcp_\d+ from tcp| {2}bind 127\.0\.0\.1:\d+|)$/;

test("no value of a target writes a line, a word or a command of its own", () => {
  const empty = render({ assignment: { backends: [] }, maps: noMaps(), certificates: new Map() }, OPTIONS).cfg;
  const fixed = new Set(
    render(
      { assignment: { backends: [], tcp: [{ port: 1, slots: [] }] }, maps: noMaps(), certificates: new Map() },
      OPTIONS,
    ).cfg.split("\n"),
  );
  assert.ok(empty.length > 0);
  fc.assert(
    fc.property(anyTarget, (value) => {
      const wanted = value as unknown as RouterTarget;
      const { assignment, maps, refused } = assign({ backends: [] }, wanted, {
        isBusy: () => false,
        backends: 1,
        slots: 1,
      });
      const certificates = atOnce(certificateReader().accept(wanted.certificates, refused));
      const { cfg, maps: files } = render({ assignment, maps, certificates }, OPTIONS);
      for (const line of cfg.split("\n")) assert.ok(fixed.has(line) || LINE.test(line), JSON.stringify(line));
      for (const [name, text] of Object.entries(files))
        for (const line of text.split("\n").slice(0, -1)) assert.match(line, /^[\x21-\x7e]+ [\x21-\x7e]+$/, name);
      const running = { slots: new Map(), maps: noMaps(), certificates: new Map() };
      for (const command of diff(
        running,
        { assignment, maps },
        { directory: "/d", reachable: new Set() },
      ).commands.flat())
        assert.match(command, /^(set|add|del) (map|server) [\x21-\x3a\x3c-\x7e]+( [\x21-\x3a\x3c-\x7e]+)*$/);
      assert.is(certificates.size, 0);
      for (const { what, why } of refused) assert.match(what + why, /^[\x20-\x7e]*$/);
    }),
    { numRuns: 2_000 },
  );
});

test("the file on disk has no line of a hostile target", async () => {
  const cfg = await readFile(join(rig.directory, "haproxy.cfg"), "utf8");
  assert.not.match(cfg, "raw.test");
  assert.not.match(cfg, "admin.test");
});

test.run();
