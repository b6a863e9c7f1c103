// Configuration of the router: file < environment (FLYNN_ROUTER_*) < flags, checked before any socket opens.

import { isIP } from "node:net";
import { type Static, Type } from "typebox";
import { Fault } from "#api/fault.ts";
import { object } from "#api/schema.ts";
import { loadConfig } from "#lib/config.ts";

/** An address or a CIDR; whether it is one is looked at more closely below. */
const Source = Type.String({ maxLength: 49, pattern: "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$" });

export const Config = object({
  name: Type.String({ default: "router", minLength: 1, maxLength: 63, description: "Label of this router." }),
  controlUrls: Type.Array(Type.String({ pattern: "^https://" }), {
    minItems: 1,
    description: "Control, https://host:port each.",
  }),
  caPem: Type.Optional(Type.String({ description: "Certificate of the cluster CA, PEM." })),
  caFile: Type.Optional(Type.String({ description: "File with it, instead of caPem." })),
  joinToken: Type.Optional(
    Type.String({ description: "Single-use token; needed until this router has a certificate." }),
  ),
  stateDir: Type.String({
    default: "/var/lib/flynn/router",
    description: "Last target, certificate, HAProxy's files and sockets.",
  }),
  bind: Type.String({ default: "0.0.0.0", pattern: "^[0-9a-fA-F.:]+$", description: "Address HAProxy listens on." }),
  httpPort: Type.Integer({ default: 80, minimum: 1, maximum: 65_535, description: "Port for HTTP." }),
  httpsPort: Type.Integer({ default: 443, minimum: 0, maximum: 65_535, description: "Port for HTTPS; 0: none." }),
  proxySources: Type.Array(Source, {
    default: [],
    maxItems: 64,
    description:
      "Load balancers in front (IPv4 and IPv6 addresses or CIDRs) whose connections begin with the PROXY protocol, v1 or v2; from all others it is refused.",
  }),
  trustedFronts: Type.Array(Source, {
    default: [],
    maxItems: 64,
    description:
      "Load balancers and CDNs in front (IPv4 and IPv6 addresses or CIDRs) whose X-Forwarded-For, -Proto, -Host and -Port are believed; from all others they are replaced.",
  }),
  address: Type.Optional(
    Type.String({ maxLength: 45, description: "Address clients reach this router by, shown by control." }),
  ),
  haproxyBinary: Type.String({ default: "haproxy", pattern: "^[^\\s]+$", description: "HAProxy 2.6 or newer." }),
  haproxyAccount: Type.String({
    default: "haproxy",
    pattern: "^[a-z_][a-z0-9_-]*$",
    description: "Account of the workers when started by root; root when there is no such account.",
  }),
  maxConnections: Type.Integer({
    default: 10_000,
    minimum: 10,
    maximum: 1_000_000,
    description: "Client connections at once.",
  }),
  threads: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 64, description: "HAProxy threads; one per CPU when absent." }),
  ),
  backends: Type.Integer({
    default: 32,
    minimum: 1,
    maximum: 10_000,
    description: "Pools served without a reload at first; doubles.",
  }),
  slots: Type.Integer({
    default: 8,
    minimum: 1,
    maximum: 1_024,
    description: "Jobs per pool without a reload at first; doubles.",
  }),
  manageRoutes: Type.Boolean({ default: true, description: "Set kernel routes to the other hosts' subnets." }),
  accessLog: Type.Boolean({ default: true, description: "Write each request to access.log in the state directory." }),
  keepHaproxy: Type.Boolean({ default: false, description: "Leave HAProxy serving when this program is stopped." }),
  stopGraceMs: Type.Integer({
    default: 3_000,
    minimum: 0,
    maximum: 10_000,
    description: "Time for open requests at a stop.",
  }),
  logLevel: Type.String({ default: "info", description: "pino level." }),
});
export type Config = Static<typeof Config>;

export function routerConfig(file?: string): Config {
  const config = loadConfig(Config, { file, env: { prefix: "FLYNN_ROUTER", variables: process.env } });
  for (const key of ["proxySources", "trustedFronts"] as const)
    for (const source of config[key])
      if (!isSource(source))
        throw new Fault(
          "invalid",
          `router: ${key}: ${source} is no address and no CIDR, like 10.1.0.0/16 or 2001:db8::/32`,
        );
  return config;
}

export function isSource(text: string): boolean {
  const [address = "", bits, ...rest] = text.split("/");
  const most = { 4: 32, 6: 128 }[isIP(address)];
  if (most === undefined || rest.length > 0) return false;
  return bits === undefined || (/^\d+$/.test(bits) && Number(bits) <= most);
}
