// time limit: 120 s
// Behind a load balancer or a CDN, through the real HAProxy: whose word of the client and the protocol is believed, and whose is not.
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSource } from "../../router/config.ts";
import { origin, type Rig, type RigOptions, startRig, target } from "./rig.ts";

const rigs: Rig[] = [];
let app: Awaited<ReturnType<typeof origin>>;
test.before(async () => {
  app = await origin("a");
});
test.after(() => app.close());
test.after.each(async () => {
  for (const rig of rigs.splice(0)) await rig.end();
});
async function served(options: RigOptions): Promise<Rig> {
  const rig = await startRig(options);
  rigs.push(rig);
  const options_ = { tls: "redirect", sticky: true, hstsSeconds: 60 } as const;
  await rig.serve(
    target(1, [
      { app: "plain", routes: ["a.test"], jobs: [app] },
      { app: "redirected", routes: ["r.test"], jobs: [app], options: options_ },
    ]),
  );
  return rig;
}

interface Asked {
  from?: string;
  to?: string;
  before?: string | Buffer;
  host?: string;
  headers?: string[];
}
interface Told {
  head: string;
  /** What the job got. */
  got: Record<string, string>;
}
async function ask(
  rig: Rig,
  { from = "127.0.0.9", to = "127.0.0.1", before = "", host = "a.test", headers = [] }: Asked,
): Promise<Told> {
  const socket = connect({ host: to, port: rig.port, localAddress: from });
  socket.setTimeout(10_000, () => socket.destroy());
  socket.on("error", () => undefined); // a reset is an answer too
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.write(before);
  socket.write(["GET /echo HTTP/1.1", `Host: ${host}`, "Connection: close", ...headers, "", ""].join("\r\n"));
  await once(socket, "close").catch(() => undefined);
  const [head = "", body = ""] = text.split("\r\n\r\n");
  return {
    head,
    got: head.includes(" 200 ")
      ? (JSON.parse(body.slice(body.indexOf("{"), body.lastIndexOf("}") + 1)) as Record<string, string>)
      : {},
  };
}

const FRONT = "127.0.0.9";
const HTTPS = "X-Forwarded-Proto: https";

test("behind a front that ends TLS a route that redirects to https is served, and its app sees https", async () => {
  const rig = await served({ trustedFronts: [FRONT] });
  const { head, got } = await ask(rig, {
    host: "r.test",
    headers: ["X-Forwarded-For: 203.0.113.7", HTTPS, "X-Forwarded-Host: www.example.com"],
  });
  assert.match(head, /^HTTP\/1\.1 200 /);
  assert.is(got["x-forwarded-proto"], "https");
  assert.is(got["x-forwarded-port"], "443");
  assert.is(got["x-forwarded-host"], "www.example.com");
  assert.is(got["x-forwarded-for"], "203.0.113.7");
  assert.is(got["x-real-ip"], "203.0.113.7");
  assert.match(head.toLowerCase(), "strict-transport-security: max-age=60");
  assert.match(head, /flynn_sticky=.*Secure/);
  const http = await ask(rig, { host: "r.test", headers: ["X-Forwarded-Proto: http"] });
  assert.match(http.head, /^HTTP\/1\.1 308 /);
  assert.match(http.head.toLowerCase(), "location: https://r.test/echo", "to the front's port");
});

test("from all others the same words are nothing", async () => {
  const rig = await served({ trustedFronts: [FRONT], https: true });
  const headers = ["X-Forwarded-For: 203.0.113.7", HTTPS, "X-Forwarded-Host: evil", "X-Forwarded-Port: 1"];
  const { got } = await ask(rig, { from: "127.0.0.8", headers });
  assert.is(got["x-forwarded-for"], "127.0.0.8");
  assert.is(got["x-forwarded-proto"], "http");
  assert.is(got["x-forwarded-host"], "a.test");
  assert.is(got["x-forwarded-port"], String(rig.port));
  const { head } = await ask(rig, { from: "127.0.0.8", host: "r.test", headers });
  assert.match(head, /^HTTP\/1\.1 308 /);
  assert.match(head.toLowerCase(), `location: https://r.test:${rig.httpsPort}/echo`);
});

