// The API's listener: fastify over TLS with the cluster CA. Client certificates are asked for, not demanded; who may do what is
// decided per endpoint.
import type { RequestListener } from "node:http";
import { createServer, type Server } from "node:https";
import type { Socket } from "node:net";
import Fastify, { type FastifyInstance } from "fastify";
import type { Endpoint } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import type { Context } from "./context.ts";
import { newRequestId, sendFault } from "./faults.ts";
import { hellos } from "./hello.ts";
import { type Mount, mounter } from "./mount.ts";
import { type AnswerBeat, type Quick, quickBeats } from "./quick-beats.ts";

export interface ApiServer {
  app: FastifyInstance;
  mount: Mount;
  /** Everything mounted so far. */
  mounted: readonly Endpoint[];
  /** Beats of hosts are answered by this before the framework sees them. */
  answerBeats(answer: AnswerBeat): void;
  /** Shown on new connections from now on. */
  useIdentity(tls: TlsIdentity): void;
}

export interface TlsIdentity {
  key: string;
  certificate: string;
}

const BODY_LIMIT_BYTES = 1 << 20;
/** A socket on which nothing moves for so long is ended; copying an upload into the registry is the longest silence. */
const IDLE_MS = 1_500_000;

export function apiServer(
  context: Pick<Context, "store" | "log" | "authority" | "secrets" | "room" | "hello" | "presence">,
  tls: TlsIdentity,
): ApiServer {
  const { caPem } = context.authority;
  let quick: Quick = () => false;
  const app = Fastify({
    bodyLimit: BODY_LIMIT_BYTES,
    genReqId: (raw) => newRequestId(raw.headers["x-request-id"]),
    forceCloseConnections: true,
    onProtoPoisoning: "error",
    onConstructorPoisoning: "error",
    routerOptions: { maxParamLength: 128 },
    exposeHeadRoutes: false,
    frameworkErrors: (error, request, reply) =>
      sendFault(new Fault("invalid", `the path is not sound: ${error.message}`), request, reply, context.log),
    clientErrorHandler: refuseGarbage,
    serverFactory: (handler) => {
      const others = handler as RequestListener;
      return tlsServer((request, response) => void (quick(request, response) || others(request, response)), tls, caPem);
    },
  });
  const ofCallers = hellos(context.hello, context.presence);
  const { mount, mounted } = mounter(app, { ...context, hellos: ofCallers });
  const answerBeats = (answer: AnswerBeat) => {
    quick = quickBeats(answer, { ...context, hellos: ofCallers });
  };
  const useIdentity = (next: TlsIdentity) => (app.server as Server).setSecureContext(secureContext(next, caPem));
  return { app, mount, mounted, answerBeats, useIdentity };
}

const secureContext = ({ key, certificate }: TlsIdentity, caPem: string) =>
  ({ key, cert: `${certificate.trim()}\n${caPem}`, ca: caPem, minVersion: "TLSv1.2" }) as const;

function tlsServer(handler: RequestListener, tls: TlsIdentity, caPem: string): Server {
  return createServer(
    {
      ...secureContext(tls, caPem),
      requestCert: true,
      rejectUnauthorized: false,
      headersTimeout: 20_000,
      requestTimeout: 0, // uploads are long; a stalled one ends by the idle time of its socket
      keepAliveTimeout: 75_000,
    },
    handler,
  ).setTimeout(IDLE_MS);
}

/** What does not even parse as HTTP gets the same shape of error as everything else. */
function refuseGarbage(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy();
  const tooLarge = error.code === "HPE_HEADER_OVERFLOW";
  const fault = {
    code: tooLarge ? "too-large" : "invalid",
    message: tooLarge ? "the request's headers are too large" : "this is not a sound HTTP request",
    requestId: newRequestId(undefined),
    retry: false,
  };
  const body = JSON.stringify(fault);
  const status = tooLarge ? "413 Content Too Large" : "400 Bad Request";
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
