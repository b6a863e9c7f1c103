// Sessions with a job: its own terminal, a command beside it, a connection to one of its ports. A ticket is asked for with the
// token and opens one WebSocket of frames (frames.ts); control passes them on to the job's host, which serves the same paths to
// control alone.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { SIGNALS } from "./frames.ts";
import { IdParams, Nothing, object, oneOf, Time } from "./schema.ts";

/** Subprotocols of a session: browsers can say nothing else at an upgrade, and a URL is what others write down. */
export const FRAMES_PROTOCOL = "flynn.frames.v1";
export const TICKET_PROTOCOL = "flynn.ticket.";

const Port = Type.Integer({ minimum: 1, maximum: 65_535 });
const SessionKind = oneOf(["attach", "exec", "forward"]);
export type SessionKind = Static<typeof SessionKind>;

export const createSession = endpoint({
  id: "createSession",
  method: "POST",
  path: "/v1/jobs/:id/sessions",
  summary:
    "Get the ticket that opens one session with a job, once, within 30 s: offered as WebSocket subprotocols `flynn.frames.v1, flynn.ticket.TICKET`",
  permission: "app:write",
  faults: ["rate-limited"],
  params: IdParams,
  body: object({
    kind: SessionKind,
    port: Type.Optional(Type.Unsafe<number>({ ...Port, description: "Of a forward, and of nothing else." })),
  }),
  reply: object({ ticket: Type.String({ description: "A secret until it is used." }), expiresAt: Time }),
  status: 201,
});

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
  query: object({ port: Port }),
  socket: true,
  reply: Nothing,
});

export const SignalName = oneOf(SIGNALS, "Without SIG.");
export type SignalName = Static<typeof SignalName>;
export const signalJob = endpoint({
  id: "signalJob",
  method: "POST",
  idempotent: true,
  path: "/v1/jobs/:id/signal",
  summary:
    "Send a signal to a running job's first process (TERM: to all its processes, as a stop does), and nothing else",
  permission: "app:write",
  params: IdParams,
  body: object({ signal: SignalName }),
  reply: Nothing,
});