for (const [said, client] of [
  ["203.0.113.7", "203.0.113.7"],
  ["2001:db8::7", "2001:db8::7"],
  ["6.6.6.6, 203.0.113.7", "203.0.113.7"],
  ["6.6.6.6, 203.0.113.7, 127.0.5.1", "203.0.113.7"],
  ["6.6.6.6, 203.0.113.7, 127.0.5.1, 127.0.5.2", "203.0.113.7"],
  ["203.0.113.7, unknown", FRONT],
  ["6.6.6.6, unknown, 127.0.5.1", "127.0.5.1"],
  ["", FRONT],
] as const)
  test(`of X-Forwarded-For: ${said} the client is ${client}`, async () => {
    const rig = await served({ trustedFronts: [FRONT, "127.0.5.0/24", "2001:db8:ff::/48"] });
    const { got } = await ask(rig, { headers: [`X-Forwarded-For: ${said}`] });
    assert.is(got["x-forwarded-for"], client);
    const lines = await ask(rig, { headers: said.split(", ").map((each) => `X-Forwarded-For: ${each}`) });
    assert.is(lines.got["x-forwarded-for"], client, "a line each");
  });

test("each request of a front's connection has a client of its own", async () => {
  const rig = await served({ trustedFronts: [FRONT] });
  const socket = connect({ host: "127.0.0.1", port: rig.port, localAddress: FRONT });
  socket.setTimeout(10_000, () => socket.destroy());
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  const request = (more: string) => `GET /echo HTTP/1.1\r\nHost: a.test\r\n${more}\r\n`;
  socket.write(
    request("X-Forwarded-For: 203.0.113.1\r\n") +
      request("X-Forwarded-For: 203.0.113.2\r\n") +
      request("") +
      request("Connection: close\r\nX-Forwarded-For: 203.0.113.4\r\n"),
  );
  await once(socket, "close");
  assert.equal(
    [...text.matchAll(/"x-forwarded-for":"([^"]*)"/g)].map(([, client]) => client),
    ["203.0.113.1", "203.0.113.2", FRONT, "203.0.113.4"],
  );
});

const SAID = [
  "X-Forwarded-For: 203.0.113.7",
  HTTPS,
  "X-Forwarded-Host: www.example.com",
  "X-Forwarded-Port: 8443",
  "X-Request-Id: of-the-front",
];

for (const named of [
  "X-Forwarded-For",
  "x-forwarded-proto",
  "X-Forwarded-Host, X-Forwarded-Port",
  "X-Request-Id",
  "X-Real-IP, Forwarded, Host",
])
  test(`a client that names ${named} in Connection takes nothing off what the front says, as none does off ours (RFC 9110 7.6.1)`, async () => {
    const rig = await served({ trustedFronts: [FRONT] });
    for (const host of ["a.test", "r.test"]) {
      const { head, got } = await ask(rig, { host, headers: [`Connection: ${named}`, ...SAID, "X-Real-IP: 6.6.6.6"] });
      assert.match(head, /^HTTP\/1\.1 200 /, host);
      assert.is(got["host"], host);
      assert.is(got["x-forwarded-for"], "203.0.113.7");
      assert.is(got["x-real-ip"], "203.0.113.7");
      assert.is(got["x-forwarded-proto"], "https");
      assert.is(got["x-forwarded-host"], "www.example.com");
      assert.is(got["x-forwarded-port"], "8443");
      assert.is(got["x-request-id"], "of-the-front");
    }
  });

