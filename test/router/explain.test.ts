import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { assign } from "../../router/assign.ts";
import { routeKey } from "../../router/assignment.ts";
import { explain, findRoute } from "../../router/explain.ts";
import { target } from "./rig.ts";

const served = target(1, [
  { app: "one", routes: ["a.test", "*.w.test"], jobs: [] },
  { app: "two", routes: ["a.test/api", "x.w.test"], jobs: [{ port: 80 }] },
]);

for (const [host, path, found] of [
  ["a.test", "/", "a.test/"],
  ["a.test", "/api", "a.test/api"],
  ["a.test", "/api/x", "a.test/api"],
  ["a.test", "/apix", "a.test/"],
  ["x.w.test", "/", "x.w.test/"],
  ["y.w.test", "/api", "*.w.test/"],
  ["w.test", "/", undefined],
  ["x.y.w.test", "/", undefined],
] as const)
  test(`${host}${path} is served by ${found}`, () => {
    const route = findRoute(host, path, served);
    assert.is(route && `${route.domain}${route.path}`, found);
  });

test("a pool without a job that serves is told with its 503", () => {
  const { assignment } = assign({ backends: [] }, served, { isBusy: () => true, backends: 2, slots: 2 });
  assert.match(explain("http://A.test.:80/x?y", { target: served, assignment }).join("\n"), "0 to serve -> 503");
});

test("a canary's share and pool are told", () => {
  const withCanary = target(1, [
    { app: "one", routes: ["a.test"], jobs: [{ port: 80 }], canary: { percent: 5, jobs: [{ port: 81 }] } },
  ]);
  const { assignment } = assign({ backends: [] }, withCanary, { isBusy: () => true, backends: 2, slots: 2 });
  const lines = explain("a.test", { target: withCanary, assignment });
  assert.match(lines.join("\n"), "5 % of the requests go to one/web@next (be_0002)");
});

test("the route found is the longest of those whose key begins the request's, as HAProxy's map_beg finds it", () => {
  const path = fc.array(fc.constantFrom("a", "ab", "b"), { maxLength: 3 }).map((parts) => `/${parts.join("/")}`);
  fc.assert(
    fc.property(fc.uniqueArray(path, { maxLength: 6 }), path, (paths, asked) => {
      const routes = paths.map((each) => ({ domain: "a.test", path: each, poolId: "p" }));
      const keys = paths.map((each) => routeKey("a.test", each)).filter((key) => `a.test${asked}/`.startsWith(key));
      const longest = keys.sort((x, y) => y.length - x.length)[0];
      const route = findRoute("a.test", asked, { routes });
      assert.is(route && routeKey("a.test", route.path), longest);
    }),
  );
});

test.run();
