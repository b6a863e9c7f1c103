// Opening a session with a job: a ticket first, then the WebSocket that it is good for.
import type { WebSocket } from "ws";
import { attachJob, createSession, execJob, forwardJob, type SessionKind } from "./attach.ts";
import type { Client } from "./client.ts";
import type { Endpoint } from "./endpoint.ts";
import { fillPath } from "./wire.ts";

export interface SessionTarget {
  /** The job's. */
  id: string;
  kind: SessionKind;
  /** Of a forward. */
  port?: number;
}

const SESSIONS = { attach: attachJob, exec: execJob, forward: forwardJob } as const satisfies Record<
  SessionKind,
  Endpoint
>;

/** Path and query of the WebSocket: what a ticket is bound to. */
export const sessionPath = ({ kind, id, port }: SessionTarget): string =>
  fillPath(SESSIONS[kind].path, { id }) + (port === undefined ? "" : `?port=${port}`);

export async function openSession(
  client: Pick<Client, "call" | "connect">,
  { id, ...body }: SessionTarget,
  signal?: AbortSignal,
): Promise<WebSocket> {
  const { ticket } = await client.call(createSession, { params: { id }, body, signal });
  const query = body.port === undefined ? {} : { query: { port: body.port } };
  return client.connect(SESSIONS[body.kind], { params: { id }, ...query, ticket, signal } as never);
}
