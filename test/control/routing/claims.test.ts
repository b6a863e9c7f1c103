// Who may have which domain and port.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { HttpRoute, TcpRoute } from "#api/routes.ts";
import { keys } from "../../../control/keys.ts";
import {
  checkDomain,
  choosePort,
  claimKey,
  claimOf,
  portRange,
  routeEnd,
  routeLabel,
} from "../../../control/routing/claims.ts";
import { refusal, refusedField } from "../faults.ts";
import { kept } from "../kept.ts";

const http = (id: string, domain: string, path = "/", appId = "app-1"): HttpRoute =>
  ({ id, type: "http", appId, domain, path }) as HttpRoute;
const tcp = (id: string, port: number): TcpRoute => ({ id, type: "tcp", appId: "app-1", port }) as TcpRoute;
const routed = (...routes: (HttpRoute | TcpRoute)[]) =>
  kept(
    Object.fromEntries(
      routes.flatMap((route) => [
        [keys.route(route.id), route],
        [claimKey(route), route.id],
      ]),
    ),
  );

test("a route is written with the claim of its domain and path, or port, which nobody may have had", () => {
  for (const [route, claim] of [
    [http("r1", "a.test", "/api"), "route-claims/a.test/api"],
    [tcp("r2", 3_001), "route-claims/:3001"],
  ] as const) {
    assert.equal(claimOf(kept(), route), {
      mutations: [
        { key: `routes/${route.id}`, value: route },
        { key: claim, value: route.id },
      ],
      expect: [{ key: claim, version: 0 }],
    });
    assert.equal(routeEnd(route), [
      { key: `routes/${route.id}`, value: null },
      { key: claim, value: null },
    ]);
  }
  assert.equal([http("r", "a.test", "/api"), tcp("r", 3_001)].map(routeLabel), ["a.test/api", "port 3001"]);
});

test("a domain is one app's with all its paths, a path of it one route's, and a port one route's", () => {
  const store = routed(http("r1", "a.test"), http("r2", "b.test", "/", "app-2"), tcp("r3", 3_001));
  for (const [route, answer] of [
    [http("new", "a.test"), "conflict the route a.test/ exists already"],
    [http("new", "a.test", "/api"), "fine"],
    [http("new", "a.test", "/api", "app-2"), "conflict the domain a.test is taken by another app"],
    [http("new", "b.test"), "conflict the domain b.test is taken by another app"],
    [http("new", "c.test", "/", "app-2"), "fine"],
    [tcp("new", 3_001), "conflict port 3001 is taken"],
    [tcp("new", 3_002), "fine"],
  ] as const)
    assert.is(
      refusal(() => claimOf(store, route)),
      answer,
    );
});

test("the path that proves who has a domain is nobody's, nor is anything below it", () => {
  for (const [path, answer] of [
    ["/.well-known/acme-challenge", "invalid"],
    ["/.well-known/acme-challenge/", "invalid"],
    ["/.well-known/acme-challenge/token", "invalid"],
    ["/.well-known/acme-challenges", "fine"],
    ["/.well-known", "fine"],
    ["/a/.well-known/acme-challenge", "fine"],
  ] as const) {
    const claim = () => claimOf(kept(), http("r", "a.test", path));
    assert.is(refusal(claim).split(" ")[0], answer, path);
    if (answer !== "fine") assert.is(refusedField(claim), "path");
  }
});

test("the platform's own names and names that no browser sends are no domains of apps", () => {
  for (const [domain, answer] of [
    ["example.com", "fine"],
    ["*.example.com", "fine"],
    ["flynn.internal", "invalid the domain flynn.internal is the platform's own"],
    ["a.flynn.internal", "invalid the domain a.flynn.internal is the platform's own"],
    ["*.flynn.internal", "invalid the domain *.flynn.internal is the platform's own"],
    ["flynn.internal.example.com", "fine"],
    ["notflynn.internal", "fine"],
    ["xn--bcher-kva.example", "fine"],
    ["www.xn--bcher-kva.example", "fine"],
    ["*.xn--bcher-kva.example", "fine"],
    ["xn--a.example", "invalid the domain xn--a.example is not valid punycode"],
    ["www.xn--a.example", "invalid the domain www.xn--a.example is not valid punycode"],
    ["xn--bcher-kva.xn--a.example", "invalid the domain xn--bcher-kva.xn--a.example is not valid punycode"],
    ["axn--a.example", "fine"],
  ] as const) {
    assert.is(
      refusal(() => checkDomain(domain)),
      answer,
    );
    if (answer !== "fine")
      assert.is(
        refusedField(() => checkDomain(domain)),
        "domain",
      );
    assert.is(
      refusal(() => claimOf(kept(), http("r", domain))),
      answer,
    );
  }
});

test("a port that is asked for is of the range, and without one the lowest free is given until none is left", () => {
  const range = { first: 3_000, last: 3_002 };
  const store = routed(tcp("a", 3_000), tcp("b", 3_002));
  assert.is(choosePort(store, range), 3_001);
  assert.is(choosePort(kept(), range), 3_000);
  assert.is(choosePort(routed(tcp("a", 3_000), tcp("b", 3_001)), range), 3_002);
  const full = () => choosePort(routed(tcp("a", 3_000), tcp("b", 3_001), tcp("c", 3_002)), range);
  assert.is(refusal(full), "no-capacity every port of 3000-3002 has a route; remove one, or widen tcpPorts of control");
  for (const port of [3_000, 3_001, 3_002]) assert.is(choosePort(store, range, port), port);
  for (const port of [2_999, 3_003, 0]) {
    const asked = () => choosePort(store, range, port);
    assert.is(refusal(asked), `invalid port ${port} is not of the range for TCP routes, 3000-3002`);
    assert.is(refusedField(asked), "port");
  }
});

test("a range of ports is two ports, the smaller first", () => {
  assert.equal(portRange("3000-3500"), { first: 3_000, last: 3_500 });
  assert.equal(portRange("3000-3000"), { first: 3_000, last: 3_000 });
  assert.equal(portRange("1-65535"), { first: 1, last: 65_535 });
  for (const text of ["3500-3000", "0-3000", "3000-65536", "3000", "", "-", "a-b"])
    assert.is(
      refusal(() => portRange(text)),
      `invalid tcpPorts ${text}: two ports, the smaller first, such as 3000-3500`,
    );
});

test.run();
