// The API's listener: fastify over TLS with the cluster CA. Client certificates are asked for, not demanded; who may do what is
// decided per endpoint.
import { createServer, type Server } from "node:https";
import Fastify, { type FastifyInstance } from "fastify";
import type { Endpoint } from "#api/endpoint.ts";
import type { Context } from "./context.ts";
import { type Mount, mounter, newRequestId } from "./mount.ts";

export interface ApiServer {
  app: FastifyInstance;
  mount: Mount;
  /** Everything mounted so far. */
  mounted: readonly Endpoint[];
}

const BODY_LIMIT_BYTES = 1 << 20;

export function apiServer(
  context: Pick<Context, "store" | "log" | "authority">,
  tls: { key: string; certificate: string },
): ApiServer {
  const app = Fastify({
    bodyLimit: BODY_LIMIT_BYTES,
    genReqId: (raw) => newRequestId(raw.headers["x-request-id"]),
    forceCloseConnections: true,
    onProtoPoisoning: "error",
    onConstructorPoisoning: "error",
    routerOptions: { maxParamLength: 128 },
    requestTimeout: 0, // uploads are long; idle sockets are bounded by headersTimeout and keepAliveTimeout
    keepAliveTimeout: 75_000,
    serverFactory: (handler) => tlsServer(handler, tls, context.authority.caPem),
  });
  const { mount, mounted } = mounter(app, context);
  return { app, mount, mounted };
}

function tlsServer(
  handler: (...args: never[]) => void,
  tls: { key: string; certificate: string },
  caPem: string,
): Server {
  return createServer(
    {
      key: tls.key,
      cert: `${tls.certificate.trim()}\n${caPem}`,
      ca: caPem,
      requestCert: true,
      rejectUnauthorized: false,
      minVersion: "TLSv1.2",
      headersTimeout: 20_000,
    },
    handler as never,
  );
}
