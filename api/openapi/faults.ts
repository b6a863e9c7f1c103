// Which faults an endpoint may answer: what follows from its method, path and body, and what it names itself. Tests hold every answer of
// control against this (test/control/rig.ts).
import type { Endpoint } from "../endpoint.ts";
import { FAULTS, type FaultCode } from "../fault.ts";

export function faultsOf(endpoint: Endpoint): FaultCode[] {
  const { method, path, permission, idempotent, upload, body } = endpoint;
  const changes = method !== "GET";
  const codes: (FaultCode | false)[] = [
    "invalid",
    "incompatible",
    "unauthenticated",
    permission !== "public" && "forbidden",
    (path.includes(":") || namesOthers(endpoint)) && "not-found",
    changes && "conflict",
    changes && "precondition", // of If-Match, or somebody changed the same meanwhile
    (body !== undefined || upload !== undefined) && "too-large",
    changes && "no-capacity",
    "unavailable",
    "internal",
    idempotent === true && "rate-limited",
    ...(endpoint.faults ?? []),
  ];
  return [...new Set(codes)].filter((code) => code !== false).sort((a, b) => FAULTS[a].status - FAULTS[b].status);
}

/** A body or `?app=` may name what is not there. */
const namesOthers = ({ body, query }: Endpoint): boolean =>
  body !== undefined || "app" in ((query as { properties?: object }).properties ?? {});

/** The answer of each HTTP status, as the documents name it. Codes that share a status share an answer. */
export function faultResponses(): Record<string, { status: number; codes: FaultCode[] }> {
  const responses: Record<string, { status: number; codes: FaultCode[] }> = {};
  for (const [code, { status }] of Object.entries(FAULTS) as [FaultCode, { status: number }][]) {
    const there = Object.values(responses).find((response) => response.status === status);
    if (there === undefined) responses[responseName(code)] = { status, codes: [code] };
    else there.codes.push(code);
  }
  return responses;
}

const responseName = (code: FaultCode): string =>
  code
    .split("-")
    .map((word) => word[0]!.toUpperCase() + word.slice(1))
    .join("");
