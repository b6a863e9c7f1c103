// time limit: 180 s
// Routes, certificates and pages over the API of a real control, and what a router is told of them.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as apps from "#api/apps.ts";
import * as certificates from "#api/certificates.ts";
import type { Body } from "#api/endpoint.ts";
import { isFault } from "#api/fault.ts";
import { getPages, updatePages } from "#api/pages.ts";
import * as routes from "#api/routes.ts";
import { until } from "#lib/time.ts";
import { type Rig, withRig } from "../rig.ts";
import { makeCertificate } from "./certificates.ts";

const fault = async (code: string, promise: Promise<unknown>): Promise<string> => {
  try {
    await promise;
  } catch (error) {
    assert.ok(isFault(error, code as "invalid"), `${code} expected: ${String(error)}`);
    return (error as Error).message;
  }
  throw new Error(`${code} expected, it went well`);
};
const prepare = async ({ admin }: Rig) => {
  for (const name of ["one", "two"]) await admin.call(apps.createApp, { body: { name } });
};
const add = (rig: Rig, body: Body<typeof routes.createRoute>) => rig.admin.call(routes.createRoute, { body });

test("an http route has options, which are changed and taken back; domain and path stay", () =>
  withRig(async (rig) => {
    await prepare(rig);
    const made = await add(rig, {
      app: "one",
      domain: "www.a.test",
      path: "/api/",
      sticky: true,
      tls: "redirect",
      hstsSeconds: 60,
    });
    assert.equal({ ...made, id: "", appId: "", createdAt: "" }, {
      id: "",
      appId: "",
      app: "one",
      createdAt: "",
      process: "web",
      type: "http",
      domain: "www.a.test",
      path: "/api",
      tls: "redirect",
      sticky: true,
      hstsSeconds: 60,
    } as never);
    const params = { id: made.id };
    const changed = await rig.admin.call(routes.updateRoute, {
      params,
      body: { process: "api", tls: null, hstsSeconds: null },
    });
    assert.equal([changed.process, "tls" in changed, "sticky" in changed], ["api", false, true]);
    assert.match(
      await fault("invalid", rig.admin.call(routes.updateRoute, { params, body: { proxyProtocol: "v1" } })),
      "proxyProtocol is not for http routes",
    );
    await fault("invalid", rig.admin.call(routes.updateRoute, { params, body: { domain: "x.test" } as never }));
    await fault("not-found", rig.admin.call(routes.updateRoute, { params: { id: "route-none" }, body: {} }));
  }));

test("a domain of another app is a conflict that does not say whose; www and wildcards are names like any other", () =>
  withRig(async (rig) => {
    await prepare(rig);
    for (const domain of ["a.test", "www.a.test", "*.a.test"]) await add(rig, { app: "one", domain });
    for (const domain of ["a.test", "www.a.test", "*.a.test"]) {
      const said = await fault("conflict", add(rig, { app: "two", domain, path: "/other" }));
      assert.is(said, `the domain ${domain} is taken by another app`);
    }
    await add(rig, { app: "two", domain: "xn--bcher-kva.test" });
    assert.is((await rig.admin.call(routes.listRoutes)).items.length, 4);
  }));

