// time limit: 120 s
// HTTPS with the real HAProxy on loopback: which certificate is shown, replaced without a reload, h2, redirect.
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readdir, readFile, stat } from "node:fs/promises";
import { type ClientHttp2Session, connect as connectH2 } from "node:http2";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RouterTarget } from "#api/router-agents.ts";
import { every, until } from "#lib/time.ts";
import { makeCertificate } from "../control/routing/certificates.ts";
import { get, origin, type Rig, type RigOptions, startRig, target } from "./rig.ts";
import { certificateFor, entry, handshake } from "./secure.ts";

const rigs: Rig[] = [];
const origins: Awaited<ReturnType<typeof origin>>[] = [];
const newRig = async (options: RigOptions = {}) => {
  const made = await startRig({ https: true, ...options });
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

const withCertificates = (base: RouterTarget, certificates: RouterTarget["certificates"]) => ({
  ...base,
  certificates,
});

interface Secure {
  status: number;
  body: string;
  headers: Record<string, string | string[] | undefined>;
}
function getSecure(rig: Rig, host: string, path = "/", agent: Agent | false = false): Promise<Secure> {
  return new Promise((resolve, reject) => {
    const options = {
      host: "127.0.0.1",
      port: rig.httpsPort,
      servername: host,
      path,
      agent,
      rejectUnauthorized: false,
    };
    const req = request({ ...options, headers: { host }, timeout: 5_000 }, (res) => {
      let body = "";
      res.setEncoding("utf8");
      res.on("data", (chunk: string) => (body += chunk));
      res.on("end", () => resolve({ status: res.statusCode ?? 0, body, headers: res.headers }));
    });
    req.on("timeout", () => req.destroy(new Error("no answer within 5 s")));
    req.on("error", reject);
    req.end();
  });
}

test("each name is shown its certificate, a wildcard one label of it, all others the router's own", async () => {
  const a = await newOrigin("a");
  const rig = await newRig();
  const [exact, wild] = await Promise.all([
    certificateFor("crt-1", ["a.test", "www.a.test"]),
    certificateFor("crt-2", ["*.w.test"]),
  ]);
  const first = await handshake(rig.httpsPort, "a.test");
  assert.match(first.names, "router.invalid");
  await rig.serve(
    withCertificates(target(1, [{ app: "hello", routes: ["a.test", "*.w.test"], jobs: [a] }]), [exact, wild]),
  );
  for (const [name, shown] of [
    ["a.test", "DNS:a.test"],
    ["A.Test", "DNS:a.test"],
    ["www.a.test", "DNS:www.a.test"],
    ["x.w.test", "DNS:*.w.test"],
    ["x.y.w.test", "router.invalid"],
    ["w.test", "router.invalid"],
    ["nobody.test", "router.invalid"],
  ] as const)
    assert.match((await handshake(rig.httpsPort, name)).names, shown, name);
  assert.is((await getSecure(rig, "a.test")).body, "a");
  assert.is((await getSecure(rig, "x.w.test")).body, "a");
  assert.is((await getSecure(rig, "nobody.test")).status, 404, "the port answers for every name");
  assert.is(rig.converger.state().reloads, 0);
});

test("TLS 1.1 is refused, 1.2 and 1.3 are spoken", async () => {
  const rig = await newRig();
  assert.is((await handshake(rig.httpsPort, "a.test")).protocol, "TLSv1.3");
  assert.is((await handshake(rig.httpsPort, "a.test", { maxVersion: "TLSv1.2" })).protocol, "TLSv1.2");
  const old = await handshake(rig.httpsPort, "a.test", { maxVersion: "TLSv1.1" }).catch((error: unknown) =>
    String(error),
  );
  assert.match(String(old), /alert protocol version|unsupported protocol|handshake failure|ECONNRESET|disconnected/i);
});

test("a certificate is replaced ten times under load: no request fails, nothing is reloaded, old files go", async () => {
  const a = await newOrigin("a");
  const rig = await newRig();
  const base = (generation: number) => target(generation, [{ app: "hello", routes: ["a.test"], jobs: [a] }]);
  const made = await Promise.all(Array.from({ length: 5 }, () => certificateFor("crt-1", ["a.test"])));
  const other = await certificateFor("crt-2", ["b.test"]);
  await rig.serve(withCertificates(base(1), [made[0]!, other]));
  const stop = new AbortController();
  const failures: string[] = [];
  let count = 0;
  const kept = new Agent({ keepAlive: true, maxSockets: 2 });
  const loop = async (agent: Agent | false) => {
    for await (const _ of every(1, stop.signal)) {
      const answer = await getSecure(rig, "a.test", "/", agent).catch((error: unknown) => ({
        status: 0,
        body: String(error),
      }));
      if (answer.status !== 200) failures.push(`${answer.status} ${answer.body}`);
      count++;
    }
  };
  const loops = [loop(false), loop(false), loop(kept), loop(kept)];
  for (let n = 1; n <= 10; n++) {
    const before = count;
    await rig.serve(withCertificates(base(n + 1), [made[n % made.length]!, other]));
    const shown = await handshake(rig.httpsPort, "a.test");
    assert.is(shown.fingerprint, new X509Certificate(made[n % made.length]!.pem).fingerprint256);
    await until(() => count > before + 10, { what: "traffic", timeoutMs: 30_000, everyMs: 5 });
  }
  stop.abort();
  await Promise.all(loops);
  kept.destroy();
  assert.equal(failures, []);
  assert.is(rig.converger.state().reloads, 0);
  assert.match((await handshake(rig.httpsPort, "b.test")).names, "b.test");
  const folder = join(rig.directory, "certificates");
  assert.is((await readdir(folder)).length, 2);
  for (const file of await readdir(folder)) assert.is((await stat(join(folder, file))).mode & 0o777, 0o600);
  assert.is((await stat(join(rig.directory, "certificates.json"))).mode & 0o777, 0o600, "it holds the keys");
});

test("what was loaded at run time is there after a reload, a kill -9 and a new start", async () => {
  const a = await newOrigin("a");
  const rig = await newRig({ slots: 1 });
  const certificates = [await certificateFor("crt-1", ["a.test"])];
  await rig.serve(withCertificates(target(1, [{ app: "hello", routes: ["a.test"], jobs: [a] }]), certificates));
  const more = [a, await newOrigin("b"), await newOrigin("c")];
  await rig.serve(withCertificates(target(2, [{ app: "hello", routes: ["a.test"], jobs: more }]), certificates));
  assert.is(rig.converger.state().reloads, 1, "more jobs than slots");
  assert.match((await handshake(rig.httpsPort, "a.test")).names, "a.test");
  const { master } = await rig.haproxy.processes();
  process.kill(master, "SIGKILL");
  const isBack = async () =>
    (await rig.haproxy.processes()).master !== master &&
    (await handshake(rig.httpsPort, "a.test")).names === "DNS:a.test";
  await until(isBack, { what: "the certificate", timeoutMs: 30_000, everyMs: 20 });
});

test("a certificate that cannot be served is refused by name, and the others are shown", async () => {
  const rig = await newRig();
  const good = await certificateFor("crt-1", ["a.test"]);
  const other = await certificateFor("crt-x", ["z.test"]);
  const bad = [
    { id: "crt-2", names: ["b.test"], pem: "no PEM at all" },
    { id: "crt-3", names: ["c.test"], pem: good.pem.replace(/-----BEGIN PRIVATE[\s\S]*/, "") },
    { id: "crt-4", names: ["d.test\n  bind :1"], pem: good.pem },
    { id: "crt-5", names: ["a.test"], pem: good.pem },
    { id: "crt-6", names: ["e.test"], pem: `${good.pem}\n\nshutdown sessions\n` },
    {
      id: "crt-7",
      names: ["f.test"],
      pem: good.pem.replace(/-----BEGIN PRIVATE[\s\S]*/, other.pem.replace(/^[\s\S]*(?=-----BEGIN PRIVATE)/, "")),
    },
  ];
  await rig.serve(withCertificates(target(1, []), [good, ...bad]));
  assert.equal(
    rig.converger.state().refused.map(({ what }) => what),
    bad.map(({ id }) => `certificate ${id}`),
  );
  assert.match((await handshake(rig.httpsPort, "a.test")).names, "a.test");
  assert.not.match(await readFile(join(rig.directory, "certificates.list"), "utf8"), /b\.test|bind/);
});

test("one that only HAProxy's OpenSSL refuses is left out as well, at run time and at a start", async () => {
  const weak = entry(
    "crt-weak",
    ["weak.test"],
    await makeCertificate({ names: ["weak.test"], key: ["rsa", "rsa_keygen_bits:1024"] }),
  );
  const good = await certificateFor("crt-1", ["a.test"]);
  const a = await newOrigin("a");
  const rig = await newRig();
  const served = withCertificates(target(1, [{ app: "hello", routes: ["a.test"], jobs: [a] }]), [weak, good]);
  await rig.serve(served);
  assert.equal(
    rig.converger.state().refused.map(({ what }) => what),
    ["certificate crt-weak"],
  );
  assert.match((await handshake(rig.httpsPort, "a.test")).names, "a.test");
  assert.is(rig.converger.state().reloads, 0);
  await rig.abandon();
  await rig.haproxy.stop(0);
  const again = await newRig({ directory: rig.directory });
  await until(() => again.converger.state().healthy, { what: "health", timeoutMs: 30_000 });
  assert.is((await getSecure(again, "a.test")).body, "a");
  assert.match((await handshake(again.httpsPort, "a.test")).names, "a.test");
  assert.equal(
    again.converger.state().refused.map(({ what }) => what),
    ["certificate crt-weak"],
  );
});

test("HTTP/2 by ALPN to the client, HTTP/1.1 to the job, which is told https", async () => {
  const a = await newOrigin("a");
  const rig = await newRig();
  const certificates = [await certificateFor("crt-1", ["a.test"])];
  await rig.serve(withCertificates(target(1, [{ app: "hello", routes: ["a.test"], jobs: [a] }]), certificates));
  assert.is((await handshake(rig.httpsPort, "a.test", { alpn: ["h2", "http/1.1"] })).alpn, "h2");
  assert.is((await handshake(rig.httpsPort, "a.test", { alpn: ["http/1.1"] })).alpn, "http/1.1");
  const session = connectH2(`https://127.0.0.1:${rig.httpsPort}`, { servername: "a.test", rejectUnauthorized: false });
  try {
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => ask(session, { ":path": "/echo", ":authority": "a.test" })),
    );
    for (const { status, body } of answers) {
      assert.is(status, 200);
      const headers = JSON.parse(body) as Record<string, string>;
      assert.is(headers["host"], "a.test");
      assert.is(headers["x-forwarded-proto"], "https");
      assert.is(headers["x-forwarded-port"], String(rig.httpsPort));
    }
    const spoofed = await ask(session, {
      ":path": "/echo",
      ":authority": "a.test",
      host: "a.test",
      "x-forwarded-for": "6.6.6.6",
    });
    assert.is((JSON.parse(spoofed.body) as Record<string, string>)["x-forwarded-for"], "127.0.0.1");
  } finally {
    session.destroy();
  }
});

