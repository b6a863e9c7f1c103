// Smart HTTP (gitprotocol-http(5)) on the API's listener: `git http-backend` as CGI, Basic authentication whose password is an
// API token. Control reads git to its end whether the client is still there or not.
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline, type Readable, Transform, Writable } from "node:stream";
import { pipeline as pipelined } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { FAULTS, Fault, isFault } from "#api/fault.ts";
import type { Log } from "#lib/log.ts";
import { asFault } from "../faults.ts";
import { authorize, identify, type Principal, tokenPrincipal } from "../identity/principal.ts";
import type { Presence } from "../presence.ts";
import type { Store } from "../store/store.ts";
import { appOf, isService, SERVICES, type Service } from "./access.ts";
import { parseCgiHead } from "./cgi.ts";
import { commandGate, refusal } from "./commands.ts";
import { feed, room } from "./feed.ts";
import { LIMITS, type Limits } from "./limits.ts";
import type { Pushes, Session } from "./pushes.ts";
import type { GitChild, Repositories } from "./repositories.ts";
import type { Incoming, PushSpace } from "./space.ts";
import { deployBranches } from "./updates.ts";

export interface GitHttpOptions {
  store: Store;
  presence: Pick<Presence, "tokenSeen">;
  pushes: Pushes;
  repositories: Repositories;
  /** Environment of a git process that serves this session's push. */
  hookEnv: (pushId: string) => NodeJS.ProcessEnv;
  /** Counts a git process of a fetch; Fault `rate-limited`. Gives what ends the counting. */
  slot: () => () => void;
  /** Resolves when git may be started. */
  ready: () => Promise<void>;
  limits: Pick<Limits, "silentMs" | "packBytes">;
  space: PushSpace;
  log: Log;
}

/** A slow reader of a push's answer is cut off here: git is never kept waiting by it. */
const UNREAD_MOST_BYTES = 16 << 20;
const TEXT = "text/plain; charset=utf-8";

type Request = FastifyRequest<{ Params: { repository: string }; Querystring: { service?: unknown } }>;

export function gitHttp(app: FastifyInstance, options: GitHttpOptions): void {
  void app.register(async (scope) => {
    const { log } = options;
    for (const service of Object.keys(SERVICES))
      scope.addContentTypeParser(`application/x-${service}-request`, (_request, payload, done) => done(null, payload));
    scope.setErrorHandler((error, request, reply) => sendText(asFault(error), request, reply, log));
    scope.get("/git/:repository/info/refs", {}, async (request: Request, reply) => {
      const { service } = request.query;
      if (!isService(service))
        throw new Fault("forbidden", "only git's smart HTTP is spoken here: git clone, git fetch, git push");
      await serve(request, reply, service, options);
    });
    for (const service of Object.keys(SERVICES) as Service[])
      scope.post(`/git/:repository/${service}`, {}, async (request: Request, reply) => {
        const type = `application/x-${service}-request`;
        if (request.headers["content-type"] !== type)
          throw new Fault("invalid", `the body's content-type is to be ${type}`);
        await serve(request, reply, service, options);
      });
  });
}

/** git shows a text/plain answer to its user, line by line behind `remote: `. */
function sendText(fault: Fault, request: FastifyRequest, reply: FastifyReply, log: Log): void {
  if (fault.code === "internal")
    log.error({ err: fault, requestId: request.id, path: request.url.split("?")[0] }, "git request failed");
  if (fault.code === "unauthenticated") reply.header("www-authenticate", 'Basic realm="flynn", charset="UTF-8"');
  void reply.code(FAULTS[fault.code].status).header("content-type", TEXT).send(`${fault.message}\n`);
}

function admit(request: Request, service: Service, { store, presence }: GitHttpOptions): Principal {
  const header = request.headers.authorization;
  const basic = header === undefined ? undefined : /^Basic ([A-Za-z0-9+/=]{1,2048})$/i.exec(header)?.[1];
  let principal: Principal;
  if (basic === undefined) principal = identify(request.raw, store);
  else {
    const text = Buffer.from(basic, "base64").toString("utf8");
    principal = tokenPrincipal(text.slice(text.indexOf(":") + 1), store);
  }
  authorize(principal, { method: request.method, path: request.url.split("?")[0]!, permission: SERVICES[service] }, {});
  if (principal.kind === "token") presence.tokenSeen(principal.id);
  return principal;
}