for (const bind of ["127.0.0.1", "0.0.0.0", "::"])
  test(`an IPv4 client is named as one when ${bind} is listened on, whoever says who it is`, async () => {
    const rig = await served({ bind, trustedFronts: [FRONT, "127.0.5.1"] });
    const client = async (asked: Asked) => {
      const { got } = await ask(rig, asked);
      assert.is(got["x-real-ip"], got["x-forwarded-for"]);
      return got["x-real-ip"];
    };
    assert.is(await client({ from: "127.0.0.8" }), "127.0.0.8");
    assert.is(await client({}), FRONT);
    for (const said of ["203.0.113.7", "::ffff:203.0.113.7", "::ffff:203.0.113.7, ::ffff:127.0.5.1"])
      assert.is(await client({ headers: [`X-Forwarded-For: ${said}`] }), "203.0.113.7", said);
    for (const said of ["2001:db8::7", "2002:cb00:7107::1", "64:ff9b::cb00:7107"])
      assert.is(await client({ headers: [`X-Forwarded-For: ${said}`] }), said, "is no IPv4 client");
  });

test("nor is it named otherwise by the PROXY protocol", async () => {
  const rig = await served({ proxySources: [FRONT] });
  const { got } = await ask(rig, { before: "PROXY TCP6 ::ffff:203.0.113.7 ::ffff:127.0.0.1 12345 80\r\n" });
  assert.equal([got["x-real-ip"], got["x-forwarded-for"]], ["203.0.113.7", "203.0.113.7"]);
});

const V2_IPV6 = Buffer.concat([
  Buffer.from("0d0a0d0a000d0a515549540a21210024", "hex"),
  Buffer.from("20010db8000000000000000000000007", "hex"),
  Buffer.from("20010db8000000000000000000000001", "hex"),
  Buffer.from([0x30, 0x39, 0x00, 0x50]),
]);

test("a front that speaks the PROXY protocol names the client by it, and the protocol by its header", async () => {
  const rig = await served({ proxySources: [FRONT], trustedFronts: [FRONT] });
  const before = "PROXY TCP4 203.0.113.7 127.0.0.1 12345 80\r\n";
  const { got } = await ask(rig, { before, headers: [HTTPS, "X-Forwarded-For: 6.6.6.6"] });
  assert.equal([got["x-forwarded-for"], got["x-forwarded-proto"]], ["203.0.113.7", "https"]);
});

test("one that only passes connections on has no word of what is in them", async () => {
  const rig = await served({ proxySources: [FRONT], trustedFronts: ["127.0.5.1"] });
  const before = (client: string) => `PROXY TCP4 ${client} 127.0.0.1 12345 80\r\n`;
  const headers = [HTTPS, "X-Forwarded-For: 6.6.6.6"];
  const { got } = await ask(rig, { before: before("203.0.113.7"), headers });
  assert.equal([got["x-forwarded-for"], got["x-forwarded-proto"]], ["203.0.113.7", "http"]);
  const cdn = await ask(rig, { before: before("127.0.5.1"), headers });
  assert.equal(
    [cdn.got["x-forwarded-for"], cdn.got["x-forwarded-proto"]],
    ["6.6.6.6", "https"],
    "a front behind it does",
  );
});

test("IPv6 sources speak the PROXY protocol and are fronts", async () => {
  const rig = await served({ bind: "::1", proxySources: ["::1"], trustedFronts: ["2001:db8::/32"] });
  const asked = { from: "::1", to: "::1" };
  const { got } = await ask(rig, { ...asked, before: V2_IPV6 });
  assert.is(got["x-forwarded-for"], "2001:db8::7");
  const behind = await ask(rig, { ...asked, before: V2_IPV6, headers: ["X-Forwarded-For: 203.0.113.7", HTTPS] });
  assert.equal([behind.got["x-forwarded-for"], behind.got["x-forwarded-proto"]], ["203.0.113.7", "https"]);
  assert.is.not((await ask(rig, asked)).head.includes(" 200 "), true, "a listed source must say it");
});

for (const [text, is] of [
  ["10.1.0.0/16", true],
  ["10.1.0.1", true],
  ["2001:db8::/32", true],
  ["::1", true],
  ["::ffff:10.1.0.1", true],
  ["10.1.0.0/33", false],
  ["2001:db8::/129", false],
  ["10.1.0", false],
  ["10.1.0.0/", false],
  ["10.1.0.0/8/8", false],
  ["1::2::3", false],
  ["a.test", false],
] as const)
  test(`${text} is ${is ? "a" : "no"} source of connections`, () => assert.is(isSource(text), is));

test.run();
