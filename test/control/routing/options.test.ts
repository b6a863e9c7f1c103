// A route from what somebody asks for.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { changed, newRoute } from "../../../control/routing/options.ts";
import { refusal, refusedField } from "../faults.ts";

type Asked = Parameters<typeof newRoute>[1];
const owner = { id: "r1", appId: "app-1", app: "hello", createdAt: "2026-01-01T00:00:00.000Z" };
const made = (asked: Partial<Asked>) => newRoute(owner, asked as Asked, () => 3_001);

test("an http route has its domain, the path / and the process web unless it says otherwise; options only when given", () => {
  assert.equal(made({ domain: "a.test" }), {
    ...owner,
    process: "web",
    type: "http",
    domain: "a.test",
    path: "/",
  } as never);
  const all = { domain: "a.test", path: "/api", process: "api", tls: "auto", sticky: true, hstsSeconds: 60 } as never;
  assert.equal(made(all), { ...owner, type: "http", ...(all as object) } as never);
  assert.not.ok("sticky" in made({ domain: "a.test", sticky: false }));
});

test("a path is kept without the slashes at its end, and / stays", () => {
  for (const [path, is] of [
    ["/", "/"],
    ["/api/", "/api"],
    ["/api//", "/api"],
    ["/a/b", "/a/b"],
    ["/x", "/x"],
  ] as const)
    assert.is((made({ domain: "a.test", path }) as { path: string }).path, is);
});

test("a tcp route has a port, and PROXY protocol only when it is asked for", () => {
  const tcp = { ...owner, process: "web", type: "tcp", port: 3_001 };
  assert.equal(made({ type: "tcp" }), tcp as never);
  assert.equal(made({ type: "tcp", process: "db", proxyProtocol: true } as never), {
    ...tcp,
    process: "db",
    proxyProtocol: true,
  } as never);
  assert.equal(made({ type: "tcp", proxyProtocol: false } as never), tcp as never);
});

test("an http route takes no port of anybody", () => {
  newRoute(owner, { domain: "a.test" } as Asked, () => assert.unreachable("a port was taken") as never);
});

test("what a type of route does not have is refused by its name, in a new one and in a change; null takes nothing away", () => {
  const http = made({ domain: "a.test" });
  const tcp = made({ type: "tcp" });
  for (const [field, value] of [
    ["port", 3_001],
    ["proxyProtocol", true],
    ["proxyProtocol", false],
  ] as const)
    for (const ask of [
      () => made({ domain: "a.test", [field]: value } as never),
      () => changed(http, { [field]: value } as never),
    ]) {
      assert.is(refusal(ask), `invalid ${field} is not for http routes`);
      assert.is(refusedField(ask), field);
    }
  for (const [field, value] of [
    ["domain", "a.test"],
    ["path", "/"],
    ["tls", "auto"],
    ["sticky", true],
    ["hstsSeconds", 0],
    ["protocol", "h2c"],
    ["rate", { requests: 1, per: "hour" }],
  ] as const)
    for (const ask of [
      () => made({ type: "tcp", [field]: value } as never),
      () => changed(tcp, { [field]: value } as never),
    ]) {
      assert.is(refusal(ask), `invalid ${field} is not for tcp routes`);
      assert.is(refusedField(ask), field);
    }
  assert.equal(changed(tcp, { sticky: null, hstsSeconds: null } as never), tcp);
  assert.is(
    refusal(() => made({})),
    "invalid an http route needs a domain",
  );
  assert.is(
    refusedField(() => made({ type: "http" })),
    "domain",
  );
});

test("a change sets what it names, null or false takes an option back, and the rest stays", () => {
  const route = made({ domain: "a.test", sticky: true, hstsSeconds: 60 });
  assert.equal(changed(route, {}), route);
  assert.equal(changed(route, { sticky: undefined } as never), route);
  assert.equal(changed(route, { hstsSeconds: 90 } as never), { ...route, hstsSeconds: 90 } as never);
  const { sticky: _, ...plain } = route as { sticky?: boolean };
  for (const sticky of [null, false]) assert.equal(changed(route, { sticky } as never), plain as never);
  const { hstsSeconds: __, ...lax } = route as { hstsSeconds?: number };
  assert.equal(changed(route, { hstsSeconds: null } as never), lax as never);
});

test.run();
