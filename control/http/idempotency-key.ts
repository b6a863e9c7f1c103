// A POST that makes something takes an Idempotency-Key: the same request with it gives the first outcome and makes nothing more. Anything
// else refuses one, since whoever sends a key counts on it.
import type { FastifyRequest } from "fastify";
import type { Endpoint } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import { type Principal, sha256Hex } from "../identity/principal.ts";
import type { Secrets } from "../secrets.ts";

/** Spread into the one commit that a POST makes. */
export interface Idempotent {
  idempotencyKey?: string;
  idempotencyHash?: string;
}

interface Asked {
  endpoint: Endpoint;
  request: FastifyRequest;
  principal: Principal;
  secrets: Secrets;
}

/** By what came as the body: its JSON, or a digest of an upload, which is known once it was read. */
export function idempotencyOf(asked: Asked): (body: unknown) => Idempotent {
  const { endpoint, request, principal, secrets } = asked;
  const key = request.headers["idempotency-key"];
  if (key === undefined) return () => ({});
  if (typeof key !== "string" || !/^[\x21-\x7e]{1,255}$/.test(key))
    throw new Fault("invalid", "Idempotency-Key is to be 1-255 printable characters without spaces");
  if (!endpoint.idempotent)
    throw new Fault(
      "invalid",
      `${endpoint.method} ${endpoint.path} takes no Idempotency-Key: it would not keep this from being done again, so leave it out`,
    );
  const idempotencyKey = sha256Hex(`${principal.kind} ${principal.id}\n${endpoint.id}\n${key}`);
  return (body) => ({
    idempotencyKey,
    // Bodies hold secrets: a bare hash of one could be guessed at.
    idempotencyHash: secrets.digest(JSON.stringify([request.params, request.query, body ?? null])),
  });
}
