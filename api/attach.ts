// Sessions with a job: its own terminal, a command beside it, a connection to one of its ports. WebSockets of frames (frames.ts);
// control passes them on to the job's host, which serves the same paths to control alone.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { SIGNALS } from "./frames.ts";
import { IdParams, Nothing, object, oneOf } from "./schema.ts";

export const attachJob = endpoint({
  id: "attachJob",
  method: "GET",
  path: "/v1/jobs/:id/attach",
  summary: "The terminal or streams of a job created with `attach`; it starts now, and ends with the connection",
  permission: "app:write",
  params: IdParams,
  socket: true,
  reply: Nothing,
});
export const execJob = endpoint({
  id: "execJob",
  method: "GET",
  path: "/v1/jobs/:id/exec",
  summary: "Run a command in a running job; the first frame says which, and it ends with the connection",
  permission: "app:write",
  params: IdParams,
  socket: true,
  reply: Nothing,
});
export const forwardJob = endpoint({
  id: "forwardJob",
  method: "GET",
  path: "/v1/jobs/:id/forward",
  summary: "One TCP connection to a port of a running job, as frames of stdin and stdout",
  permission: "app:write",
  params: IdParams,
  query: object({ port: Type.Integer({ minimum: 1, maximum: 65_535 }) }),
  socket: true,
  reply: Nothing,
});

export const SignalName = oneOf(SIGNALS, "Without SIG.");
export type SignalName = Static<typeof SignalName>;
export const signalJob = endpoint({
  id: "signalJob",
  method: "POST",
  path: "/v1/jobs/:id/signal",
  summary: "Send a signal to a running job's process, and nothing else",
  permission: "app:write",
  params: IdParams,
  body: object({ signal: SignalName }),
  reply: Nothing,
});
