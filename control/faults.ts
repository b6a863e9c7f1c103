// What went wrong, in the contract's words: any error as a fault, and a fault as a reply.
import { randomUUID } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import { FAULTS, Fault } from "#api/fault.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { type Violation, violationFault } from "./violation.ts";

export function newRequestId(header: string | string[] | undefined): string {
  return typeof header === "string" && /^[A-Za-z0-9._-]{8,64}$/.test(header) ? header : randomUUID();
}

interface FastifyFault {
  statusCode?: number;
  code?: string;
  message: string;
  validation?: Violation[];
  validationContext?: string;
}

export function asFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  const { statusCode, code, message, validation, validationContext } = error as FastifyFault;
  const first = validation?.[0];
  if (first) return violationFault(first, validationContext);
  if (statusCode === 413 || code === "FST_ERR_CTP_BODY_TOO_LARGE")
    return new Fault("too-large", "the request body is larger than 1 MiB");
  if (code === "FST_ERR_CTP_INVALID_JSON_BODY" || code === "FST_ERR_CTP_EMPTY_JSON_BODY")
    return new Fault(
      "invalid",
      "the body is not JSON, or has a key that is never allowed (__proto__, a constructor with a prototype)",
    );
  if (statusCode !== undefined && statusCode < 500) return new Fault("invalid", message);
  return new Fault("internal", "the request failed inside control", { cause: error });
}

/** When the same request may be worth sending again; undefined where only the caller can tell. */
const retryAfterSeconds = ({ code, retry }: Fault): number | undefined =>
  !retry ? undefined : code === "rate-limited" ? 5 : code === "unavailable" ? 1 : undefined;

export function sendFault(fault: Fault, request: FastifyRequest, reply: FastifyReply, log: Log): void {
  if (fault.code === "internal")
    log.error(
      { requestId: request.id, method: request.method, path: request.url.split("?")[0], causes: causeChain(fault) },
      "request failed",
    );
  const causes = fault.code === "internal" ? [] : causeChain(fault.cause);
  reply.header("x-request-id", request.id);
  const retryAfter = retryAfterSeconds(fault);
  if (retryAfter !== undefined) reply.header("retry-after", String(retryAfter));
  void reply.code(FAULTS[fault.code].status).send({
    code: fault.code,
    message: [fault.message, ...causes].join(": "),
    ...(fault.details ? { details: fault.details } : {}),
    requestId: request.id,
    retry: fault.retry,
  });
}
