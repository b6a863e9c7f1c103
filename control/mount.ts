// Binds an endpoint value to its handler: validation, authorisation, serialising, faults and SSE all come from here, so
// that a route file holds nothing but what the endpoint does.
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import { Ajv, type Options } from "ajv";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Body, Endpoint, Item, Params, Query, Reply } from "#api/endpoint.ts";
import { FAULTS, Fault, toFault } from "#api/fault.ts";
import { formatEvent, KEEP_ALIVE, KEEP_ALIVE_MS, type StreamEvent } from "#api/stream.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { deadline } from "#lib/time.ts";
import { authorize, identify, type Principal, sha256Hex } from "./identity/principal.ts";
import type { Store } from "./store/store.ts";

export interface Call<E extends Endpoint> {
  params: Params<E>;
  query: Query<E>;
  body: Body<E>;
  principal: Principal;
  /** Aborts when the caller has gone. Work that must outlive the caller does not take it. */
  signal: AbortSignal;
  /** The body of an endpoint with `upload`. */
  upload: Readable;
  /** Spread into the one commit that a POST makes: the same Idempotency-Key then gives the same outcome. */
  idempotent: { idempotencyKey?: string; idempotencyHash?: string };
  /** Version the caller expects (If-Match), or undefined. */
  ifMatch: number | undefined;
  /** Last-Event-ID of a resumed stream. */
  lastEventId: string | undefined;
  etag(version: number): void;
  location(path: string): void;
}

export type Handler<E extends Endpoint> = (call: Call<E>) => Reply<E> | Promise<Reply<E>>;
export type StreamHandler<E extends Endpoint> = (call: Call<E>) => AsyncIterable<StreamEvent<Item<E>>>;
export type Mount = <E extends Endpoint>(endpoint: E, handler: Handler<E>, stream?: StreamHandler<E>) => void;

const AJV: Options = {
  removeAdditional: false,
  useDefaults: true,
  allErrors: false,
  strict: false,
  validateSchema: false,
};

/** Makes `mount` for an app; `mounted` lists what was bound, for the test that nothing is missing or bound twice. */
export function mounter(
  app: FastifyInstance,
  { store, log }: { store: Store; log: Log },
): { mount: Mount; mounted: Endpoint[] } {
  const mounted: Endpoint[] = [];
  const strict = new Ajv(AJV);
  const coercing = new Ajv({ ...AJV, coerceTypes: true }); // paths and queries are text on the wire
  app.setValidatorCompiler(({ schema, httpPart }) =>
    (httpPart === "body" ? strict : coercing).compile(schema as object),
  );
  app.setErrorHandler((error, request, reply) => sendFault(asFault(error), request, reply, log));
  app.setNotFoundHandler((request, reply) =>
    sendFault(
      new Fault("not-found", `${request.method} ${request.url.split("?")[0]} is not an endpoint`),
      request,
      reply,
      log,
    ),
  );
  app.addContentTypeParser("application/x-tar", (_request, payload, done) => done(null, payload));
  app.addHook("onRequest", (_request, reply, done) => {
    reply
      .header("x-content-type-options", "nosniff")
      .header("cache-control", "no-store")
      .header("x-request-id", _request.id);
    done();
  });

  const mount: Mount = (endpoint, handler, stream) => {
    mounted.push(endpoint);
    app.route({
      method: endpoint.method,
      url: endpoint.path,
      schema: {
        params: endpoint.params,
        querystring: endpoint.query,
        ...(endpoint.body ? { body: endpoint.body } : {}),
        response: { [endpoint.status]: endpoint.reply },
      },
      // Before the body is read or checked: a stranger learns nothing from validation.
      onRequest: async (request) => {
        const principal = identify(request.raw, store);
        authorize(principal, endpoint, request.params as Record<string, string>);
        principals.set(request, principal);
      },
      handler: async (request, reply) => {
        const call = callOf<typeof endpoint>(endpoint, request, reply, principals.get(request)!);
        if (stream && request.headers.accept?.includes("text/event-stream")) {
          reply.hijack();
          await sendStream(reply.raw, call.signal, () => stream(call), request.id, log);
          return;
        }
        const result = await handler(call);
        return reply.code(endpoint.status).send(result);
      },
    });
  };
  return { mount, mounted };
}

const principals = new WeakMap<FastifyRequest, Principal>();

export function newRequestId(header: string | string[] | undefined): string {
  return typeof header === "string" && /^[A-Za-z0-9._-]{8,64}$/.test(header) ? header : randomUUID();
}

