// Every endpoint of control, in one list: what is mounted, what OpenAPI prints, what the contract test walks.
import * as alerts from "./alerts.ts";
import * as apps from "./apps.ts";
import * as artifacts from "./artifacts.ts";
import * as attach from "./attach.ts";
import * as bmcWork from "./bmc-work.ts";
import * as boot from "./boot.ts";
import * as builds from "./builds.ts";
import * as certificates from "./certificates.ts";
import * as deployments from "./deployments.ts";
import * as disks from "./disks.ts";
import * as drains from "./drains.ts";
import type { Endpoint } from "./endpoint.ts";
import * as externalServices from "./external-services.ts";
import * as git from "./git.ts";
import * as hostAgents from "./host-agents.ts";
import * as hosts from "./hosts.ts";
import * as inventory from "./inventory.ts";
import * as jobs from "./jobs.ts";
import * as keys from "./keys.ts";
import * as logs from "./logs.ts";
import * as machineLife from "./machine-life.ts";
import * as machineOrders from "./machine-orders.ts";
import * as machines from "./machines.ts";
import * as members from "./members.ts";
import * as network from "./network.ts";
import * as pages from "./pages.ts";
import * as power from "./power.ts";
import * as quarantine from "./quarantine.ts";
import * as rollouts from "./rollouts.ts";
import * as routerAgents from "./router-agents.ts";
import * as routes from "./routes.ts";
import * as services from "./services.ts";
import * as stack from "./stack.ts";
import * as status from "./status.ts";
import * as tokens from "./tokens.ts";
import * as wipes from "./wipes.ts";

export function isEndpoint(value: unknown): value is Endpoint {
  return typeof value === "object" && value !== null && "path" in value && "permission" in value && "reply" in value;
}

/** By the noun they are about, in the order of the documents. */
export const NOUNS = {
  status,
  apps,
  deployments,
  jobs,
  services,
  "external-services": externalServices,
  routes: { ...routes, ...routerAgents },
  certificates,
  pages,
  network,
  builds,
  stack,
  artifacts,
  git,
  keys,
  attach,
  logs,
  drains,
  hosts: { ...hosts, ...hostAgents },
  members,
  machines,
  "machine-orders": { ...machineOrders, ...machineLife },
  power: { ...power, ...bmcWork },
  disks: { ...disks, ...wipes },
  inventory,
  boot,
  rollouts,
  quarantine,
  alerts,
  tokens,
} as const;
export type Noun = keyof typeof NOUNS;

/** Of one noun; hostd's own (`hostLog`) is not among them. */
export const endpointsOf = (noun: Noun): Endpoint[] =>
  Object.values(NOUNS[noun])
    .filter(isEndpoint)
    .filter((endpoint) => endpoint.id !== "hostLog");

/** Endpoints that control mounts, in the order of the nouns. */
export const controlEndpoints = (): Endpoint[] => (Object.keys(NOUNS) as Noun[]).flatMap(endpointsOf);
