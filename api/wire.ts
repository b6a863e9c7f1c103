// What a call looks like on the wire: its path filled in, a refusal read back as the Fault it was.
import type { IncomingMessage } from "node:http";
import type { Agent } from "node:https";
import { text } from "node:stream/consumers";
import { FAULTS, Fault, type FaultCode } from "./fault.ts";

/** The connection was never made, so nothing can have been done. */
export const neverArrived = (error: unknown): boolean => error instanceof Fault && error.details?.["sent"] === false;

/** No answer came, whatever the server made of the request. */
export const unanswered = (error: unknown): boolean =>
  error instanceof Fault && typeof error.details?.["sent"] === "boolean";

export interface FaultBody {
  code: FaultCode;
  message: string;
  details?: Record<string, unknown>;
  requestId?: string;
  retry?: boolean;
}

export async function readFault(reply: IncomingMessage, doing: string): Promise<Fault> {
  const received = await text(reply);
  try {
    return faultFrom(JSON.parse(received) as FaultBody);
  } catch {
    return new Fault("internal", `${doing} answered ${reply.statusCode}`, {
      details: { received: received.slice(0, 200) },
    });
  }
}

/** A code this client does not know (a newer server's) is kept as `internal`, its text untouched. */
export function faultFrom(body: FaultBody): Fault {
  const code = Object.hasOwn(FAULTS, body.code) ? body.code : "internal";
  return new Fault(code, body.message, { retry: body.retry, details: { ...body.details, requestId: body.requestId } });
}

export function fillPath(path: string, params: Record<string, string> = {}): string {
  return path.replace(/:([a-zA-Z]+)/g, (_, name: string) => {
    const value = params[name];
    if (value === undefined) throw new Error(`${path} needs ${name}`);
    return encodeURIComponent(value);
  });
}

/** No connection is kept for another request; those with one under way end after it. */
export function retire(agent: Agent): void {
  agent.maxFreeSockets = 0;
  for (const socket of Object.values(agent.freeSockets).flatMap((list) => list ?? [])) socket.destroy();
}
