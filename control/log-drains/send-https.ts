// Lines as a JSON array by POST over HTTPS. Redirects are not followed: where they lead was never checked.
import { Agent, request } from "node:https";
import { isIP } from "node:net";
import { promisify } from "node:util";
import { gzip as gzipCallback } from "node:zlib";
import { VERSION } from "#lib/version.ts";
import { SEND_TIMEOUT_MS, SendError, type Sender, type SenderOptions } from "./sender.ts";
import type { LogDrainTarget } from "./target.ts";

const gzip = promisify(gzipCallback);
const RETRY_AFTER_MOST_MS = 600_000;
/** What says that the lines themselves are not wanted; everything else may be better later. */
const GIVE_UP = new Set([400, 406, 413, 415, 422]);

export function httpsSender(target: LogDrainTarget, options: SenderOptions & { gzip: boolean }): Sender {
  const { host, port, path, credentials } = target;
  const { address, caPem, timeoutMs = SEND_TIMEOUT_MS } = options;
  const agent = new Agent({ keepAlive: true, maxSockets: 1, minVersion: "TLSv1.2", ...(caPem ? { ca: caPem } : {}) });
  return {
    async send(lines, signal) {
      const json = Buffer.from(JSON.stringify(lines));
      const body = options.gzip ? await gzip(json) : json;
      const name = isIP(host) > 0 ? {} : { servername: host };
      const headers = {
        host: `${isIP(host) === 6 ? `[${host}]` : host}${port === 443 ? "" : `:${port}`}`,
        "content-type": "application/json",
        "content-length": String(body.length),
        "user-agent": `flynn-log-drain/${VERSION}`,
        ...(options.gzip ? { "content-encoding": "gzip" } : {}),
        ...(credentials ? { authorization: `Basic ${Buffer.from(credentials).toString("base64")}` } : {}),
      };
      const to = { host: await address(), port, path, method: "POST", headers, agent, timeout: timeoutMs, ...name };
      const { status, retryAfter } = await new Promise<{ status: number; retryAfter: string | undefined }>(
        (resolve, reject) => {
          const fail = (cause: Error) => reject(new SendError(`POST to ${host}:${port}: ${cause.message}`, { cause }));
          const req = request(to, (reply) => {
            reply.resume();
            reply.once("error", fail);
            reply.once("end", () =>
              resolve({ status: reply.statusCode ?? 0, retryAfter: reply.headers["retry-after"] }),
            );
          });
          const late = setTimeout(() => req.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
          const cancel = () => req.destroy(new Error("was cancelled"));
          signal.addEventListener("abort", cancel, { once: true });
          req.once("close", () => {
            clearTimeout(late);
            signal.removeEventListener("abort", cancel);
          });
          req.once("error", fail);
          req.end(body);
        },
      );
      if (status >= 200 && status < 300) return;
      const redirected = status >= 300 && status < 400 ? ", a redirect, which is not followed" : "";
      const retryAfterMs = parseRetryAfter(retryAfter, Date.now());
      throw new SendError(`POST to ${host}:${port} answered ${status}${redirected}`, {
        giveUp: GIVE_UP.has(status),
        ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      });
    },
    close: () => agent.destroy(),
  };
}

/** Seconds or an HTTP date (RFC 9110, 10.2.3), within reason. */
export function parseRetryAfter(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - nowMs;
  return Number.isFinite(ms) ? Math.min(RETRY_AFTER_MOST_MS, Math.max(0, ms)) : undefined;
}
