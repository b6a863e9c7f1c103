// A session with a Redfish service: logged in once, its token renewed when the service forgets it, logged out at the end, since BMCs
// have few. What is busy is asked again; what changed meanwhile is read again before it is written.
import { sleep } from "#lib/time.ts";
import { trouble, troubleCode } from "../trouble.ts";
import { at, errorText, isOwnPath, type Json, linkAt, ownLocation, readAnswer, textAt } from "./answer.ts";
import type { Received, Transport } from "./transport.ts";

export interface SessionOptions {
  transport: Transport;
  address: string;
  user: string;
  password: string;
  /** Between two looks at something that is not done, in milliseconds. */
  pollMs?: number;
  /** How long a task may take, and how long a busy service is asked again, in milliseconds. */
  taskMs?: number;
  busyMs?: number;
}

export interface Resource {
  value: Json;
  etag: string | undefined;
}

export interface Session {
  get(path: string, signal: AbortSignal): Promise<Resource>;
  /** Writes to what was read just before; read and written again when it changed between. */
  patch(path: string, change: Json, signal: AbortSignal): Promise<void>;
  /** Does an action and sees its task to the end. */
  post(path: string, body: Json, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

const ROOT = "/redfish/v1/";
const LOGIN = "/redfish/v1/SessionService/Sessions";
const CONFLICTS_MOST = 4;
const WAIT_MOST_MS = 30_000;
const LOGOUT_MS = 5_000;

export function redfishSession(options: SessionOptions): Session {
  const { transport, address, user, password, pollMs = 2_000, taskMs = 180_000, busyMs = 120_000 } = options;
  let login: { headers: Record<string, string>; logout?: string } | undefined;

  const refusal = ({ status, body }: Received, doing: string) => {
    const said = textOf(body);
    const more = said === "" ? "" : `: ${said}`;
    if (status === 401) return trouble("bmc-password", `the BMC at ${address} does not take this user and password`);
    if (status === 403) return trouble("bmc-privilege", `the BMC at ${address} does not let this user ${doing}${more}`);
    if (status === 404 || status === 405 || status === 501)
      return trouble("bmc-unsupported", `the BMC at ${address} cannot ${doing} (${status})${more}`);
    if (status >= 300 && status < 400)
      return trouble("bmc-answer", `the BMC at ${address} sends elsewhere (${status}), which is not followed`);
    if (status === 503 || status === 429)
      return trouble("bmc-busy", `the BMC at ${address} is busy and was asked again in vain${more}`);
    return trouble("bmc-refused", `the BMC at ${address} refused to ${doing} (${status})${more}`);
  };

  async function logIn(signal: AbortSignal): Promise<NonNullable<typeof login>> {
    const basic = { headers: { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` } };
    const root = await transport.send({ method: "GET", path: ROOT, signal });
    const value = root.status === 200 ? readAnswer(root.body) : null;
    const named = linkAt(value, "Links", "Sessions");
    // One without sessions takes the password with each request.
    if (named === undefined && linkAt(value, "SessionService") === undefined) return basic;
    const path = named ?? LOGIN;
    const reply = await patiently(
      () => transport.send({ method: "POST", path, body: { UserName: user, Password: password }, signal }),
      signal,
    );
    const token = reply.headers["x-auth-token"];
    if (reply.status >= 200 && reply.status < 300 && typeof token === "string" && /^[\x21-\x7e]{1,4096}$/.test(token)) {
      const logout = ownLocation(reply.headers.location, transport.base) ?? linkAt(readAnswer(reply.body));
      return { headers: { "x-auth-token": token }, ...(logout === undefined ? {} : { logout }) };
    }
    if (reply.status === 404 || reply.status === 405 || reply.status === 501) return basic;
    throw refusal(reply, "log in");
  }

  /** Again while the service is busy; nothing was done then. */
  async function patiently(send: () => Promise<Received>, signal: AbortSignal): Promise<Received> {
    const untilMs = performance.now() + busyMs;
    for (;;) {
      const reply = await send();
      const left = untilMs - performance.now();
      if ((reply.status !== 503 && reply.status !== 429) || left <= 0) return reply;
      const asked = Number(reply.headers["retry-after"]) * 1000;
      const wait = Number.isFinite(asked) && asked > 0 ? Math.min(asked, WAIT_MOST_MS) : pollMs;
      await sleep(Math.min(wait, left), signal);
      signal.throwIfAborted();
    }
  }

  async function send(
    method: "GET" | "POST" | "PATCH",
    path: string,
    { body, etag, signal }: { body?: Json; etag?: string | undefined; signal: AbortSignal },
  ): Promise<Received> {
    if (!isOwnPath(path)) throw trouble("bmc-answer", `the BMC at ${address} names a path that is none`);
    for (let tries = 1; ; tries++) {
      login ??= await logIn(signal);
      const headers = { ...login.headers, ...(etag === undefined ? {} : { "if-match": etag }) };
      try {
        const reply = await patiently(
          () => transport.send({ method, path, headers, ...(body === undefined ? {} : { body }), signal }),
          signal,
        );
        // Its session ran out, or the BMC began anew: nothing was done.
        if (reply.status !== 401 || tries > 1) return reply;
        login = undefined;
      } catch (error) {
        // A kept connection may have ended between two requests; only a question is asked twice.
        if (method !== "GET" || tries > 1 || troubleCode(error) !== "bmc-unreachable") throw error;
      }
    }
  }

  async function get(path: string, signal: AbortSignal): Promise<Resource> {
    const reply = await send("GET", path, { signal });
    if (reply.status !== 200) throw refusal(reply, `show ${path}`);
    const value = readAnswer(reply.body);
    const header = reply.headers.etag;
    return { value, etag: soundTag(header) ?? soundTag(textAt(value, "@odata.etag")) };
  }

  async function followTask(reply: Received, doing: string, signal: AbortSignal): Promise<void> {
    const path = ownLocation(reply.headers.location, transport.base) ?? linkAt(safely(reply.body));
    if (path === undefined) return; // it is under way, and nothing tells of it: what was wanted is looked at
    const untilMs = performance.now() + taskMs;
    while (performance.now() < untilMs) {
      const task = await send("GET", path, { signal });
      if (task.status === 404 || task.status === 410 || task.status === 204) return; // over and forgotten
      if (task.status !== 200 && task.status !== 202) throw refusal(task, doing);
      const value = readAnswer(task.body);
      const state = textAt(value, "TaskState") ?? (task.status === 200 ? "Completed" : "Running");
      if (state === "Completed") {
        const status = textAt(value, "TaskStatus");
        if (status === "Critical") throw taskTrouble(value, doing, state);
        return;
      }
      if (["Exception", "Killed", "Cancelled", "Interrupted", "Suspended"].includes(state))
        throw taskTrouble(value, doing, state);
      await sleep(pollMs, signal);
      signal.throwIfAborted();
    }
    throw trouble("bmc-task", `the BMC at ${address} was to ${doing} and is not done after ${taskMs / 1000} s`);
  }
  const taskTrouble = (value: Json, doing: string, state: string) => {
    const messages = at(value, "Messages");
    const first = Array.isArray(messages) ? messages[0] : undefined;
    const said = textAt(first, "Message");
    return trouble(
      "bmc-task",
      `the BMC at ${address} was to ${doing}: ${state}${said === undefined ? "" : `, ${errorText({ error: { message: said } })}`}`,
    );
  };

  return {
    get,
    async patch(path, change, signal) {
      for (let tries = 1; ; tries++) {
        const { etag } = await get(path, signal);
        const reply = await send("PATCH", path, { body: change, etag, signal });
        if (reply.status === 412 && tries < CONFLICTS_MOST) continue;
        if (reply.status === 412)
          throw trouble("bmc-busy", `somebody else changes ${path} at the BMC at ${address} at the same time`);
        if (reply.status === 202) return followTask(reply, "change its settings", signal);
        if (reply.status < 200 || reply.status >= 300) throw refusal(reply, "change its settings");
        return;
      }
    },
    async post(path, body, signal) {
      const reply = await send("POST", path, { body, signal });
      if (reply.status === 202) return followTask(reply, "do that", signal);
      if (reply.status < 200 || reply.status >= 300) throw refusal(reply, "do that");
    },
    async close() {
      const ended = login;
      login = undefined;
      if (ended?.logout !== undefined) {
        // One that does not answer forgets the session by itself.
        const signal = AbortSignal.timeout(LOGOUT_MS);
        await transport
          .send({ method: "DELETE", path: ended.logout, headers: ended.headers, signal })
          .catch(() => undefined);
      }
      transport.close();
    },
  };
}

const soundTag = (tag: string | undefined): string | undefined =>
  tag !== undefined && /^(W\/)?"[\x21\x23-\x7e]{0,200}"$/.test(tag) ? tag : undefined;

function safely(body: Buffer): Json {
  try {
    return readAnswer(body);
  } catch {
    return null; // a body that only adorns a status
  }
}

const textOf = (body: Buffer): string => errorText(safely(body));
