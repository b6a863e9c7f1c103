// One request to a Redfish service over HTTP/1.1 and TLS. The service is known by the sha256 of its certificate, compared before
// anything is said: BMCs certify themselves. Bounded in time and size; a redirect is never followed.
import { Agent, request as httpRequest, type IncomingHttpHeaders } from "node:http";
import type { Duplex } from "node:stream";
import { connect, type TLSSocket } from "node:tls";
import { isFault } from "#api/fault.ts";
import { hostAndPort } from "../ipmi.ts";
import { trouble } from "../trouble.ts";
import { ANSWER_MOST_BYTES } from "./answer.ts";

export interface TransportOptions {
  address: string;
  /** Lower-case hex. */
  pinSha256: string;
  timeoutMs?: number;
}

export interface Sent {
  method: "GET" | "POST" | "PATCH" | "DELETE";
  path: string;
  headers?: Record<string, string>;
  body?: unknown;
  signal: AbortSignal;
}

export interface Received {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface Transport {
  readonly base: URL;
  send(request: Sent): Promise<Received>;
  close(): void;
}

/** BMCs that answer after half a minute are real. */
const TIMEOUT_MS = 75_000;
const CONNECT_MS = 40_000;
const HTTPS_PORT = 443;

/** The sha256 of the certificate that is shown there; nothing is sent. */
export async function certificateAt(address: string, signal: AbortSignal, connectMs = CONNECT_MS): Promise<string> {
  const socket = await secured(address, signal, connectMs);
  const shown = fingerprint(socket);
  socket.destroy();
  return shown;
}

const fingerprint = (socket: TLSSocket): string =>
  (socket.getPeerCertificate(false).fingerprint256 ?? "").replaceAll(":", "").toLowerCase();

function secured(address: string, signal: AbortSignal | undefined, connectMs: number): Promise<TLSSocket> {
  const { host, port } = hostAndPort(address, HTTPS_PORT);
  return new Promise((resolve, reject) => {
    // The pin is the check: what signed the certificate says nothing about a BMC.
    const socket = connect({
      host,
      port,
      rejectUnauthorized: false,
      ALPNProtocols: ["http/1.1"],
      minVersion: "TLSv1.2",
    });
    const fail = (error: unknown) => {
      settle();
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(
      () => fail(trouble("bmc-unreachable", `the BMC at ${address} does not answer`)),
      connectMs,
    );
    const onAbort = () => fail(signal?.reason);
    const onError = (cause: Error) => fail(unreachable(address, cause));
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket.off("error", onError);
      socket.on("error", () => undefined); // whoever uses it hears of it by `close`
    };
    socket.once("error", onError);
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) return onAbort();
    socket.once("secureConnect", () => {
      settle();
      resolve(socket);
    });
  });
}

function unreachable(address: string, cause: unknown) {
  if (isFault(cause)) return cause;
  const { code } = cause as NodeJS.ErrnoException;
  const why =
    code === "ECONNREFUSED"
      ? "nothing listens there"
      : code?.startsWith("ERR_SSL")
        ? "it speaks no TLS that we do"
        : (code ?? "it broke off");
  return trouble("bmc-unreachable", `the BMC at ${address} is not reached: ${why}`, cause);
}

export function transport({ address, pinSha256, timeoutMs = TIMEOUT_MS }: TransportOptions): Transport {
  const { host, port } = hostAndPort(address, HTTPS_PORT);
  const authority = host.includes(":") ? `[${host}]` : host;
  const base = new URL(`https://${authority}:${port}`);
  const pinned = async (): Promise<TLSSocket> => {
    const socket = await secured(address, undefined, Math.min(CONNECT_MS, timeoutMs));
    const shown = fingerprint(socket);
    if (shown === pinSha256) return socket;
    socket.destroy();
    throw trouble(
      "bmc-certificate",
      `the BMC at ${address} shows another certificate (sha256 ${shown}) than the pinned one: nothing was said to it`,
    );
  };
  const agent = new (class extends Agent {
    override createConnection(_: unknown, made?: (error: Error | null, socket: Duplex) => void): undefined {
      pinned().then(
        (socket) => made?.(null, socket),
        (error: Error) => made?.(error, undefined as never),
      );
    }
  })({ keepAlive: true, maxSockets: 1 });
  return {
    base,
    close: () => agent.destroy(),
    send: ({ method, path, headers = {}, body, signal }) =>
      new Promise((resolve, reject) => {
        const text = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
        const late = setTimeout(
          () => end(trouble("bmc-timeout", `the BMC at ${address} did not answer within ${timeoutMs / 1000} s`)),
          timeoutMs,
        );
        const onAbort = () => end(signal.reason);
        const request = httpRequest({
          agent,
          host,
          port,
          method,
          path,
          headers: {
            host: base.host,
            accept: "application/json",
            "odata-version": "4.0",
            ...headers,
            ...(text === undefined ? {} : { "content-type": "application/json", "content-length": `${text.length}` }),
          },
        });
        const end = (error: unknown) => {
          settle();
          request.destroy();
          reject(error);
        };
        const settle = () => {
          clearTimeout(late);
          signal.removeEventListener("abort", onAbort);
        };
        signal.addEventListener("abort", onAbort, { once: true });
        if (signal.aborted) return onAbort();
        request.on("error", (cause) => end(unreachable(address, cause)));
        request.on("response", (reply) => {
          const chunks: Buffer[] = [];
          let size = 0;
          reply.on("data", (chunk: Buffer) => {
            size += chunk.length;
            if (size > ANSWER_MOST_BYTES) end(trouble("bmc-answer", `the BMC at ${address} answers without end`));
            else chunks.push(chunk);
          });
          reply.on("error", (cause) => end(unreachable(address, cause)));
          reply.on("end", () => {
            settle();
            resolve({ status: reply.statusCode ?? 0, headers: reply.headers, body: Buffer.concat(chunks) });
          });
        });
        request.end(text);
      }),
  };
}
