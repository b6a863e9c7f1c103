// Docker's API on its unix socket, for every program that asks it: bodies and answers of any size, connections that become plain
// two-way sockets, each bounded by its signal and by silence. A refusal is a Fault with Docker's own words as its cause.
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import { formatSize } from "#lib/units.ts";
import { Fault } from "./fault.ts";

export interface DockerRequest {
  method: "GET" | "POST" | "PUT" | "DELETE";
  path: string;
  query?: Record<string, string | undefined>;
  body?: object;
  headers?: Record<string, string>;
  upload?: Readable;
  signal?: AbortSignal;
  /** Longest silence on the connection before the answer begins. */
  timeoutMs?: number;
  /** Longest silence within the answer; 0: as long as it likes. */
  silenceMs?: number;
  /** What is done, for the error. */
  doing: string;
}

export interface DockerHttp {
  /** The answer's body: to be read to its end, or destroyed. */
  open(asked: DockerRequest): Promise<IncomingMessage>;
  call<T = unknown>(asked: DockerRequest): Promise<T>;
  /** The connection itself, both ways (`Upgrade: tcp`): closing its write side is an end of input. */
  hijack(asked: DockerRequest): Promise<Hijacked>;
}

export interface Hijacked {
  socket: Socket;
  /** What came with the answer. */
  head: Buffer;
}

export interface DockerHttpOptions {
  /** Of the API; `newest` is whatever that Docker speaks, for the calls that never changed. */
  version?: "v1.41" | "newest";
  answerMostBytes?: number;
}

/** Of a whole answer: labels and names of images are anybody's, and of any size. */
const ANSWER_MOST_BYTES = 64 << 20;

export function dockerHttp(
  socketPath: string,
  { version = "v1.41", answerMostBytes = ANSWER_MOST_BYTES }: DockerHttpOptions = {},
): DockerHttp {
  const text = async (reply: IncomingMessage, doing: string): Promise<string> => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    // Leaving the loop destroys the answer.
    for await (const chunk of reply as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > answerMostBytes)
        throw new Fault("internal", `${doing}: the engine's answer is larger than ${formatSize(answerMostBytes)}`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString("utf8");
  };
  const refused = async (reply: IncomingMessage, doing: string): Promise<Fault> =>
    refusal(doing, reply.statusCode ?? 500, await text(reply, doing));
  /** Sends it. `begun` settles what is given back; until then whatever goes wrong does. */
  const send = <T>(
    asked: DockerRequest,
    begun: (req: ClientRequest, resolve: (value: T) => void, fail: (cause: unknown) => void) => void,
  ): Promise<T> => {
    const { method, path, query = {}, body, upload, signal, timeoutMs = 30_000, doing } = asked;
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, value);
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const headers: Record<string, string | number> = { ...asked.headers };
    if (payload !== undefined) {
      headers["content-type"] = "application/json";
      headers["content-length"] = Buffer.byteLength(payload);
    }
    if (upload) headers["content-type"] = "application/x-tar";
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const fail = (cause: unknown) => {
      upload?.destroy();
      reject(cause instanceof Fault ? cause : new Fault("unavailable", doing, { cause }));
    };
    if (signal?.aborted) {
      fail(new Fault("unavailable", `${doing} was cancelled`, { cause: signal.reason }));
      return promise;
    }
    const target = `${version === "newest" ? "" : `/${version}`}${path}${search.size > 0 ? `?${search}` : ""}`;
    const req = request({ socketPath, method, path: target, headers, agent: false });
    const cancel = () => req.destroy(new Fault("unavailable", `${doing} was cancelled`, { cause: signal?.reason }));
    signal?.addEventListener("abort", cancel, { once: true });
    req.once("close", () => signal?.removeEventListener("abort", cancel));
    req.setTimeout(timeoutMs, () => req.destroy(new Fault("timeout", `${doing}: the engine does not answer`)));
    req.on("error", fail);
    begun(req, resolve, fail);
    if (upload) {
      upload.once("error", (error) => req.destroy(error));
      upload.pipe(req);
    } else req.end(payload);
    return promise;
  };
  const open = (asked: DockerRequest): Promise<IncomingMessage> =>
    send(asked, (req, resolve, fail) => {
      const { silenceMs = 120_000, doing } = asked;
      req.on("response", (reply) => {
        // After the answer began, the deadline is the answer's own.
        req.setTimeout(silenceMs, () => reply.destroy(new Fault("timeout", `${doing}: the engine fell silent`)));
        reply.on("error", () => undefined); // told to whoever reads it
        if ((reply.statusCode ?? 500) < 400) return resolve(reply);
        refused(reply, doing)
          .then(fail, fail)
          .finally(() => req.destroy());
      });
    });
  return {
    open,
    hijack: (asked) =>
      send({ ...asked, headers: { connection: "Upgrade", upgrade: "tcp" } }, (req, resolve, fail) => {
        req.on("upgrade", (_reply, socket: Socket, head: Buffer) => {
          socket.setTimeout(0);
          socket.setNoDelay?.(true);
          resolve({ socket, head });
        });
        req.on("response", (reply) => {
          refused(reply, asked.doing)
            .then(fail, fail)
            .finally(() => req.destroy());
        });
      }),
    async call<T>(asked: DockerRequest): Promise<T> {
      const reply = await open({ silenceMs: 30_000, ...asked });
      if (reply.statusCode === 204 || reply.statusCode === 304) {
        reply.resume();
        return {} as T;
      }
      const type = reply.headers["content-type"] ?? "";
      const answer = await text(reply, asked.doing);
      return (type.startsWith("application/json") ? JSON.parse(answer) : answer) as T;
    },
  };
}

function refusal(doing: string, status: number, said: string): Fault {
  let message = said.trim();
  try {
    message = (JSON.parse(said) as { message?: string }).message ?? message;
  } catch {
    // Not every part of Docker answers in JSON.
  }
  const code = status === 404 ? "not-found" : status === 409 ? "conflict" : status === 400 ? "invalid" : "internal";
  return new Fault(code, doing, { cause: new Error(message.slice(0, 1_000)) });
}