test("domains and paths that could lead astray are refused", () =>
  withRig(async (rig) => {
    await prepare(rig);
    for (const domain of [
      "a b.test",
      "{x}.test",
      "{{x}}",
      "a.test\r\nX: y",
      "a.*.test",
      "^a.test$",
      "A.test",
      "bücher.test",
      "*",
      "a..test",
      "-a.test",
      "a.test.",
      "x--y\u0000.test",
      "a_b.test",
      "..",
      "`id`.test",
      `${"a".repeat(64)}.test`,
    ])
      await fault("invalid", add(rig, { app: "one", domain }));
    assert.match(await fault("invalid", add(rig, { app: "one", domain: "xn--zzzzzz99999.test" })), "punycode");
    for (const domain of ["flynn.internal", "control.flynn.internal", "*.flynn.internal"])
      assert.match(await fault("invalid", add(rig, { app: "one", domain })), "platform's own");
    for (const path of ["/.well-known/acme-challenge", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/x"])
      assert.match(await fault("invalid", add(rig, { app: "one", domain: "a.test", path })), "reserved");
    for (const path of ["/a b", "/%2e%2e", "/{x}", "/a;b", "/../x", "x", "/a\r\n", "/*", "/(.*)"])
      await fault("invalid", add(rig, { app: "one", domain: "a.test", path }));
    await fault("invalid", add(rig, { app: "one" }));
    await fault("invalid", add(rig, { app: "one", domain: "a.test", port: 3000 }));
    await fault("invalid", add(rig, { app: "one", type: "tcp", domain: "a.test" }));
  }));

test("tcp routes get the lowest free port, or the one asked for; a taken one is a conflict, the range is kept", () =>
  withRig(
    async (rig) => {
      await prepare(rig);
      const first = await add(rig, { app: "one", type: "tcp", process: "db" });
      assert.equal([first.type, first.type === "tcp" && first.port], ["tcp", 3000]);
      await add(rig, { app: "one", type: "tcp", port: 3002, proxyProtocol: "v2" });
      assert.is(await fault("conflict", add(rig, { app: "two", type: "tcp", port: 3002 })), "port 3002 is taken");
      assert.match(
        await fault("invalid", add(rig, { app: "one", type: "tcp", port: 22 })),
        "not of the range for TCP routes, 3000-3002",
      );
      const second = await add(rig, { app: "two", type: "tcp" });
      assert.is(second.type === "tcp" && second.port, 3001);
      assert.match(await fault("no-capacity", add(rig, { app: "two", type: "tcp" })), "every port of 3000-3002");
      await rig.admin.call(routes.deleteRoute, { params: { id: "3001" } });
      const again = await add(rig, { app: "one", type: "tcp" });
      assert.is(again.type === "tcp" && again.port, 3001);
      await rig.admin.call(apps.deleteApp, { params: { app: "one" } });
      assert.is((await rig.admin.call(routes.listRoutes)).items.length, 0, "an app's routes and ports end with it");
      await add(rig, { app: "two", type: "tcp", port: 3000 });
    },
    { tcpPorts: "3000-3002" },
  ));

test("many at once ask for a free port: each gets its own", () =>
  withRig(async (rig) => {
    await prepare(rig);
    const ask = async (): Promise<number> => {
      for (;;)
        try {
          const route = await add(rig, { app: "one", type: "tcp" });
          return route.type === "tcp" ? route.port : 0;
        } catch (error) {
          if (!isFault(error, "conflict")) throw error; // somebody was faster: the next free one
        }
    };
    const ports = await Promise.all(Array.from({ length: 8 }, ask));
    assert.is(new Set(ports).size, 8);
  }));

test("a certificate's key is given to routers and shown to nobody, on disk it is sealed", () =>
  withRig(async (rig) => {
    await prepare(rig);
    const router = await rig.router();
    const made = await makeCertificate({ names: ["a.test", "www.a.test"] });
    const secret = made.key.split("\n")[1]!;
    const created = await rig.admin.call(certificates.createCertificate, {
      body: { chain: made.certificate, key: made.key },
    });
    assert.equal(created.names, ["a.test", "www.a.test"]);
    const told = await until(() => router.seen.at(-1)?.certificates?.[0], {
      what: "certificate at the router",
      timeoutMs: 30_000,
    });
    assert.equal([told.id, told.names], [created.id, ["a.test", "www.a.test"]]);
    assert.match(told.pem, secret);
    const shown = [
      created,
      await rig.admin.call(certificates.listCertificates),
      await rig.admin.call(certificates.getCertificate, { params: { id: "www.a.test" } }),
    ];
    assert.not.match(JSON.stringify(shown), secret);
    assert.not.match(JSON.stringify(shown), /PRIVATE|sealed/);
    const stored = await readAll(rig.directory);
    assert.ok(stored.includes(created.id), "the record is on disk");
    assert.not.ok(stored.includes(secret), "its key is not, in the clear");
    await router.stop();
    await fault("forbidden", (await rig.host()).client.call(certificates.listCertificates));
  }));

/** Everything below the state directory, as one text. */
async function readAll(directory: string): Promise<string> {
  const files = await readdir(directory, { recursive: true, withFileTypes: true });
  const texts = files
    .filter((file) => file.isFile())
    .map((file) => readFile(join(file.parentPath, file.name), "latin1"));
  return (await Promise.all(texts)).join("\n");
}

test("a name has one certificate; replacing one keeps its id and moves its names, removing it frees them", () =>
  withRig(async (rig) => {
    const [first, second, third] = await Promise.all([
      makeCertificate({ names: ["a.test", "b.test"] }),
      makeCertificate({ names: ["b.test", "c.test"] }),
      makeCertificate({ names: ["a.test"] }),
    ]);
    const body = (made: { certificate: string; key: string }) => ({ chain: made.certificate, key: made.key });
    const created = await rig.admin.call(certificates.createCertificate, { body: body(first) });
    assert.match(
      await fault("conflict", rig.admin.call(certificates.createCertificate, { body: body(second) })),
      `b.test has a certificate already, ${created.id}: replace it (flynn cert update)`,
    );
    const params = { id: "a.test" };
    const replaced = await rig.admin.call(certificates.updateCertificate, { params, body: body(second) });
    assert.equal([replaced.id, replaced.names], [created.id, ["b.test", "c.test"]]);
    await fault("not-found", rig.admin.call(certificates.getCertificate, { params }));
    await rig.admin.call(certificates.createCertificate, { body: body(third) });
    await rig.admin.call(certificates.deleteCertificate, { params: { id: "c.test" } });
    await rig.admin.call(certificates.createCertificate, { body: body(second) });
    assert.is((await rig.admin.call(certificates.listCertificates)).items.length, 2);
    await fault(
      "invalid",
      rig.admin.call(certificates.createCertificate, { body: { chain: first.certificate, key: second.key } }),
    );
  }));

test("a certificate is there after a restart of control, and routers are told it again", () =>
  withRig(async (rig) => {
    const made = await makeCertificate({ names: ["a.test"] });
    await rig.admin.call(certificates.createCertificate, { body: { chain: made.certificate, key: made.key } });
    await rig.restart();
    const router = await rig.router();
    const told = await until(() => router.seen.at(-1)?.certificates?.[0], { what: "certificate", timeoutMs: 30_000 });
    assert.match(told.pem, made.key.split("\n")[1]!);
    await router.stop();
  }));

test("maintenance reaches the routers as a page, escaped; a page of the app's own as it is; both are bounded", () =>
  withRig(async (rig) => {
    await prepare(rig);
    await add(rig, { app: "one", domain: "a.test" });
    const router = await rig.router();
    const params = { app: "one" };
    assert.equal(await rig.admin.call(getPages, { params }), { maintenance: false });
    const on = await rig.admin.call(updatePages, {
      params,
      body: { maintenance: true, message: "<b>zurück</b> um 5" },
    });
    assert.ok(on.since);
    const page = await until(() => router.seen.at(-1)?.pools[0]?.maintenance, { what: "page", timeoutMs: 30_000 });
    assert.match(page, "&lt;b&gt;zur&#252;ck&lt;/b&gt; um 5");
    assert.match(page, "one is down for maintenance");
    await rig.admin.call(updatePages, {
      params,
      body: { page: "<h1>Own</h1>", errorPage: "<h1>Oops</h1>", message: null },
    });
    await until(() => router.seen.at(-1)?.pools[0]?.maintenance === "<h1>Own</h1>", {
      what: "own page",
      timeoutMs: 30_000,
    });
    assert.is(router.seen.at(-1)!.pools[0]!.errorPage, "<h1>Oops</h1>");
    const off = await rig.admin.call(updatePages, { params, body: { maintenance: false } });
    assert.equal(off, { maintenance: false, page: "<h1>Own</h1>", errorPage: "<h1>Oops</h1>" });
    await until(() => router.seen.at(-1)?.pools[0]?.maintenance === undefined, { what: "end", timeoutMs: 30_000 });
    const wide = "你".repeat(3_000);
    assert.match(
      await fault("too-large", rig.admin.call(updatePages, { params, body: { errorPage: wide } })),
      "errorPage is over 10240 bytes",
    );
    await fault("invalid", rig.admin.call(updatePages, { params, body: { page: "x".repeat(20_000) } }));
    await fault("not-found", rig.admin.call(updatePages, { params: { app: "none" }, body: {} }));
    await router.stop();
  }));

test("routes, ports and options reach the routers", () =>
  withRig(async (rig) => {
    await prepare(rig);
    const router = await rig.router();
    await add(rig, { app: "one", domain: "a.test", sticky: true });
    await add(rig, { app: "one", type: "tcp", process: "db", proxyProtocol: "v1" });
    const target = await until(() => (router.seen.at(-1)?.tcp?.length === 1 ? router.seen.at(-1) : undefined), {
      what: "target",
      timeoutMs: 30_000,
    });
    const appId = (await rig.admin.call(apps.getApp, { params: { app: "one" } })).id;
    assert.equal(target.routes, [{ domain: "a.test", path: "/", poolId: `${appId}/web`, sticky: true }]);
    assert.equal(target.tcp, [{ port: 3000, poolId: `${appId}/db`, proxyProtocol: "v1" }]);
    assert.equal(target.pools.map(({ process }) => process).sort(), ["db", "web"]);
    await router.stop();
  }));

test.run();
