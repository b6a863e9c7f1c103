// Binds an endpoint value to its handler: validation, authorisation, serialising, faults and SSE all come from here, so
// that a route file holds nothing but what the endpoint does.
import { finished, PassThrough, type Readable } from "node:stream";
import { Ajv, type Options } from "ajv";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Body, Endpoint, Item, Params, Query, Reply } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import { pruneUnknown } from "#api/prune.ts";
import type { StreamEvent } from "#api/stream.ts";
import { formatHello, HELLO_HEADER } from "#api/version.ts";
import type { Log } from "#lib/log.ts";
import type { DiskRoom } from "./disk/room.ts";
import { asFault, sendFault } from "./faults.ts";
import type { Hellos } from "./hello.ts";
import { contentTag, ifMatchOf, isUnchanged } from "./http/etag.ts";
import { type Idempotent, idempotencyOf } from "./http/idempotency-key.ts";
import { allowedAt } from "./http/known-paths.ts";
import { locationOf } from "./http/location.ts";
import { authorize, identify, type Principal } from "./identity/principal.ts";
import type { Secrets } from "./secrets.ts";
import { sendStream } from "./sse.ts";
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
  /** Runs what fills the disk, see `DiskRoom`; the handler of an endpoint with `upload` is in it already. */
  filling: DiskRoom["filling"];
  /** Spread into the one commit that a POST makes: the same Idempotency-Key then gives the same outcome. */
  idempotent: Idempotent;
  /** The same for an endpoint with `upload`, by a digest of what was uploaded. */
  idempotentFor(content: string): Idempotent;
  /** What an earlier request with this Idempotency-Key made, for handlers that look at the state before they commit. */
  earlier<T>(): Promise<T | undefined>;
  /** IP address the request came from. */
  remoteAddress: string;
  /** Version the caller expects (If-Match), or undefined. */
  ifMatch: number | undefined;
  /** Last-Event-ID of a resumed stream. */
  lastEventId: string | undefined;
  /** Version of the object in the reply. */
  etag(version: number): void;
}

export type Handler<E extends Endpoint> = (call: Call<E>) => Answer<E> | Promise<Answer<E>>;
type Answer<E extends Endpoint> = Reply<E> | Download;
export type StreamHandler<E extends Endpoint> = (call: Call<E>) => AsyncIterable<StreamEvent<Item<E>>>;
/** The body of an endpoint with `download`, as its handler returns it. */
export interface Download {
  body: Readable;
  sizeBytes?: number;
}
export type Mount = <E extends Endpoint>(endpoint: E, handler: Handler<E>, stream?: StreamHandler<E>) => void;

const AJV: Options = {
  removeAdditional: false,
  useDefaults: true,
  allErrors: false,
  strict: false,
  validateSchema: false,
  verbose: true, // the description of what was not met goes into the message
};