async function serve(request: Request, reply: FastifyReply, service: Service, options: GitHttpOptions): Promise<void> {
  const principal = admit(request, service, options);
  const isPush = service === "git-receive-pack" && request.method === "POST";
  const body = request.method === "POST" ? bodyOf(request, service, options.limits) : undefined;
  try {
    await admitted({ request, reply, service, isPush, body, by: principal.name }, options);
  } catch (error) {
    // git has its user's ear at the question for the refs; a push's own answer it shows only in git's own form.
    if (!isPush || !isFault(error) || reply.raw.headersSent) throw error;
    await refuseInWords(body!, reply, error);
  }
}

interface Admitted {
  request: Request;
  reply: FastifyReply;
  service: Service;
  isPush: boolean;
  body: Readable | undefined;
  by: string;
}

async function admitted(admission: Admitted, options: GitHttpOptions): Promise<void> {
  const { request, reply, service, isPush, body, by } = admission;
  const { store, pushes, repositories, hookEnv, slot, ready, space, log } = options;
  const app = appOf(store, request.params.repository);
  await ready();
  const session = isPush ? await pushes.begin(app, by) : undefined;
  const end = session?.end ?? slot();
  try {
    const repository = session?.repository ?? (await repositories.open(app.id, deployBranches(app)[0]));
    // git shows the words of a refusal here, at the question for the refs, and of none later.
    const admit = service === "git-receive-pack" ? await space.bring(repository) : undefined;
    const child = repositories.spawn(["http-backend"], {
      ...cgiEnv(request, service, repository),
      ...(session ? { ...hookEnv(session.id), ...session.env } : {}),
    });
    child.once("close", end);
    child.once("error", end);
    reply.hijack();
    const transfer = {
      child,
      body,
      space,
      ...(admit ? { admit } : {}),
      ...(session ? { onShallow: session.onShallow } : {}),
      request: request.raw,
      response: reply.raw,
      requestId: request.id,
      log,
    };
    await (isPush ? takePush(transfer) : answer(transfer)).catch((error: unknown) => {
      child.kill("SIGKILL");
      log.error({ err: error, app: app.name }, "git request failed");
      reply.raw.destroy();
    });
  } catch (error) {
    end();
    throw error;
  }
}

/** The push's words are read, its pack passed over: a client hears an answer only after it has sent everything. */
async function refuseInWords(body: Readable, reply: FastifyReply, fault: Fault): Promise<void> {
  const gate = commandGate(LIMITS.commands);
  await pipelined(body, gate.stream, new Writable({ write: (_chunk, _encoding, done) => done() })).catch(
    () => undefined,
  );
  await reply
    .header("content-type", "application/x-git-receive-pack-result")
    .send(refusal(gate.capabilities(), fault.message));
}

function cgiEnv(request: Request, service: Service, repository: string): NodeJS.ProcessEnv {
  const isPost = request.method === "POST";
  const protocol = request.headers["git-protocol"];
  return {
    GIT_PROJECT_ROOT: repository,
    GIT_HTTP_EXPORT_ALL: "1",
    PATH_INFO: isPost ? `/${service}` : "/info/refs",
    QUERY_STRING: isPost ? "" : `service=${service}`,
    REQUEST_METHOD: request.method,
    CONTENT_TYPE: isPost ? `application/x-${service}-request` : "",
    REMOTE_USER: "flynn",
    REMOTE_ADDR: "127.0.0.1",
    ...(typeof protocol === "string" && /^version=[0-2]$/.test(protocol) ? { GIT_PROTOCOL: protocol } : {}),
  };
}

/** The request's bytes as git made them, bounded in size and in silence. */
function bodyOf(request: Request, service: Service, { silentMs, packBytes }: GitHttpOptions["limits"]): Readable {
  const encoding = request.headers["content-encoding"];
  if (encoding !== undefined && encoding !== "gzip" && encoding !== "x-gzip")
    throw new Fault("invalid", "the body may be gzipped, or as it is; nothing else");
  const most = service === "git-receive-pack" ? packBytes + (64 << 20) : LIMITS.requestBytes;
  let taken = 0;
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      taken += chunk.length;
      done(taken > most ? new Fault("too-large", "the request is larger than this cluster takes") : null, chunk);
    },
  });
  const raw = request.raw;
  const stalled = () => raw.destroy(new Fault("timeout", "the client sent nothing for too long"));
  const silence = setTimeout(stalled, silentMs);
  const whole = setTimeout(stalled, LIMITS.transferMs);
  raw.on("data", () => silence.refresh());
  const over = () => {
    clearTimeout(silence);
    clearTimeout(whole);
  };
  raw.once("end", over).once("close", over);
  const done = () => undefined; // an error reaches the reader of `counted`
  if (encoding === undefined) pipeline(raw, counted, done);
  else pipeline(raw, createGunzip(), counted, done);
  return counted;
}