function callOf<E extends Endpoint>(
  endpoint: E,
  request: FastifyRequest,
  reply: FastifyReply,
  principal: Principal,
): Call<E> {
  const gone = new AbortController();
  reply.raw.once("close", () => gone.abort(new Fault("unavailable", "the caller has gone")));
  const key = endpoint.method === "POST" && !endpoint.upload ? request.headers["idempotency-key"] : undefined;
  const idempotent =
    typeof key === "string"
      ? {
          idempotencyKey: sha256Hex(`${principal.name}\n${endpoint.id}\n${key}`),
          idempotencyHash: sha256Hex(JSON.stringify([request.params, request.body ?? null])),
        }
      : {};
  const ifMatch = /^"?(\d{1,15})"?$/.exec(request.headers["if-match"] ?? "")?.[1];
  return {
    params: request.params as Params<E>,
    query: request.query as Query<E>,
    body: request.body as Body<E>,
    principal,
    signal: gone.signal,
    upload: request.body as Readable,
    idempotent,
    ifMatch: ifMatch === undefined ? undefined : Number(ifMatch),
    lastEventId: typeof request.headers["last-event-id"] === "string" ? request.headers["last-event-id"] : undefined,
    etag: (version) => void reply.header("etag", `"${version}"`),
    location: (path) => void reply.header("location", path),
  };
}

async function sendStream(
  raw: ServerResponse,
  signal: AbortSignal,
  items: () => AsyncIterable<StreamEvent>,
  requestId: string,
  log: Log,
): Promise<void> {
  raw.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
    "x-request-id": requestId,
  });
  raw.flushHeaders();
  const keepAlive = setInterval(() => raw.write(KEEP_ALIVE), KEEP_ALIVE_MS);
  try {
    for await (const item of items()) {
      if (signal.aborted) break;
      // A reader that takes nothing for a minute is dropped: the reader is bounded, not the server's memory.
      if (!raw.write(formatEvent(item)))
        await deadline(Promise.race([once(raw, "drain"), once(raw, "close")]), 60_000, "stream reader");
    }
  } catch (error) {
    if (!signal.aborted) {
      const fault = toFault(error, "stream");
      if (fault.code === "internal") log.error({ requestId, causes: causeChain(error) }, "stream failed");
      raw.write(
        formatEvent({
          event: "fault",
          data: { code: fault.code, message: fault.message, requestId, retry: fault.retry },
        }),
      );
    }
  } finally {
    clearInterval(keepAlive);
    raw.end();
  }
}

interface FastifyFault {
  statusCode?: number;
  code?: string;
  message: string;
  validation?: { instancePath: string; message?: string; params: Record<string, unknown> }[];
  validationContext?: string;
}

function asFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  const { statusCode, code, message, validation, validationContext } = error as FastifyFault;
  const first = validation?.[0];
  if (first) {
    const field = [
      first.instancePath.slice(1).replaceAll("/", "."),
      first.params["additionalProperty"],
      first.params["missingProperty"],
    ]
      .filter(Boolean)
      .join(".");
    const allowed = Array.isArray(first.params["allowedValues"])
      ? `: ${(first.params["allowedValues"] as string[]).join(", ")}`
      : "";
    return new Fault(
      "invalid",
      `${validationContext === "querystring" ? "query" : (validationContext ?? "request")}${field ? ` field ${field}` : ""} ${first.message}${allowed}`,
      { details: { field } },
    );
  }
  if (statusCode === 413 || code === "FST_ERR_CTP_BODY_TOO_LARGE")
    return new Fault("too-large", "the request body is larger than 1 MiB");
  if (statusCode !== undefined && statusCode < 500) return new Fault("invalid", message);
  return new Fault("internal", "the request failed inside control", { cause: error });
}

function sendFault(fault: Fault, request: FastifyRequest, reply: FastifyReply, log: Log): void {
  if (fault.code === "internal")
    log.error(
      { requestId: request.id, method: request.method, path: request.url.split("?")[0], causes: causeChain(fault) },
      "request failed",
    );
  const causes = fault.code === "internal" ? [] : causeChain(fault.cause);
  void reply.code(FAULTS[fault.code].status).send({
    code: fault.code,
    message: [fault.message, ...causes].join(": "),
    ...(fault.details ? { details: fault.details } : {}),
    requestId: request.id,
    retry: fault.retry,
  });
}