/** Makes `mount` for an app; `mounted` lists what was bound, for the test that nothing is missing or bound twice. */
export function mounter(
  app: FastifyInstance,
  { store, log, secrets, room, hellos }: { store: Store; log: Log; secrets: Secrets; room: DiskRoom; hellos: Hellos },
): { mount: Mount; mounted: Endpoint[] } {
  const mounted: Endpoint[] = [];
  const strict = new Ajv(AJV);
  const coercing = new Ajv({ ...AJV, coerceTypes: true }); // paths and queries are text on the wire
  app.setValidatorCompiler(({ schema, httpPart }) =>
    (httpPart === "body" ? strict : coercing).compile(schema as object),
  );
  app.removeContentTypeParser("text/plain");
  app.setErrorHandler((error, request, reply) => {
    const newer = isUnknownField(error) ? hellos.newerThanControl(request.headers) : undefined;
    const fault = asFault(error);
    const said = newer === undefined ? fault : new Fault(fault.code, `${fault.message}; ${newer}`, fault);
    sendFault(said, request, reply, log);
  });
  app.setNotFoundHandler((request, reply) => {
    const [path = ""] = request.url.split("?", 1);
    const allowed = allowedAt(mounted, path);
    const fault =
      allowed.length === 0
        ? new Fault("not-found", `${request.method} ${path} is not an endpoint`)
        : new Fault("method-not-allowed", `${path} takes ${allowed.join(", ")}, not ${request.method}`);
    if (allowed.length > 0) reply.header("allow", allowed.join(", "));
    sendFault(fault, request, reply, log);
  });
  for (const mediaType of ["application/x-tar", "application/gzip"])
    app.addContentTypeParser(mediaType, (_request, payload, done) => done(null, payload));
  const helloText = formatHello(hellos.own);
  const answerUnchanged = unchangedAnswer(secrets);
  app.addHook("onRequest", (_request, reply, done) => {
    reply
      .header("x-content-type-options", "nosniff")
      .header("cache-control", "no-store")
      .header("x-request-id", _request.id)
      .header(HELLO_HEADER, helloText);
    done();
  });

  const mount: Mount = (endpoint, handler, stream) => {
    mounted.push(endpoint);
    app.route({
      method: endpoint.method === "GET" ? ["GET", "HEAD"] : endpoint.method,
      url: endpoint.path,
      schema: {
        params: endpoint.params,
        querystring: endpoint.query,
        ...(endpoint.body ? { body: endpoint.body } : {}),
        ...(endpoint.download ? {} : { response: { [endpoint.status]: endpoint.reply } }),
      },
      // Before the body is read or checked: a stranger learns nothing from validation.
      onRequest: async (request) => {
        const principal = admit(request, endpoint, store);
        hellos.admit(request.headers, principal, endpoint);
        principals.set(request, principal);
        checkMediaType(request, endpoint);
        if (endpoint.upload !== undefined) await room.admit(Number(request.headers["content-length"]) || 0);
      },
      preValidation: async (request) => {
        // Where nothing is needed, nothing may be sent; where no body belongs, none is passed over in silence.
        if (endpoint.upload !== undefined) return;
        if (endpoint.body !== undefined) {
          request.body ??= {};
          if (isOfPrograms(endpoint)) pruneUnknown(endpoint.body, request.body);
        } else if (!isEmpty(request.body))
          throw new Fault("invalid", `${endpoint.method} ${endpoint.path} takes no body`);
      },
      handler: async (request, reply) => {
        const call = callOf<typeof endpoint>(endpoint, request, reply, principals.get(request)!, {
          store,
          secrets,
          room,
        });
        await call.earlier(); // a key of another request is refused before anything is done
        if (stream && request.method === "GET" && request.headers.accept?.includes("text/event-stream")) {
          reply.hijack();
          // Rights are looked at again before each item: a removed token or host hears nothing more.
          await sendStream(reply.raw, call.signal, {
            items: () => stream(call),
            admit: () => void admit(request, endpoint, store),
            requestId: request.id,
            hello: helloText,
            log,
          });
          return;
        }
        const result =
          endpoint.upload === undefined
            ? await handler(call)
            : await room.filling(call.signal, (signal) => handler({ ...call, signal }));
        if (endpoint.download !== undefined) return sendDownload(reply, endpoint.download, result as Download);
        const location = locationOf(endpoint, call.params, result);
        if (location !== undefined) reply.header("location", location);
        return reply.code(endpoint.status).send(result);
      },
      ...(endpoint.method === "GET" ? { onSend: answerUnchanged } : {}),
    });
  };
  return { mount, mounted };
}

/** Of a GET whose handler gave a version: its ETag, and no body to who has the same already. */
const unchangedAnswer =
  ({ digest }: Secrets) =>
  (request: FastifyRequest, reply: FastifyReply, payload: unknown, done: (error: null, payload: unknown) => void) => {
    const version = reply.getHeader("etag");
    if (typeof version !== "string" || typeof payload !== "string") return done(null, payload);
    const etag = contentTag(version, digest(payload)); // keyed, since replies hold secrets
    reply.header("etag", etag);
    if (!isUnchanged(request.headers["if-none-match"], etag)) return done(null, payload);
    reply.code(304).removeHeader("content-type");
    done(null, null);
  };

