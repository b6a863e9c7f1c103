// Alerts: conditions that somebody should act on. Each is raised once, whatever flaps, and clears by itself.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { Id, IdParams, listOf, object, oneOf, PageQuery, Time } from "./schema.ts";

export const AlertKind = oneOf([
  "host-lost",
  "host-unhealthy",
  "host-pressure",
  "clock-off",
  "brake",
  "router-down",
  "router-behind",
  "machine-waits",
  "machine-fell-back",
  "machine-loops",
  "rogue-dhcp",
  "bmc-factory-password",
  "certificate-ends",
  "member-certificate-ends",
  "control-certificate-ends",
  "crash-loop",
  "app-not-scheduled",
  "loop-failing",
  "disk-low",
  "writes-paused",
  "disk-slow",
  "registry-down",
  "snapshot-failing",
  "backup-failing",
  "quarantine",
]);
export type AlertKind = Static<typeof AlertKind>;

export const AlertSeverity = oneOf(
  ["warning", "critical"],
  "critical: something is not served or may be lost now. warning: it will be, if nobody acts.",
);
export type AlertSeverity = Static<typeof AlertSeverity>;

export const Alert = object({
  id: Id,
  kind: AlertKind,
  subject: object(
    {
      kind: oneOf(["cluster", "control", "host", "machine", "router", "boot-server", "app", "certificate"]),
      id: Type.String(),
      name: Type.String(),
    },
    "What it is about. Of a kind and a subject there is at most one that is not cleared.",
  ),
  severity: AlertSeverity,
  what: Type.String({ description: "One line: what is wrong." }),
  why: Type.String({ description: "What is known of the cause, and what follows from it." }),
  next: Type.String({ description: "A command that can be pasted: the next thing to do or to look at." }),
  since: Time,
  clearedAt: Type.Optional(Time),
});
export type Alert = Static<typeof Alert>;

export const listAlerts = endpoint({
  id: "listAlerts",
  method: "GET",
  path: "/v1/alerts",
  summary: "Conditions that somebody should act on, newest first; those that are over are kept for a while",
  permission: "cluster:read",
  query: object({
    ...PageQuery,
    state: Type.Optional(
      Type.Unsafe<"active" | "cleared" | "all">({ ...oneOf(["active", "cleared", "all"]), default: "active" }),
    ),
  }),
  reply: listOf(Alert),
});
export const getAlert = endpoint({
  id: "getAlert",
  method: "GET",
  path: "/v1/alerts/:id",
  summary: "Show an alert",
  permission: "cluster:read",
  params: IdParams,
  reply: Alert,
});
