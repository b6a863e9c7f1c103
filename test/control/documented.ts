// Holds every answer of a control to its document: an endpoint may refuse only with what api/openapi/faults.ts says of it.
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Endpoint } from "#api/endpoint.ts";
import { FAULTS } from "#api/fault.ts";
import { faultsOf } from "#api/openapi/faults.ts";
import type { Control } from "../../control/wire.ts";

export interface Documented {
  /** Throws when something was answered that no document has. */
  check(): void;
}

export function documented({ app, mounted }: Pick<Control, "app" | "mounted">): Documented {
  const undocumented = new Set<string>();
  const known = new Map<string, Set<number>>();
  const statusesOf = (endpoint: Endpoint): Set<number> => {
    const there = known.get(endpoint.id);
    if (there !== undefined) return there;
    const statuses = new Set([
      endpoint.status,
      ...(endpoint.item ? [200] : []),
      ...(endpoint.versioned ? [304] : []),
      ...faultsOf(endpoint).map((code): number => FAULTS[code].status),
    ]);
    known.set(endpoint.id, statuses);
    return statuses;
  };
  app.addHook("onResponse", (request: FastifyRequest, reply: FastifyReply, done) => {
    const method = request.method === "HEAD" ? "GET" : request.method;
    const endpoint = mounted.find((each) => each.path === request.routeOptions.url && each.method === method);
    if (endpoint !== undefined && !statusesOf(endpoint).has(reply.statusCode))
      undocumented.add(`${endpoint.id} answered ${reply.statusCode}: name its code in \`faults\` of the endpoint`);
    done();
  });
  return {
    check() {
      if (undocumented.size > 0) throw new Error([...undocumented].join("\n"));
    },
  };
}