function sendDownload(reply: FastifyReply, mediaType: string, { body, sizeBytes }: Download): FastifyReply {
  if (sizeBytes !== undefined) reply.header("content-length", String(sizeBytes));
  return reply.type(mediaType).send(body);
}

/** Their other end may be a newer version of a program of ours, and nobody mistypes there. */
const isOfPrograms = ({ permission }: Endpoint): boolean => !permission.includes(":") && permission !== "public";

const isUnknownField = (error: unknown): boolean => {
  const [first] = (error as { validation?: { keyword: string }[] }).validation ?? [];
  return first?.keyword === "additionalProperties" || first?.keyword === "enum";
};

const principals = new WeakMap<FastifyRequest, Principal>();

function admit(request: FastifyRequest, endpoint: Endpoint, store: Store): Principal {
  const principal = identify(request.raw, store);
  authorize(principal, endpoint, request.params as Record<string, string>);
  return principal;
}

function checkMediaType(request: FastifyRequest, endpoint: Endpoint): void {
  const given = request.headers["content-type"]?.split(";", 1).join("").trim().toLowerCase();
  const wanted = endpoint.upload ?? "application/json";
  if (given !== undefined ? given !== wanted : endpoint.upload !== undefined)
    throw new Fault(
      "invalid",
      `the body's content-type is to be ${wanted}${given ? `, not ${given.slice(0, 80)}` : ""}`,
    );
}

const isEmpty = (body: unknown): boolean =>
  body === undefined || body === null || (typeof body === "object" && Object.keys(body).length === 0);

function callOf<E extends Endpoint>(
  endpoint: E,
  request: FastifyRequest,
  reply: FastifyReply,
  principal: Principal,
  { store, secrets, room }: { store: Store; secrets: Secrets; room: DiskRoom },
): Call<E> {
  const gone = new AbortController();
  reply.raw.once("close", () => gone.abort(new Fault("unavailable", "the caller has gone")));
  const idempotentFor = idempotencyOf({ endpoint, request, principal, secrets });
  const idempotent = endpoint.upload === undefined ? idempotentFor(request.body) : {};
  return {
    params: request.params as Params<E>,
    query: request.query as Query<E>,
    body: request.body as Body<E>,
    principal,
    signal: gone.signal,
    upload: endpoint.upload === undefined ? (undefined as never) : uploadOf(request.body as Readable),
    filling: room.filling,
    idempotent,
    idempotentFor,
    async earlier<T>() {
      const { idempotencyKey, idempotencyHash } = idempotent;
      return idempotencyKey === undefined
        ? undefined
        : (await store.outcome<T>(idempotencyKey, idempotencyHash))?.result;
    },
    remoteAddress: request.ip,
    ifMatch: ifMatchOf(endpoint, request.headers["if-match"]),
    lastEventId: typeof request.headers["last-event-id"] === "string" ? request.headers["last-event-id"] : undefined,
    etag(version) {
      if (!endpoint.versioned)
        throw new Error(`${endpoint.id} gives an ETag and does not say that it is \`versioned\``);
      reply.header("etag", `"${version}"`);
    },
  };
}

/** Apart from the request: a handler that gives up in the middle would end the connection otherwise, and nobody would hear why. */
function uploadOf(body: Readable): Readable {
  if (!body) return body; // nothing was sent, which the handler says
  const handed = new PassThrough();
  handed.on("error", () => undefined); // told to who reads it, if anybody does
  finished(body, (error) => void (error && handed.destroy(error)));
  handed.once("close", () => body.unpipe(handed));
  return body.pipe(handed);
}
