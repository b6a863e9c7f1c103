// The network as people set and see it: what apps reach by default, the rules that open one app to another, and how far each host
// enforces both. What a host gets of it is in reach.ts.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { AppEgress, AppNetwork, Reach } from "./reach.ts";
import { Id, IdParams, listOf, Name, object, oneOf, PageQuery, Time } from "./schema.ts";

export const RuleKind = oneOf(
  ["app", "service"],
  "What is named. service: one outside of the cluster, which no rule begins at. A newer control may answer other kinds.",
);

/** One end of a rule. */
export const NetworkParty = object({ kind: RuleKind, id: Id, name: Name });
export type NetworkParty = Static<typeof NetworkParty>;

export const NetworkRule = object({
  id: Id,
  from: NetworkParty,
  to: NetworkParty,
  version: Type.Integer({
    minimum: 0,
    description: "A host that enforces this version of its reach, or a later one, enforces the rule.",
  }),
  createdAt: Time,
  createdBy: Type.String(),
});
export type NetworkRule = Static<typeof NetworkRule>;

export const NewParty = object(
  { kind: Type.Optional(RuleKind), name: Id },
  "An app, by name or id; as `to` also an external service, by name.",
);

export const Network = object({
  appNetwork: AppNetwork,
  egress: AppEgress,
  closed: Reach.properties.closed,
  open: Reach.properties.open,
  routers: Reach.properties.routers,
});
export type Network = Static<typeof Network>;

export const NetworkHost = object({
  id: Id,
  name: Name,
  state: oneOf(
    ["current", "behind", "silent", "unsupported"],
    "current: enforces the newest version. behind: does not yet. silent: lost, or not heard since control started; it goes on with what it had. unsupported: its agent is too old to say, or manages no network (`manageNetwork: false`).",
  ),
  version: Type.Integer({ minimum: 0, description: "Version of its reach as control has it." }),
  enforcedVersion: Type.Optional(Type.Integer({ minimum: 0, description: "Version that its kernel enforces." })),
});
export type NetworkHost = Static<typeof NetworkHost>;

export const getNetwork = endpoint({
  id: "getNetwork",
  method: "GET",
  path: "/v1/network",
  summary: "Show what apps and builds reach unless a rule opens more",
  permission: "app:read",
  reply: Network,
});
export const listNetworkHosts = endpoint({
  id: "listNetworkHosts",
  method: "GET",
  path: "/v1/network/hosts",
  summary: "List how far each host enforces what apps may reach",
  permission: "app:read",
  query: object(PageQuery),
  reply: listOf(NetworkHost),
});
export const listNetworkRules = endpoint({
  id: "listNetworkRules",
  method: "GET",
  path: "/v1/network-rules",
  summary: "List which apps may reach which others",
  permission: "app:read",
  query: object({ app: Type.Optional(Id), ...PageQuery }),
  reply: listOf(NetworkRule),
});
export const getNetworkRule = endpoint({
  id: "getNetworkRule",
  method: "GET",
  path: "/v1/network-rules/:id",
  summary: "Show a network rule",
  permission: "app:read",
  params: IdParams,
  reply: NetworkRule,
});
export const createNetworkRule = endpoint({
  id: "createNetworkRule",
  method: "POST",
  idempotent: true,
  path: "/v1/network-rules",
  location: "/v1/network-rules/{id}",
  summary:
    "Let jobs of one app open connections to jobs of another, on any port, or to an external service on its port, within a second and with no restart; a rule that exists is answered as it is",
  permission: "app:write",
  body: object({ from: NewParty, to: NewParty }),
  reply: NetworkRule,
  status: 201,
});
export const deleteNetworkRule = endpoint({
  id: "deleteNetworkRule",
  method: "DELETE",
  path: "/v1/network-rules/:id",
  summary: "Close again what a rule opened; connections it let through are cut",
  permission: "app:write",
  params: IdParams,
  reply: object({
    version: Type.Integer({
      minimum: 0,
      description: "Hosts that enforce this version or a later one have closed it.",
    }),
  }),
});