interface Transfer {
  child: GitChild;
  body: Readable | undefined;
  space: PushSpace;
  /** Of a push's body, for its gate. */
  admit?: Incoming;
  onShallow?: Session["onShallow"];
  request: IncomingMessage;
  response: ServerResponse;
  requestId: string;
  log: Log;
}

/** info/refs and fetches: a client that has gone ends git. */
async function answer({ child, body, response, requestId, log }: Transfer): Promise<void> {
  const late = setTimeout(() => child.kill("SIGKILL"), LIMITS.transferMs);
  response.once("close", () => child.kill("SIGKILL"));
  logErrors(child, log);
  if (body) pipeline(body, child.stdin, () => undefined);
  else child.stdin.end();
  try {
    const deliver = async (chunk: Buffer) => {
      if (!response.write(chunk)) await room(response);
    };
    if ((await copyAnswer(child, response, requestId, deliver)) === undefined) noAnswer(response);
    response.end();
  } finally {
    clearTimeout(late);
  }
}

/** A push: once its last byte is here, nothing the client does or fails to do reaches git. */
async function takePush({
  child,
  body,
  space,
  admit = async () => undefined,
  onShallow,
  response,
  requestId,
  log,
}: Transfer): Promise<void> {
  logErrors(child, log);
  const whole = new Promise<boolean>((resolve) => child.once("close", (code) => resolve(code === 0)));
  response.on("error", () => undefined); // a client that left is no error of the push
  let stopped = false;
  /** Said by us alone: git calls it a broken pack, and clears away what it has of it. */
  const onRefused = () => {
    stopped = true;
  };
  const gate = commandGate(LIMITS.commands, { admit, onRefused, onShallow });
  // Only as long as the pack comes in: a build that follows has its own look at the disk.
  body!.on("error", () => undefined); // told by `feed`, once that runs
  const sent = space
    .filling(new AbortController().signal, async (signal) => {
      signal.addEventListener("abort", () => gate.refuse(signal.reason as Fault), { once: true });
      await feed(body!, gate.stream, child.stdin);
    })
    .catch((error: unknown) => {
      if (isFault(error)) gate.refuse(error);
      body!.resume(); // a client hears words only after it has sent everything
      throw error;
    });
  const copied = copyAnswer(child, response, requestId, async (chunk) => {
    if (response.destroyed || stopped) return;
    response.write(chunk);
    if (response.writableLength > UNREAD_MOST_BYTES) response.destroy();
  });
  const [, bodyBytes] = await Promise.all([sent.catch(() => child.stdin.destroy()), copied]);
  const refused = gate.refused();
  if (refused && (stopped || !bodyBytes) && !response.destroyed) {
    // http-backend's head may be on its way already: it is the same.
    if (!response.headersSent) response.writeHead(200, { "content-type": "application/x-git-receive-pack-result" });
    response.write(refusal(gate.capabilities(), refused.message));
  } else if (bodyBytes === undefined) noAnswer(response);
  // A client waits for ever on an answer that ends well and is not whole: of a git that was killed it is to hear that it broke off.
  else if (!(await whole)) response.destroy();
  response.end();
}

/** CGI head, then the body chunk by chunk, to the end of git. Gives the body's bytes; undefined when there was not even a head. */
async function copyAnswer(
  child: GitChild,
  response: ServerResponse,
  requestId: string,
  deliver: (chunk: Buffer) => Promise<void>,
): Promise<number | undefined> {
  let begun: Buffer | undefined = Buffer.alloc(0);
  let bodyBytes = 0;
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
    if (begun === undefined) {
      bodyBytes += chunk.length;
      await deliver(chunk);
      continue;
    }
    begun = Buffer.concat([begun, chunk]);
    const head = parseCgiHead(begun);
    if (head === undefined) continue;
    if (!response.destroyed)
      response.writeHead(head.status, {
        ...Object.fromEntries(head.headers),
        "x-request-id": requestId,
        "x-content-type-options": "nosniff",
      });
    const body = begun.subarray(head.bodyAt);
    begun = undefined;
    bodyBytes += body.length;
    if (body.length > 0) await deliver(body);
  }
  return begun === undefined ? bodyBytes : undefined;
}

function noAnswer(response: ServerResponse): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(500, { "content-type": TEXT });
  response.write("git ended without an answer; the log of control tells why\n");
}

/** What git says on its stderr is control's: for its log, the first line of it. */
function logErrors(child: GitChild, log: Log): void {
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    if (said.length < 2_000) said += text.slice(0, 2_000);
  });
  child.on("error", (error) => log.error({ err: error }, "git could not be started"));
  child.stdin.on("error", () => undefined); // a git that refuses ends without reading the rest
  child.once("close", (code) => {
    if (said !== "") log.info({ code, said: said.trim() }, "git said");
  });
}
