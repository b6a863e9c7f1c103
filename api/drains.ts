// Log drains: where lines are sent as they come, of one app or of all.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { AppParams, Id, IdParams, listOf, Name, Nothing, object, oneOf, PageQuery, Time } from "./schema.ts";

export const LogDrain = object({
  id: Id,
  app: Type.Optional({ ...Name, description: "The app whose lines it takes; absent: those of all apps." }),
  url: Type.String({ description: "Where to, with everything that could be a secret as ***." }),
  gzip: Type.Boolean(),
  state: oneOf(
    ["idle", "sending", "retrying", "refused"],
    "idle: all is sent. retrying: the target does not take lines; lastError says why. refused: its address may not be sent to.",
  ),
  lagSeconds: Type.Number({ description: "Age of the oldest line that is not sent." }),
  buffered: Type.Integer({ description: "Lines that wait to be sent." }),
  sent: Type.Integer({ description: "Lines since the drain was made." }),
  dropped: Type.Integer({
    description: "Lines that were never sent: the buffer was full, or the target refused them.",
  }),
  lastError: Type.Optional(Type.String()),
  createdAt: Time,
  createdBy: Type.String(),
});
export type LogDrain = Static<typeof LogDrain>;

export const LogDrainRequest = object({
  url: Type.String({
    minLength: 1,
    maxLength: 2_048,
    description:
      "syslog://host:port (TCP), syslog+tls://host:port (RFC 5424 in RFC 6587 octet counting) or https://... (JSON array of lines per POST).",
  }),
  caPem: Type.Optional(Type.String({ maxLength: 65_536, description: "CA of the target; the system's unless given." })),
  gzip: Type.Optional(Type.Boolean({ description: "https: bodies are compressed." })),
});
export type LogDrainRequest = Static<typeof LogDrainRequest>;

const AppDrainParams = object({ ...AppParams.properties, id: Id });

export const listLogDrains = endpoint({
  id: "listLogDrains",
  method: "GET",
  path: "/v1/log-drains",
  summary: "List all log drains, of apps and of the cluster",
  permission: "cluster:read",
  query: object(PageQuery),
  reply: listOf(LogDrain),
});
export const getLogDrain = endpoint({
  id: "getLogDrain",
  method: "GET",
  path: "/v1/log-drains/:id",
  summary: "Show a log drain",
  permission: "cluster:read",
  params: IdParams,
  reply: LogDrain,
});
export const createLogDrain = endpoint({
  id: "createLogDrain",
  method: "POST",
  idempotent: true,
  path: "/v1/log-drains",
  location: "/v1/log-drains/{id}",
  summary: "Send the lines of all apps somewhere",
  permission: "cluster:write",
  status: 201,
  body: LogDrainRequest,
  reply: LogDrain,
});
export const deleteLogDrain = endpoint({
  id: "deleteLogDrain",
  method: "DELETE",
  path: "/v1/log-drains/:id",
  summary: "Remove a log drain",
  permission: "cluster:write",
  params: IdParams,
  reply: Nothing,
});
export const listAppLogDrains = endpoint({
  id: "listAppLogDrains",
  method: "GET",
  path: "/v1/apps/:app/log-drains",
  summary: "List an app's log drains",
  permission: "app:read",
  params: AppParams,
  query: object(PageQuery),
  reply: listOf(LogDrain),
});
export const getAppLogDrain = endpoint({
  id: "getAppLogDrain",
  method: "GET",
  path: "/v1/apps/:app/log-drains/:id",
  summary: "Show an app's log drain",
  permission: "app:read",
  params: AppDrainParams,
  reply: LogDrain,
});
export const createAppLogDrain = endpoint({
  id: "createAppLogDrain",
  method: "POST",
  idempotent: true,
  path: "/v1/apps/:app/log-drains",
  location: "/v1/apps/:app/log-drains/{id}",
  summary: "Send an app's lines somewhere",
  permission: "app:write",
  status: 201,
  params: AppParams,
  body: LogDrainRequest,
  reply: LogDrain,
});
export const deleteAppLogDrain = endpoint({
  id: "deleteAppLogDrain",
  method: "DELETE",
  path: "/v1/apps/:app/log-drains/:id",
  summary: "Remove an app's log drain",
  permission: "app:write",
  params: AppDrainParams,
  reply: Nothing,
});
