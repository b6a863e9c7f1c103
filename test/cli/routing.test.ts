// time limit: 120 s
// Routes, certificates and pages as the CLI makes, shows, changes and removes them, against a real control.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp } from "#api/apps.ts";
import { certificatePin } from "#lib/x509.ts";
import { saveCluster } from "../../cli/clusters/clusters.ts";
import { clustersFile } from "../../cli/clusters/clusters-file.ts";
import { rig } from "../control/rig.ts";
import { makeCertificate } from "../control/routing/certificates.ts";
import { closeFakes, fakeControl } from "./fake-control.ts";
import { invoke } from "./invoke.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-routing-"));
const env = { FLYNN_HOME: join(directory, "home"), HOME: directory };
const control = await rig();
const flynn = (...argv: string[]) => invoke(argv, { env, cwd: directory });

test.before(async () => {
  const { url, caPem, token, admin } = control;
  await saveCluster(clustersFile(env), { name: "rig", url, pin: certificatePin(caPem), caPem, token });
  for (const name of ["shop", "other"]) await admin.call(createApp, { body: { name } });
  for (const [name, names] of Object.entries({ first: ["shop.test"], renewed: ["shop.test", "www.shop.test"] })) {
    const { certificate, key } = await makeCertificate({ names });
    await writeFile(join(directory, `${name}.pem`), certificate);
    await writeFile(join(directory, `${name}.key`), key);
  }
});
test.after(async () => {
  await closeFakes();
  await control.close();
  await rm(directory, { recursive: true, force: true });
});

const well = async (...argv: string[]): Promise<string> => {
  const { code, out, err } = await flynn(...argv);
  assert.is(code, 0, `${argv.join(" ")}: ${err}`);
  return out;
};

test("a route that speaks h2c and one that limits its clients are made, listed and taken back", async () => {
  await well("route", "add", "http", "grpc.test", "--protocol", "grpc", "--rate", "100/m", "-a", "shop");
  assert.match(
    await well("route", "list", "-a", "shop"),
    /http:grpc\.test\/ +shop web +route-\w+ +h2c, 100 a minute from a client/,
  );
  assert.match(await well("route", "update", "grpc.test", "--rate", "5/s"), "(h2c, 5 a second from a client)");
  assert.not.match(await well("route", "update", "grpc.test", "--protocol", "http1", "--rate", "none"), "(");
  for (const [flag, text, words] of [
    ["--protocol", "h3", "--protocol is h2c (or grpc, which means the same), not h3"],
    ["--rate", "100", "--rate is a number a second, minute or hour, such as 100/m, not 100"],
    ["--rate", "0/s", "not 0/s"],
    ["--rate", "1/d", "not 1/d"],
  ] as const) {
    const { code, err } = await flynn("route", "update", "grpc.test", flag, text);
    assert.is(code, 2);
    assert.match(err, words);
  }
  await well("route", "remove", "grpc.test");
});

test("an http route with options is made, listed, changed and removed", async () => {
  assert.match(
    await well(
      "route",
      "add",
      "http",
      "Shop.Test",
      "--path",
      "/api",
      "--process",
      "api",
      "--sticky",
      "--redirect-https",
      "-a",
      "shop",
    ),
    /^Created route route-\w+: https:\/\/shop\.test\/api leads to shop api\n$/,
  );
  const list = await well("route", "list", "-a", "shop");
  assert.match(list, /ROUTE +SERVICE +ID +OPTIONS/);
  assert.match(list, /http:shop\.test\/api +shop api +route-\w+ +http -> https, sticky/);
  const [{ id }] = JSON.parse(await well("route", "list", "-a", "shop", "--json")) as [{ id: string }];
  const changed = await well(
    "route",
    "update",
    id,
    "--no-sticky",
    "--no-redirect-https",
    "--hsts",
    "600",
    "--process",
    "web",
  );
  assert.match(changed, `Changed route ${id}: http:shop.test/api leads to shop web (HSTS 600 s)`);
  assert.is((await flynn("route", "update", id)).code, 2, "nothing to change is wrong usage");
  assert.is((await flynn("route", "update", id, "--sticky", "--no-sticky")).code, 2);
  const unknown = await flynn("route", "remove", "shop.test/nope");
  assert.equal([unknown.code, unknown.err], [3, "error: no route shop.test/nope; see `flynn route list`\n"]);
  assert.match(await well("route", "remove", "shop.test/api"), "Route shop.test/api removed.");
});

test("a process that the running release lacks is made a route to all the same, and said", async () => {
  const fake = await fakeControl();
  fake.on("GET /v1/apps/shop/formation", {
    json: { appId: "app-1", releaseId: "r1", processes: { web: { count: 1, tags: {} }, api: { count: 0, tags: {} } } },
  });
  for (const [process, noted] of [
    ["wbe", true],
    ["api", false],
  ] as const) {
    fake.on("POST /v1/routes", {
      status: 201,
      json: {
        ...{ id: "route-1", appId: "app-1", app: "shop", process, createdAt: "2026-01-01T00:00:00Z" },
        ...{ type: "http", domain: "shop.test", path: "/" },
      },
    });
    const { code, out, err } = await fake.flynn(`route add http shop.test -s ${process} -a shop`);
    assert.equal([code, out], [0, `Created route route-1: http://shop.test/ leads to shop ${process}\n`]);
    assert.is(
      err,
      noted
        ? "note: the current release of shop has no process wbe (it has web, api): until one has, nothing answers here\n"
        : "",
    );
  }
});

