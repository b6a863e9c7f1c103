// Log lines of jobs: kept on the hosts, merged by control in time order.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import {
  AppParams,
  Id,
  IdParams,
  Name,
  Nothing,
  notConstructor,
  object,
  oneOf,
  ProcessName,
  recordOf,
  Time,
} from "./schema.ts";

export const LogSource = oneOf(
  ["app", "build", "router", "deploy", "system"],
  "app: what the job wrote. build: builds and their results. router: one line a request. deploy: releases and deployments. system: what the platform says of a job, such as its exit.",
);
export type LogSource = Static<typeof LogSource>;
export const LogTime = Type.String({ description: "ISO 8601, UTC, microseconds where the engine gives them." });
export const LogLine = object({
  at: LogTime,
  app: Name,
  appId: Type.Optional(
    Type.Unsafe<string>({
      ...Id,
      description: "The app's id: its name may be another's later. Absent from older parts.",
    }),
  ),
  process: Type.Optional(ProcessName),
  jobId: Type.Optional(Id),
  stream: oneOf(["stdout", "stderr"]),
  source: LogSource,
  line: Type.String({ description: "One line, without its newline; at most 16 KiB." }),
  partial: Type.Optional(
    Type.Boolean({
      description: "A piece of a line longer than 16 KiB: the next line of this job and stream goes on with it.",
    }),
  ),
});
export type LogLine = Static<typeof LogLine>;

export const LogQuery = {
  follow: Type.Optional(Type.Boolean()),
  lines: Type.Optional(
    Type.Integer({ minimum: 0, maximum: 10_000, default: 100, description: "Newest lines to begin with." }),
  ),
  jobId: Type.Optional(Id),
  process: Type.Optional(ProcessName),
  source: Type.Optional(LogSource),
  since: Type.Optional(Time),
  until: Type.Optional(Time),
};

/** Control: all hosts, merged in time order. */
export const appLog = endpoint({
  id: "appLog",
  method: "GET",
  path: "/v1/apps/:app/log",
  summary: "An app's log lines, oldest first; SSE follows",
  permission: "app:read",
  faults: ["rate-limited"],
  params: AppParams,
  query: object(LogQuery),
  reply: object({
    items: Type.Array(LogLine),
    silent: Type.Array(Type.String(), { description: "Hosts that did not answer: their lines are missing here." }),
  }),
  item: LogLine,
});

/** hostd (7779, mutual TLS): the lines this host keeps, of running and of removed containers. */
export const hostLog = endpoint({
  id: "hostLog",
  method: "GET",
  path: "/v1/log",
  summary: "Log lines kept on this host",
  permission: "agent",
  // Without `app`, lines of all apps. With `appId`, lines of that app, and those of its name that were kept without an id. A stream's ids number the lines: Last-Event-ID goes on without loss or repeat.
  query: object({ app: Type.Optional(Name), appId: Type.Optional(Id), ...LogQuery }),
  reply: object({ items: Type.Array(LogLine) }),
  item: LogLine,
});

export const RouterLogLine = object({
  at: Time,
  app: Name,
  appId: Type.Optional(Id),
  process: Type.Optional(ProcessName),
  jobId: Type.Optional(Id),
  line: Type.String({ maxLength: 16_384, description: "One request as key=value pairs." }),
});
export type RouterLogLine = Static<typeof RouterLogLine>;

/** router: requests it served, for the apps' logs. */
export const routerLog = endpoint({
  id: "routerLog",
  method: "POST",
  path: "/v1/routers/:id/log",
  summary: "Lines of requests that a router served; a batch that was had before is passed over",
  permission: "router",
  params: IdParams,
  body: object({
    session: Type.String({ minLength: 1, maxLength: 64, description: "Names this run of the router." }),
    seq: Type.Integer({ minimum: 1, description: "Number of the batch within the session." }),
    lines: Type.Array(RouterLogLine, { maxItems: 1_000 }),
    dropped: recordOf(
      Type.String({ pattern: "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$", ...notConstructor }),
      Type.Integer({ minimum: 1 }),
      "Lines by app, its id or from older routers its name, that were given up since the batch before.",
    ),
  }),
  reply: Nothing,
});
