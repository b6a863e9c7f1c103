// The contract as a whole: every endpoint is mounted once, says who may call it, and refuses everybody else. Generated from
// the list, so that a new endpoint without a policy fails here.
import { readFile } from "node:fs/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "#api/client.ts";
import { type Endpoint, PERMISSIONS, type Permission } from "#api/endpoint.ts";
import { controlEndpoints } from "#api/endpoints.ts";
import { Fault } from "#api/fault.ts";
import { openapiText } from "#api/openapi.ts";
import { withRig } from "../control/rig.ts";

const SCOPES = PERMISSIONS.filter((permission) => permission.includes(":"));
const ofAnyMember = ({ permission }: Endpoint) => (permission as string) === "member";
const SPEAKERS = new Set<string>(["agent", "router", "boot", "member"]);
const ROLES = { agent: "host", router: "router", boot: "boot" } as const;

/** The code a call is refused with, or `let in` when it got past authorisation. */
async function outcome(client: Client, endpoint: Endpoint, params: Record<string, string>): Promise<string> {
  const names = [...endpoint.path.matchAll(/:([a-zA-Z]+)/g)].map((match) => match[1]!);
  const filled = Object.fromEntries(names.map((name) => [name, params[name] ?? "nothing"]));
  // A body that no endpoint takes: whoever is let in is stopped by validation and changes nothing.
  const body = endpoint.method === "GET" ? undefined : ({ "not-a-field": true } as never);
  try {
    await client.call(endpoint, { params: filled as never, body });
    return "let in";
  } catch (error) {
    assert.instance(error, Fault, `${endpoint.id}: ${String(error)}`);
    const { code } = error as Fault;
    assert.is.not(code, "internal", `${endpoint.id}: ${(error as Fault).message}`);
    assert.is.not(code, "unavailable", `${endpoint.id}: ${(error as Fault).message}`);
    return code === "unauthenticated" || code === "forbidden" ? code : "let in";
  }
}

test("every endpoint has its own id, its own method and path, and a permission of the closed list", () => {
  const endpoints = controlEndpoints();
  assert.ok(endpoints.length > 50);
  const ids = endpoints.map(({ id }) => id);
  const places = endpoints.map(({ method, path }) => `${method} ${path.replace(/:[a-zA-Z]+/g, ":x")}`);
  assert.is(new Set(ids).size, ids.length);
  assert.is(new Set(places).size, places.length);
  for (const { id, permission } of endpoints) assert.ok(PERMISSIONS.includes(permission), `${id}: ${permission}`);
});

test("api/openapi.json is what the endpoints print; `node api/openapi.ts` rewrites it", async () => {
  assert.is(await readFile(new URL("../../api/openapi.json", import.meta.url), "utf8"), openapiText());
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

test("nobody gets in without a token but where anybody may", () =>
  withRig(
    async (rig) => {
      const stranger = rig.client();
      for (const endpoint of controlEndpoints()) {
        const open = endpoint.permission === "public" || endpoint.permission === "join";
        assert.is(await outcome(stranger, endpoint, {}), open ? "let in" : "unauthenticated", endpoint.id);
      }
      const wrong = rig.client({ token: "not-a-token-of-ours" });
      for (const endpoint of controlEndpoints())
        assert.is(await outcome(wrong, endpoint, {}), "unauthenticated", endpoint.id);
    },
    { loops: false },
  ));

test("a token opens what its one permission names, and nothing else", () =>
  withRig(
    async (rig) => {
      for (const scope of SCOPES as Permission[]) {
        const client = rig.client({ token: await rig.tokenWith([scope]) });
        for (const endpoint of controlEndpoints()) {
          const open = ["public", "join", scope].includes(endpoint.permission);
          assert.is(await outcome(client, endpoint, {}), open ? "let in" : "forbidden", `${scope} on ${endpoint.id}`);
        }
      }
    },
    { loops: false },
  ));

test("the admin token does everything but speak for a host, a router or a boot server", () =>
  withRig(
    async (rig) => {
      for (const endpoint of controlEndpoints()) {
        const member = SPEAKERS.has(endpoint.permission);
        assert.is(await outcome(rig.admin, endpoint, {}), member ? "forbidden" : "let in", endpoint.id);
      }
    },
    { loops: false },
  ));

test("a member speaks for itself only: not for another of its role, not for another role, not for people", () =>
  withRig(
    async (rig) => {
      for (const [permission, role] of Object.entries(ROLES)) {
        const mine = await rig.join(role);
        const other = await rig.join(role);
        for (const endpoint of controlEndpoints()) {
          const open = ["public", "join"].includes(endpoint.permission);
          const its = endpoint.permission === permission || ofAnyMember(endpoint);
          const text = `${role} on ${endpoint.id}`;
          assert.is(await outcome(mine.client, endpoint, { id: other.id }), open ? "let in" : "forbidden", text);
          assert.is(await outcome(mine.client, endpoint, { id: mine.id }), open || its ? "let in" : "forbidden", text);
        }
      }
    },
    { loops: false },
  ));

test.run();