test("open prints where an app answers, one address a line, and says how to get one", async () => {
  const none = await flynn("open", "-a", "other");
  assert.equal([none.code, none.out], [0, ""]);
  assert.match(none.err, "no domain leads to other; give it one: flynn route add http DOMAIN");
  const made: string[] = [];
  for (const domain of ["open.test", "open.test/api", "*.open.test"]) {
    const route = await well("route", "add", "http", domain, "-a", "other", "--json");
    made.push((JSON.parse(route) as { id: string }).id);
  }
  await well("route", "update", made[0]!, "--redirect-https");
  const tcp = JSON.parse(await well("route", "add", "tcp", "-a", "other", "--json")) as { id: string };
  const lines = (await well("open", "-a", "other")).trim().split("\n").sort();
  assert.equal(lines, ["http://open.test/api", "https://open.test/"]);
  assert.equal((JSON.parse(await well("open", "-a", "other", "--json")) as string[]).sort(), lines);
  for (const id of [...made, tcp.id]) await well("route", "remove", id);
});

test("a domain in letters beyond ASCII is sent as punycode", async () => {
  assert.match(await well("route", "add", "http", "Bücher.test", "-a", "shop"), "http://xn--bcher-kva.test/ leads");
  await well("route", "remove", "xn--bcher-kva.test");
});

test("a tcp route gets a port, is changed by its port, and a taken port is a conflict", async () => {
  const made = await well("route", "add", "tcp", "--process", "db", "--proxy-protocol", "v2", "-a", "shop");
  assert.match(made, /^Created route route-\w+: tcp:3000 leads to shop db\n$/);
  assert.match(await well("route", "list"), /tcp:3000 +shop db +route-\w+ +PROXY v2/);
  const taken = await flynn("route", "add", "tcp", "--port", "3000", "-a", "other");
  assert.is(taken.code, 5);
  assert.match(taken.err, "port 3000 is taken");
  assert.not.match(taken.err, "shop");
  await well("route", "update", "3000", "--proxy-protocol", "none");
  assert.not.match(await well("route", "list"), "PROXY");
  await well("route", "remove", "3000");
  assert.is((await flynn("route", "add", "tcp", "--port", "x", "-a", "shop")).code, 2);
  assert.is((await flynn("route", "add", "tcp", "--proxy-protocol", "v3", "-a", "shop")).code, 2);
});

test("a certificate comes with a route, is renewed by name, shown without its key, and removed by name", async () => {
  const added = await flynn(
    "route",
    "add",
    "http",
    "shop.test",
    "--cert",
    "first.pem",
    "-k",
    "first.key",
    "-a",
    "shop",
  );
  assert.is(added.code, 0, added.err);
  assert.match(added.err, /certificate crt-\w+ is shown for shop\.test/);
  const again = await flynn("cert", "add", "--cert", "first.pem", "--key", "first.key");
  assert.is(again.code, 5);
  assert.match(again.err, "flynn cert update");
  assert.match(
    await well("cert", "update", "shop.test", "--cert", "renewed.pem", "--key", "renewed.key"),
    "replaced: shop.test, www.shop.test",
  );
  assert.match(await well("cert", "list"), /crt-\w+ +shop\.test www\.shop\.test +in 29 days +EC prime256v1/);
  const shown = await well("cert", "show", "www.shop.test", "--json");
  assert.not.match(shown, /PRIVATE|sealed/);
  assert.is((await flynn("cert", "remove", "shop.test")).code, 2, "without a terminal it wants --confirm");
  await well("cert", "remove", "shop.test", "--confirm", "shop.test");
  assert.match((await flynn("cert", "list")).err, "there are no certificates");
});

test("what is wrong with files is said with their names", async () => {
  const missing = await flynn("cert", "add", "--cert", "none.pem", "--key", "first.key");
  assert.is(missing.code, 2);
  assert.match(missing.err, /read none\.pem/);
  assert.match((await flynn("cert", "add", "--cert", "first.pem")).err, "--cert FILE and --key FILE belong together");
  assert.match((await flynn("cert", "add", "--cert", "first.pem", "--key", "renewed.key")).err, "key does not belong");
});

test("maintenance is turned on with a message or a page, shown, and off; an error page is set and removed", async () => {
  await writeFile(join(directory, "page.html"), "<h1>Back soon</h1>");
  assert.is(await well("maintenance", "-a", "shop"), "off\n");
  assert.match(await well("maintenance", "on", "--message", "at 5", "-a", "shop"), "Maintenance of shop is on");
  assert.match(await well("maintenance", "-a", "shop"), /^on, since \d{4}-/);
  await well("maintenance", "on", "--page", "page.html", "-a", "shop");
  const { page, message } = JSON.parse(await well("maintenance", "-a", "shop", "--json")) as Record<string, string>;
  assert.equal([page, message], ["<h1>Back soon</h1>", undefined]);
  assert.match(await well("maintenance", "off", "-a", "shop"), "Maintenance of shop is off.");
  await well("error-page", "set", "page.html", "-a", "shop");
  assert.match(await well("maintenance", "-a", "shop"), "an error page of the app's own");
  await well("error-page", "remove", "-a", "shop");
  assert.is(await well("maintenance", "-a", "shop"), "off\n");
  assert.is((await flynn("maintenance", "on", "--page", "x", "--message", "y", "-a", "shop")).code, 2);
});

test.run();