async function ask(
  session: ClientHttp2Session,
  headers: Record<string, string>,
): Promise<{ status: number; body: string }> {
  const stream = session.request(headers);
  stream.setTimeout(5_000, () => stream.destroy(new Error("no answer within 5 s")));
  let body = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => (body += chunk));
  const [answer] = (await once(stream, "response")) as [Record<string, unknown>];
  if (!stream.readableEnded) await once(stream, "end");
  return { status: Number(answer[":status"]), body };
}

test("a redirecting route sends http on to the same place on https, and answers there; HSTS on https only", async () => {
  const a = await newOrigin("a");
  const rig = await newRig();
  const options = { tls: "redirect" as const, hstsSeconds: 31_536_000 };
  await rig.serve(
    target(1, [
      { app: "hello", routes: ["a.test", "*.w.test"], jobs: [a], options },
      { app: "plain", routes: ["p.test"], jobs: [a] },
    ]),
  );
  const there = await get(rig.port, "a.test:8080", { path: "/x/y?q=1&r=%2F" });
  assert.is(there.status, 308);
  assert.is(there.headers["location"], `https://a.test:${rig.httpsPort}/x/y?q=1&r=%2F`);
  assert.is(there.headers["strict-transport-security"], undefined);
  const secure = await getSecure(rig, "a.test");
  assert.equal([secure.status, secure.body], [200, "a"]);
  assert.is(secure.headers["strict-transport-security"], "max-age=31536000");
  assert.is((await get(rig.port, "p.test")).status, 200);
  assert.is((await getSecure(rig, "p.test")).headers["strict-transport-security"], undefined);
  for (const host of ["evil?.w.test", "evil#.w.test", "u@evil.w.test", "evil\\.w.test"]) {
    const { status, headers } = await get(rig.port, host);
    assert.is(headers["location"], undefined, `${host} ${status}`);
  }
  const challenge = await get(rig.port, "a.test", { path: "/.well-known/acme-challenge/t" });
  assert.equal([challenge.status, challenge.body], [404, "reserved for getting certificates\n"]);
});

test("an HAProxy without HTTPS, or of another version, is adopted and goes over by one reload", async () => {
  const a = await newOrigin("a");
  const rig = await newRig({ https: false });
  const served = target(1, [{ app: "hello", routes: ["a.test"], jobs: [a] }]);
  await rig.serve(withCertificates(served, [await certificateFor("crt-1", ["a.test"])]));
  const { master } = await rig.haproxy.processes();
  await rig.abandon();
  const again = await newRig({ directory: rig.directory, port: rig.port });
  await until(() => again.converger.state().healthy, { what: "health", timeoutMs: 30_000 });
  assert.is((await again.haproxy.processes()).master, master);
  assert.match((await handshake(again.httpsPort, "a.test")).names, "a.test");
  assert.is((await get(again.port, "a.test")).body, "a");
});

test("the router's own certificate is made once and kept", async () => {
  const rig = await newRig();
  const file = join(rig.directory, "default.pem");
  assert.is((await stat(file)).mode & 0o777, 0o600);
  const first = await readFile(file, "utf8");
  await rig.abandon();
  await rig.haproxy.stop(0);
  await newRig({ directory: rig.directory });
  assert.is(await readFile(file, "utf8"), first);
});

test.run();
