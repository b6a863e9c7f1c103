// Access tokens: what a person's command line, a CI script or any other client shows. One is told once, when it is made.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { Id, IdParams, listOf, Name, Nothing, object, oneOf, PageQuery, Time } from "./schema.ts";

export const Scope = oneOf(
  ["*", "cluster:read", "cluster:write", "machine:read", "machine:write", "app:read", "app:write"],
  "What a token may do: `app:write` changes apps, `cluster:read` reads hosts, routers and events; `*` is everything.",
);
export type Scope = Static<typeof Scope>;

const DAY_MS = 86_400_000;
/** Some ten years: longer is "never", which is what no `ttlMs` means. */
const TTL_MOST_MS = 3_653 * DAY_MS;

export const AccessToken = object({
  id: Id,
  name: Name,
  permissions: Type.Array(Scope),
  createdAt: Time,
  createdBy: Type.Optional(
    Type.String({ description: "Absent: made with the cluster, or on the appliance's own machine." }),
  ),
  expiresAt: Type.Optional(Type.Unsafe<string>({ ...Time, description: "Absent: good until it is revoked." })),
  lastUsedAt: Type.Optional(Type.Unsafe<string>({ ...Time, description: "Within ten minutes; absent: not used yet." })),
});
export type AccessToken = Static<typeof AccessToken>;

export const listTokens = endpoint({
  id: "listTokens",
  method: "GET",
  path: "/v1/tokens",
  summary: "List access tokens; none shows its secret",
  permission: "cluster:read",
  query: object(PageQuery),
  reply: listOf(AccessToken),
});
export const getToken = endpoint({
  id: "getToken",
  method: "GET",
  path: "/v1/tokens/:id",
  summary: "Show an access token",
  permission: "cluster:read",
  faults: ["conflict"],
  params: IdParams,
  reply: AccessToken,
});
export const createToken = endpoint({
  id: "createToken",
  method: "POST",
  idempotent: true,
  path: "/v1/tokens",
  location: "/v1/tokens/{id}",
  summary: "Make an access token that may do no more than the one it is made with; `token` is told this once",
  permission: "cluster:write",
  status: 201,
  body: object({
    name: Name,
    permissions: Type.Array(Scope, { minItems: 1, maxItems: 7, uniqueItems: true }),
    ttlMs: Type.Optional(
      Type.Integer({ minimum: 60_000, maximum: TTL_MOST_MS, description: "Left out: good until it is revoked." }),
    ),
  }),
  reply: object({ ...AccessToken.properties, token: Type.String({ description: "fat_ and 43 more characters." }) }),
});
export const revokeToken = endpoint({
  id: "revokeToken",
  method: "DELETE",
  path: "/v1/tokens/:id",
  summary: "Revoke an access token, by id or name: its next request is refused, and streams it holds open end",
  permission: "cluster:write",
  params: IdParams,
  reply: Nothing,
});
