// Apps of a cluster with a domain of its own are routed from the first moment.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp } from "#api/apps.ts";
import { createRoute, listRoutes } from "#api/routes.ts";
import { withRig } from "../rig.ts";

test("a new app answers at NAME.<app domain>", () =>
  withRig(
    async ({ admin }) => {
      const app = await admin.call(createApp, { body: { name: "shop" } });
      const { items } = await admin.call(listRoutes, { query: { app: app.id } });
      assert.equal(
        items.map((route) => route.type === "http" && [route.domain, route.path, route.process, route.type]),
        [["shop.apps.test", "/", "web", "http"]],
      );
    },
    { appDomain: "apps.test" },
  ));

test("a name that somebody routed before stays theirs, and the app is made without it", () =>
  withRig(
    async ({ admin }) => {
      await admin.call(createApp, { body: { name: "first" } });
      await admin.call(createRoute, { body: { app: "first", domain: "second.apps.test" } });
      const second = await admin.call(createApp, { body: { name: "second" } });
      assert.equal((await admin.call(listRoutes, { query: { app: second.id } })).items, []);
    },
    { appDomain: "apps.test" },
  ));

test("without an app domain an app has no route until it is given one", () =>
  withRig(async ({ admin }) => {
    const app = await admin.call(createApp, { body: { name: "plain" } });
    assert.equal((await admin.call(listRoutes, { query: { app: app.id } })).items, []);
  }));

test.run();
