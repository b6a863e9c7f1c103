// The registry as hosts reach it: TLS for holders of a member's certificate, and for each host only the images it is to run, or to
// build (registry-pushes.ts). What is allowed is passed on to the registry on loopback, as fast as the host takes it and no faster.

import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, request, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { Fault, isFault } from "#api/fault.ts";
import type { Log } from "#lib/log.ts";
import type { TlsIdentity } from "./api-server.ts";
import type { Context } from "./context.ts";
import { identify } from "./identity/principal.ts";
import { mayPull, pullOf } from "./pull-rights.ts";
import type { RegistryPushes } from "./registry-pushes.ts";
import { agentOf, picked, SILENCE_MS } from "./registry-upstream.ts";
import { writeOf } from "./registry-writes.ts";

export interface RegistryPulls {
  /** Port it listens on. */
  listen(host: string, port: number): Promise<number>;
  useIdentity(identity: TlsIdentity): void;
  close(): Promise<void>;
}

export interface RegistryPullsOptions extends Pick<Context, "store" | "jobs"> {
  /** host:port of the registry that is read from. */
  upstream: string;
  identity: TlsIdentity;
  caPem: string;
  /** Takes what a build's host writes; left out, nothing is. */
  pushes?: RegistryPushes;
  log: Log;
}

const CONNECTIONS_MOST = 2_048;
/** Reads from the registry at once; further ones wait their turn, at most one per connection. */
const READS_MOST = 256;
const SOCKETS = { most: READS_MOST, mostFree: 8 };
/** Of a request, what the registry needs to see; of its answer, what a host does. */
const PASSED_ON = ["accept", "range", "if-none-match"] as const;
const PASSED_BACK = [
  "content-type",
  "content-length",
  "content-range",
  "accept-ranges",
  "docker-content-digest",
  "docker-distribution-api-version",
  "etag",
] as const;
const STATUS = { unauthenticated: 401, forbidden: 403, "not-found": 404, unavailable: 503 } as const;

export function registryPulls({
  upstream,
  identity,
  caPem,
  pushes,
  log,
  ...context
}: RegistryPullsOptions): RegistryPulls {
  let shown = identity;
  let agent = agentOf(shown, caPem, SOCKETS);

  const open = (req: IncomingMessage, res: ServerResponse): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const headers = picked(req.headers, PASSED_ON);
      const options = { method: req.method, headers, agent, timeout: SILENCE_MS };
      const asked = request(`https://${upstream}${req.url}`, options, resolve);
      asked.on("timeout", () => asked.destroy(new Error("the registry is silent")));
      asked.on("error", reject);
      res.once("close", () => res.writableFinished || asked.destroy());
      asked.end();
    });

  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const host = identify(req, context.store);
    if (host.kind !== "member" || host.role !== "host")
      throw new Fault("forbidden", "images are pulled by hosts alone");
    const write = pushes === undefined ? undefined : writeOf(req.method, req.url ?? "");
    if (write !== undefined) return pushes!.answer(host.id, write, req, res);
    const pull = pullOf(req.method, req.url ?? "");
    if (pull === undefined) throw new Fault("forbidden", "here images are read, each by its digest, and nothing else");
    if (pull !== "version" && !mayPull(host.id, pull.repository, context))
      throw new Fault("forbidden", `${host.name} runs nothing of ${pull.repository}`);
    if (pull !== "version" && req.method === "HEAD") await pushes?.touch(host.id, pull.repository);
    const reply = await open(req, res).catch((cause: unknown) => {
      throw new Fault("unavailable", "the registry does not answer", { cause });
    });
    res.writeHead(reply.statusCode ?? 502, picked(reply.headers, PASSED_BACK));
    await pipeline(reply, res);
  };

  const refuse = (error: unknown, res: ServerResponse): void => {
    if (res.headersSent) return void res.destroy();
    const fault = isFault(error) ? error : new Fault("unavailable", "the registry does not answer", { cause: error });
    // What stays refused is said so that Docker does not try it again.
    const status = STATUS[fault.code as keyof typeof STATUS] ?? (fault.retry ? 503 : 403);
    const code = status === 403 ? "DENIED" : status === 401 ? "UNAUTHORIZED" : "UNAVAILABLE";
    const body = JSON.stringify({ errors: [{ code, message: fault.message }] });
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    res.writeHead(status, res.req.complete ? headers : { ...headers, connection: "close" }).end(body);
  };

  const server: Server = createServer(
    {
      ...contextOf(shown, caPem),
      requestCert: true,
      rejectUnauthorized: true,
      headersTimeout: 20_000,
      requestTimeout: 0, // a large layer takes long; a silent one ends by the idle time of its socket
      keepAliveTimeout: 30_000,
    },
    (req, res) => {
      answer(req, res).catch((error: unknown) => {
        const isRefusal = isFault(error, "forbidden") || isFault(error, "unauthenticated");
        if (isRefusal || isFault(error, "unavailable")) log.warn({ err: error, url: req.url }, "image not given out");
        refuse(error, res);
      });
    },
  ).setTimeout(SILENCE_MS);
  server.maxConnections = CONNECTIONS_MOST;

  return {
    listen: (host, port) =>
      new Promise((resolve, reject) => {
        server.once("error", reject);
        server.listen({ host, port }, () => {
          server.off("error", reject);
          resolve((server.address() as AddressInfo).port);
        });
      }),
    useIdentity(next) {
      shown = next;
      server.setSecureContext(contextOf(shown, caPem));
      pushes?.useIdentity(next);
      agent = agentOf(shown, caPem, SOCKETS); // what is being read goes on over the one before
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        pushes?.close();
        agent.destroy();
      }),
  };
}

const contextOf = ({ key, certificate }: TlsIdentity, caPem: string) =>
  ({ key, cert: `${certificate.trim()}\n${caPem}`, ca: caPem, minVersion: "TLSv1.2" }) as const;
