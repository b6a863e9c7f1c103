// The contract as a whole: every endpoint is mounted once, under an id and a path of its own. Who may call what: permissions.ts.
import { readFile } from "node:fs/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { PERMISSIONS } from "#api/endpoint.ts";
import { controlEndpoints } from "#api/endpoints.ts";
import { openapiText } from "#api/openapi/document.ts";
import { withRig } from "../control/rig.ts";

test("every endpoint has its own id, its own method and path, and a permission of the closed list", () => {
  const endpoints = controlEndpoints();
  assert.ok(endpoints.length > 50);
  const ids = endpoints.map(({ id }) => id);
  const places = endpoints.map(({ method, path }) => `${method} ${path.replace(/:[a-zA-Z]+/g, ":x")}`);
  assert.is(new Set(ids).size, ids.length);
  assert.is(new Set(places).size, places.length);
  for (const { id, permission } of endpoints) assert.ok(PERMISSIONS.includes(permission), `${id}: ${permission}`);
});

test("api/openapi.json and openapi-agents.json are what the endpoints print; `node api/openapi.ts` rewrites them", async () => {
  const kept = (name: string) => readFile(new URL(`../../api/${name}`, import.meta.url), "utf8");
  assert.is(await kept("openapi.json"), openapiText("people"));
  assert.is(await kept("openapi-agents.json"), openapiText("agents"));
});

test("every endpoint is mounted exactly once, and nothing else is", () =>
  withRig(
    async ({ control }) => {
      const mounted = control.mounted.map(({ id }) => id).sort();
      assert.equal(
        mounted,
        controlEndpoints()
          .map(({ id }) => id)
          .sort(),
      );
    },
    { loops: false },
  ));

test.run();
