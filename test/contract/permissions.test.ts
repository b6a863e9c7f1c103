// The table of who may call what, tried: every caller on every endpoint, over the real API.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "#api/client.ts";
import type { Endpoint } from "#api/endpoint.ts";
import { controlEndpoints } from "#api/endpoints.ts";
import { Fault } from "#api/fault.ts";
import type { JoinRole } from "#api/members.ts";
import { type Rig, withRig } from "../control/rig.ts";
import { MEMBERS, SCOPES, WHO_MAY, type Who } from "./permissions.ts";

type Outcome = "let in" | "unauthenticated" | "forbidden";
const ROLES: Record<(typeof MEMBERS)[number], JoinRole> = { host: "host", router: "router", "boot server": "boot" };

interface Caller {
  name: string;
  client: Client;
  /** Sent for `:id`. */
  id: string;
  expected(who: Who): Outcome;
}

const rowOf = ({ method, path }: Endpoint): string => `${method} ${path}`;

async function callersOf(rig: Rig): Promise<Caller[]> {
  const token = (name: string, client: Client, mayUse: readonly Who[]): Caller => ({
    name,
    client,
    id: "nothing",
    expected: (who) => (who === "anyone" || mayUse.includes(who) ? "let in" : "forbidden"),
  });
  const callers: Caller[] = [
    {
      name: "nobody",
      client: rig.client(),
      id: "nothing",
      expected: (who) => (who === "anyone" ? "let in" : "unauthenticated"),
    },
    {
      name: "a token that is not ours",
      client: rig.client({ token: "not-a-token-of-ours" }),
      id: "nothing",
      expected: () => "unauthenticated",
    },
    token("the admin", rig.admin, SCOPES),
  ];
  for (const scope of SCOPES)
    callers.push(token(`a token with ${scope}`, rig.client({ token: await rig.tokenWith([scope]) }), [scope]));
  const ids = new Map<string, string>();
  for (const kind of MEMBERS) ids.set(`another ${kind}`, (await rig.join(ROLES[kind])).id);
  for (const kind of MEMBERS) {
    const { client, id: own } = await rig.join(ROLES[kind]);
    const itself = (who: Who) => (["anyone", "any member", kind].includes(who) ? "let in" : "forbidden");
    callers.push({ name: `a ${kind}, of itself`, client, id: own, expected: itself });
    for (const [whose, id] of ids)
      callers.push({
        name: `a ${kind}, of ${whose}`,
        client,
        id,
        expected: (who) => (who === "anyone" ? "let in" : "forbidden"),
      });
  }
  return callers;
}

/** What the call came to. A body that no endpoint takes: whoever is let in is stopped by validation and changes nothing. */
async function outcome({ client, id }: Caller, endpoint: Endpoint): Promise<Outcome> {
  const names = [...endpoint.path.matchAll(/:([a-zA-Z]+)/g)].map((match) => match[1]!);
  const params = Object.fromEntries(names.map((name) => [name, name === "id" ? id : "nothing"]));
  const body = endpoint.method === "GET" ? undefined : { "not-a-field": true };
  try {
    await client.call(endpoint, { params, body } as never);
    return "let in";
  } catch (error) {
    assert.instance(error, Fault, `${rowOf(endpoint)}: ${String(error)}`);
    const { code, message } = error as Fault;
    assert.not(["internal", "unavailable"].includes(code), `${rowOf(endpoint)}: ${message}`);
    return code === "unauthenticated" || code === "forbidden" ? code : "let in";
  }
}

test("every endpoint has a row that says who may call it, and every row an endpoint", () => {
  const endpoints = controlEndpoints().map(rowOf);
  const missing = endpoints.filter((row) => WHO_MAY[row] === undefined);
  const stale = Object.keys(WHO_MAY).filter((row) => !endpoints.includes(row));
  assert.equal(missing, [], "add a row for each to test/contract/permissions.ts: who should be let in?");
  assert.equal(stale, [], "no such endpoint: take the rows out of test/contract/permissions.ts");
});

test("each caller is let in where its row says so, and refused by name everywhere else", () =>
  withRig(
    async (rig) => {
      const wrong: string[] = [];
      for (const caller of await callersOf(rig))
        for (const endpoint of controlEndpoints()) {
          const who = WHO_MAY[rowOf(endpoint)];
          if (who === undefined) continue; // the test above fails for it
          // Without an id in the path there is no other member to speak for.
          const ofOther = caller.name.includes(", of another");
          if (ofOther && !endpoint.path.includes("/:id")) continue;
          const got = await outcome(caller, endpoint);
          const wanted = caller.expected(who);
          if (got !== wanted) wrong.push(`${rowOf(endpoint)}: ${caller.name} is ${got}, wanted: ${wanted} (${who})`);
        }
      assert.equal(wrong, []);
    },
    { loops: false },
  ));

test.run();
