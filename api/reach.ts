// What jobs and builds may reach: the cluster's settings, the rules people make (`flynn network allow FROM TO`), and what one host is told
// of both. Deny by default; both ends check: the sender's host by destination, the receiver's by source.
import { type Static, Type } from "typebox";
import { Id, Ipv4, object, oneOf } from "./schema.ts";

export const AppNetwork = oneOf(
  ["app", "cluster"],
  "app: a job reaches jobs of its own app, and of those that rules open to it. cluster: every app's.",
);
export type AppNetwork = Static<typeof AppNetwork>;

export const AppEgress = oneOf(
  ["all", "internet", "none"],
  "What jobs and builds reach outside the cluster. all: everything but boot and BMC networks. internet: no private, shared, link-local or special range (RFC 6890). none: nothing but name servers.",
);
export type AppEgress = Static<typeof AppEgress>;

const Cidr = Type.String({
  maxLength: 43,
  pattern: "^[0-9a-fA-F.:]+/\\d{1,3}$",
  description: "IPv4 or IPv6 CIDR.",
});

/** One app as a host needs to know it: all its jobs' addresses in the cluster, and the apps whose jobs it may open connections to. */
export const ReachApp = object({
  appId: Id,
  addresses: Type.Array(Ipv4, { description: "Of every live job of the app, on this host and on others; sorted." }),
  to: Type.Array(Id, { description: "Apps it may reach beside itself, by a rule; sorted." }),
  outside: Type.Optional(
    Type.Array(object({ address: Ipv4, port: Type.Integer({ minimum: 1, maximum: 65_535 }) }), {
      description:
        "TCP ports of external services that rules open to it, whatever `egress` says; nothing of `closed`. Only of apps that run on this host.",
    }),
  ),
});
export type ReachApp = Static<typeof ReachApp>;

export const OpenPorts = object({
  address: Ipv4,
  ports: Type.Array(Type.String({ pattern: "^\\d{1,5}(-\\d{1,5})?$" })),
});

/** What a host enforces. It holds only the apps that run on this host, those they may reach and those that may reach them. */
export const Reach = object({
  version: Type.Integer({
    minimum: 0,
    description: "seq of the last change of anything in it; hosts report what they enforce.",
  }),
  appNetwork: AppNetwork,
  egress: AppEgress,
  closed: Type.Array(Cidr, {
    description: "Boot and BMC networks: never reached, under every policy, by jobs or builds.",
  }),
  open: Type.Array(OpenPorts, {
    description: "TCP ports on closed addresses that jobs may reach all the same: the routers' and the API's own.",
  }),
  routers: Type.Array(Ipv4, { description: "Where routers open connections to jobs from." }),
  apps: Type.Array(ReachApp),
});
export type Reach = Static<typeof Reach>;
